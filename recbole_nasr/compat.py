"""Repairs that RecBole 1.2.0 and 1.2.1 need on a current stack, each with its reason.

A repair is made only where its symptom is present, so each one retires by itself. Line numbers are those of
RecBole 1.2.1. Nothing of RecBole is copied: functions are wrapped, missing modules are stubbed while
RecBole's own modules import them. `apply` runs on ``import recbole_nasr``.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from recbole_nasr.patching import stubbed, swapped, wrap

_NUMPY_ALIASES = {
    "int": "int_",
    "float": "float64",
    "complex": "complex128",
    "object": "object_",
    "str": "str_",
    "unicode": "str_",
    "bool": "bool_",
    "long": "int_",
}


def _stub(name: str, **members: Any) -> types.ModuleType:
    module = types.ModuleType(name)
    vars(module).update(members)
    return module


def stub_ray() -> bool:
    """Import RecBole's quick start without ray (quick_start/quick_start.py:20; both versions).

    RecBole needs ray only for ``tune.report`` at the end of `objective_function`, but imports it at the top:
    that fails without ray and with ray 2.6.3 on NumPy 2, and takes seven seconds where it works. The stand-in
    reports to the real ray if the user's program has imported it.
    """
    if "recbole.quick_start.quick_start" in sys.modules:
        return False
    absent = types.ModuleType("ray.tune")

    def report(**metrics: Any) -> None:
        real = sys.modules.get("ray.tune", absent)
        if hasattr(real, "report"):
            real.report(**metrics)

    tune = _stub("ray.tune", report=report)
    with stubbed({"ray": _stub("ray", tune=tune), "ray.tune": tune}):
        importlib.import_module("recbole.quick_start.quick_start")
    return True


def alias_numpy() -> bool:
    """Restore the type names that NumPy dropped (configurator.py:625-635; both versions).

    `Config.compatibility_settings` stops at ``np.float_`` on NumPy 2. On any NumPy a process that only
    *loads* a checkpoint never constructs a Config, and dies with ``np.float`` in interaction.py:31 or
    metrics.py:90; therefore the names are set here, at import.
    """
    import numpy as np
    from recbole.config import Config

    # vars(): NumPy warns about these names when they are looked up with getattr.
    missing = [old for old in _NUMPY_ALIASES if old not in vars(np)]
    for old in missing:
        setattr(np, old, getattr(np, _NUMPY_ALIASES[old]))
    if "float_" in vars(np):
        return bool(missing)
    wrap(Config, "compatibility_settings", lambda _original: lambda _self: None)
    return True


def stub_kmeans() -> bool:
    """Import RecBole's general models without kmeans_pytorch (general_recommender/ldiffrec.py:29; 1.2.0).

    Every `get_model` imports them all, so without this undeclared package no model at all can be found.
    """
    if "recbole.model.general_recommender" in sys.modules:
        return False
    try:
        importlib.import_module("recbole.model.general_recommender")
    except ModuleNotFoundError as error:
        if error.name != "kmeans_pytorch":
            raise
    else:
        return False

    def kmeans(*_args: Any, **_kwargs: Any) -> NoReturn:
        msg = "LDiffRec needs kmeans_pytorch, which is missing; run `pip install kmeans_pytorch`."
        raise ImportError(msg)

    with stubbed({"kmeans_pytorch": _stub("kmeans_pytorch", kmeans=kmeans)}):
        importlib.import_module("recbole.model.general_recommender")
    return True


def keep_counts_in_collector() -> bool:
    """Let the evaluation collector hold plain numbers (evaluator/collector.py:226-227; 1.2.1).

    It calls ``.cpu()`` on everything, also on the item count and the popularity counter, which breaks
    ItemCoverage, GiniIndex, AveragePopularity and TailPercentage.
    """
    import recbole
    from recbole.evaluator.collector import Collector

    if recbole.__version__ != "1.2.1":
        return False

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_data_struct(self: Any) -> Any:
            collected = vars(self.data_struct)["_data_dict"]
            plain = {key: value for key, value in collected.items() if not hasattr(value, "cpu")}
            for key in plain:
                del collected[key]
            returned = original(self)
            collected.update(plain)
            vars(returned)["_data_dict"].update(plain)
            return returned

        return get_data_struct

    wrap(Collector, "get_data_struct", make)
    return True


def restrict_torch_load() -> bool:
    """Read RecBole's checkpoints on torch 2.6 and later (trainer.py:323, :583, quick_start.py:250; both).

    They are pickles of protocol 4, which ``weights_only=True``, the default since 2.6, cannot read at all.
    Older torch reads them, but runs whatever they name. See `recbole_nasr.checkpoint`.
    """
    import recbole.quick_start as package
    import recbole.quick_start.quick_start as module
    from recbole.trainer import Trainer

    from recbole_nasr.checkpoint import restricted_loading

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*args: Any, **kwargs: Any) -> Any:
            with restricted_loading():
                return original(*args, **kwargs)

        return reading

    wrap(Trainer, "evaluate", make)
    wrap(Trainer, "resume_checkpoint", make)
    wrap(module, "load_data_and_model", make)
    package.load_data_and_model = module.load_data_and_model
    return True


def stub_distutils() -> bool:
    """Import thop where Python has no distutils (thop/profile.py:1; Python 3.12 without setuptools).

    RecBole counts the FLOPs of every model with it (utils.py:298).
    """
    if "thop.profile" in sys.modules or importlib.util.find_spec("distutils") is not None:
        return False
    from torch.torch_version import TorchVersion

    version = _stub("distutils.version", LooseVersion=TorchVersion)
    with stubbed({"distutils": _stub("distutils", version=version), "distutils.version": version}):
        importlib.import_module("thop.profile")
    return True


def keep_anomaly_detection() -> bool:
    """Leave autograd's anomaly detection as it was (model/sequential_recommender/sine.py:25; both versions).

    Importing any sequential model imports SINE, which switches the detection on for the whole process: every
    backward pass of every model then records stack traces and reads a value back from the device per operation.
    """
    import torch

    models = "recbole.model.sequential_recommender"
    before = torch.is_anomaly_enabled() and f"{models}.sine" not in sys.modules
    importlib.import_module(models)
    if torch.is_anomaly_enabled() == before:
        return False
    torch.autograd.set_detect_anomaly(before)
    return True


def skip_lonely_barrier() -> bool:
    """Let a single process download a data set (data/dataset/dataset.py:252; both versions).

    RecBole waits at ``torch.distributed.barrier()`` after every download and thereby raises when there is no
    process group to wait for.
    """
    import torch
    from recbole.data.dataset import Dataset

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def _download(self: Any) -> None:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                original(self)
                return
            with swapped(torch.distributed, "barrier", lambda: None):
                original(self)

        return _download

    wrap(Dataset, "_download", make)
    return True


@functools.cache
def apply() -> tuple[str, ...]:
    """Make every repair that this machine needs; later calls do nothing.

    Returns:
        The names of the repairs in force.
    """
    on_import: list[Callable[[], bool]] = [stub_ray, alias_numpy, stub_kmeans, stub_distutils]
    repairs = [
        *on_import,
        keep_anomaly_detection,
        keep_counts_in_collector,
        restrict_torch_load,
        skip_lonely_barrier,
    ]
    return tuple(repair.__name__ for repair in repairs if repair())
