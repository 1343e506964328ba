"""Repairs that let RecBole be imported: stand-ins for missing modules while RecBole's own modules import them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

from recbole_nasr.compat.repair import repair
from recbole_nasr.patching import stubbed, wrap

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


def _takes_keywords(function: Callable[..., Any]) -> bool:
    return any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values())


@repair(
    "quick_start/quick_start.py",
    20,
    "from ray import tune",
    why="RecBole's quick start imports ray, which is missing, broken by a newer package, or slow to import.",
)
def stub_ray() -> bool:
    """Import RecBole's quick start without ray.

    RecBole needs ray only for ``tune.report`` at the end of `objective_function`, but imports it at the top: that
    fails without ray, with ray 2.6.3 on NumPy 2 or setuptools 82, and takes seven seconds where it works. The
    stand-in reports to the real ray if the user's program has imported it. A program that has done so before needs
    no stand-in.
    """
    if "recbole.quick_start.quick_start" in sys.modules:
        return False
    loaded = getattr(sys.modules.get("ray.tune"), "report", None)
    if loaded is not None and _takes_keywords(loaded):  # as ray 2.6, which RecBole was written for
        return False

    def report(**metrics: Any) -> None:
        real = getattr(sys.modules.get("ray.tune"), "report", None)
        if real is None:
            return
        if _takes_keywords(real):
            real(**metrics)
        else:
            real(metrics)

    tune = _stub("ray.tune", report=report)
    with stubbed({"ray": _stub("ray", tune=tune), "ray.tune": tune}):
        importlib.import_module("recbole.quick_start.quick_start")
    return True


@repair(
    "config/configurator.py",
    628,
    "np.bool = np.bool_",
    why="RecBole uses np.float and other names that NumPy 1.24 dropped, and np.float_, which NumPy 2 dropped.",
)
def alias_numpy() -> bool:
    """Restore the type names that NumPy dropped.

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


@repair(
    "model/general_recommender/ldiffrec.py",
    29,
    "from kmeans_pytorch import kmeans",
    versions=("1.2.0",),
    why="Every model look-up imports all general models, and one of them an undeclared package.",
)
def stub_kmeans() -> bool:
    """Import RecBole's general models without kmeans_pytorch."""
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


@repair(
    "utils/utils.py",
    298,
    "from thop.profile import register_hooks",
    why="RecBole counts FLOPs with thop, which imports distutils; Python 3.12 has none without setuptools.",
)
def stub_distutils() -> bool:
    """Import thop where Python has no distutils (thop/profile.py:1)."""
    if "thop.profile" in sys.modules or importlib.util.find_spec("distutils") is not None:
        return False
    from torch.torch_version import TorchVersion

    version = _stub("distutils.version", LooseVersion=TorchVersion)
    with stubbed({"distutils": _stub("distutils", version=version), "distutils.version": version}):
        importlib.import_module("thop.profile")
    return True


@repair(
    "model/sequential_recommender/sine.py",
    25,
    "torch.autograd.set_detect_anomaly(True)",
    why="Importing any sequential model switches autograd's slow anomaly detection on for every model.",
)
def keep_anomaly_detection() -> bool:
    """Leave autograd's anomaly detection as it was.

    Importing any sequential model imports SINE, which switches it on for the whole process: every backward pass of
    every model then records stack traces and reads a value back from the device for each operation.
    """
    import torch

    models = "recbole.model.sequential_recommender"
    before = torch.is_anomaly_enabled() and f"{models}.sine" not in sys.modules
    importlib.import_module(models)
    if torch.is_anomaly_enabled() == before:
        return False
    torch.autograd.set_detect_anomaly(before)
    return True
