"""Makes RecBole find our models, trainers, data sets and YAML. Runs on ``import recbole_nasr``.

RecBole looks classes up by name in its own modules, so they are put there; nothing of RecBole is replaced but
a few functions, each by one that calls it.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from recbole_nasr.checks.config import check_values, settle_measures
from recbole_nasr.configuration.keys import check_keys, known_datasets, recbole_models
from recbole_nasr.configuration.resources import parsed
from recbole_nasr.configuration.values import AUTOREGRESSIVE_MODELS, DATASET_ARGUMENTS, MODELS, add_defaults
from recbole_nasr.errors import ConfigError, DataError, did_you_mean
from recbole_nasr.patching import wrap


def register() -> None:
    """Register everything; later calls do nothing new."""
    _register_models()
    _register_trainers()
    _register_datasets()
    _hook_config()
    _hook_preparation()
    _register_worker()
    _hook_flops()
    _hide_warnings()


def _register_models() -> None:
    """Let ``recbole.utils.get_model`` (utils/utils.py:55-85) find our modules.

    It searches ``recbole.model.<kind>.<name in lower case>`` with `importlib.util.find_spec`, which asks
    `sys.modules` first, as every import does.
    """
    from recbole_nasr.model import nasr, nasr_search
    from recbole_nasr.model.schemes import teach_models

    modules: dict[str, ModuleType] = {"nasr": nasr, "nasrsearch": nasr_search}
    for name, module in modules.items():
        sys.modules[f"recbole.model.sequential_recommender.{name}"] = module
    teach_models()


def _register_trainers() -> None:
    """Let ``recbole.utils.get_trainer`` (utils/utils.py:88-110) find ``<model>Trainer``."""
    import recbole.trainer

    from recbole_nasr.trainer.retraining import NASRTrainer
    from recbole_nasr.trainer.searching import NASRSearchTrainer

    recbole.trainer.NASRTrainer = NASRTrainer
    recbole.trainer.NASRSearchTrainer = NASRSearchTrainer


def _register_datasets() -> None:
    """Let ``create_dataset`` (data/utils.py:40-53) find ``<model>Dataset``, compare our keys, check benchmark files."""
    import recbole.data.dataset
    from recbole.utils.argument_list import dataset_arguments

    from recbole_nasr.data.autoregressive import NASRDataset
    from recbole_nasr.data.benchmark_files import with_checks
    from recbole_nasr.model.schemes import dataset_by_scheme

    recbole.data.dataset.NASRDataset = NASRDataset
    recbole.data.dataset.NASRSearchDataset = NASRDataset
    for name in AUTOREGRESSIVE_MODELS:
        setattr(recbole.data.dataset, f"{name}Dataset", dataset_by_scheme)
    wrap(recbole.data.dataset.SequentialDataset, "_benchmark_presets", with_checks)
    dataset_arguments.extend(key for key in DATASET_ARGUMENTS if key not in dataset_arguments)


def _parsed_once(_original: Callable[..., Any]) -> Callable[..., Any]:
    """Read a file of RecBole's as `Config._update_internal_config_dict` does (configurator.py:231), parsing it once."""

    def _update_internal_config_dict(self: Any, file: str) -> dict[str, Any]:
        found = parsed(Path(file).read_text(encoding="utf-8"), self.yaml_loader)
        self.internal_config_dict.update(found)
        return found

    return _update_internal_config_dict


def _hook_config() -> None:
    """Add our defaults, key checks and data folder to `Config` (configurator.py:238, :320)."""
    from recbole.config import Config

    def with_defaults(original: Callable[..., Any]) -> Callable[..., Any]:
        def _load_internal_config_dict(self: Any, model: str, model_class: Any, dataset: str) -> None:
            original(self, model, model_class, dataset)
            add_defaults(self, model, model_class, dataset)
            if model in MODELS:
                check_keys(self)

        return _load_internal_config_dict

    def with_checks(original: Callable[..., Any]) -> Callable[..., Any]:
        def _set_default_parameters(self: Any) -> None:
            settle_measures(self)
            original(self)
            check_values(self)
            _use_prepared_folder(self)

        return _set_default_parameters

    def with_known_model(original: Callable[..., Any]) -> Callable[..., Any]:
        def _get_model_and_dataset(self: Any, model: Any, dataset: Any) -> Any:
            try:
                return original(self, model, dataset)
            except (ValueError, ImportError, AttributeError) as error:
                _check_model(self.external_config_dict.get("model") if model is None else model, error)
                raise

        return _get_model_and_dataset

    wrap(Config, "_get_model_and_dataset", with_known_model)
    wrap(Config, "_load_internal_config_dict", with_defaults)
    wrap(Config, "_update_internal_config_dict", _parsed_once)
    wrap(Config, "_set_default_parameters", with_checks)


def _check_model(name: Any, error: Exception) -> None:
    """Say of an unknown model that it is one; RecBole blames an optional package, which it imports at last."""
    by_file = {"lightgbm": "LightGBM", "xgboost": "XGBoost"}  # the classes that are not called like their files
    shipped = recbole_models()
    names = sorted({*MODELS, *(by_file.get(model, model) for model in shipped)})
    if isinstance(name, str) and name not in names:
        hint = did_you_mean(name, names) or f" There are {', '.join(names)}."
        msg = f"There is no model {name!r}.{hint}"
        raise ConfigError(msg) from error


def _use_prepared_folder(config: Any) -> None:
    """Send a data set that we prepare to its folder, unless the user has an atomic file of that name."""
    from recbole_nasr.data.prepare import is_prepared_dataset, prepared_folder

    options, name = config.final_config_dict, config.dataset
    has_file = (Path(options["data_path"]) / f"{name}.inter").is_file() and options.get("source") is None
    if is_prepared_dataset(name, options) and not has_file:
        options["data_path"] = os.fspath(prepared_folder(options))
        if options.get("split_by") == "time" and "eval_args" in config.external_config_dict:
            msg = "`split_by` is time, which sets the split, but `eval_args` sets it too; drop one of the two."
            raise ConfigError(msg)
        _use_prepared_split(options)


def _use_prepared_split(options: Any) -> None:
    from recbole_nasr.data.prepare import split_settings

    settings = split_settings(options)
    if settings:
        options["eval_args"] = {**options["eval_args"], **settings}


def _hook_preparation() -> None:
    """Prepare our data sets before RecBole looks for their files (data/dataset/dataset.py:97-116)."""
    from recbole.data.dataset import Dataset

    def prepared(original: Callable[..., Any]) -> Callable[..., Any]:
        def _get_preset(self: Any) -> None:
            _prepare(self.config)
            original(self)

        return _get_preset

    def known(original: Callable[..., Any]) -> Callable[..., Any]:
        def _download(self: Any) -> None:
            _check_known(self)
            original(self)

        return _download

    wrap(Dataset, "_get_preset", prepared)
    wrap(Dataset, "_download", known)


def _prepare(config: Any) -> None:
    from torch import distributed

    from recbole_nasr.data.prepare import ensure_prepared, is_prepared_dataset, prepared_folder

    if not is_prepared_dataset(config["dataset"], config) or Path(config["data_path"]).is_dir():
        return
    if config["local_rank"] == 0:
        ensure_prepared(config)
    if distributed.is_available() and distributed.is_initialized():
        distributed.barrier()
    config["data_path"] = os.fspath(prepared_folder(config))  # known only now where the source was downloaded
    _use_prepared_split(config)


def _check_known(dataset: Any) -> None:
    """Turn RecBole's ValueError for an unknown data set into a line that helps."""
    if dataset._get_download_url("url", allow_none=True) is not None:  # noqa: SLF001 - RecBole asks in no other way
        return
    msg = (
        f"There is no data set {dataset.dataset_name!r}: neither a folder {dataset.dataset_path!r} nor a "
        f"name that RecBole can download.{did_you_mean(dataset.dataset_name, known_datasets())} "
        "Put <name>.inter into <data_path>/<name>/, or correct the name."
    )
    raise DataError(msg)


def _register_worker() -> None:
    """Let `run` (quick_start.py:83) check first, and spawn processes that import this package before RecBole."""
    import recbole.quick_start as package
    import recbole.quick_start.quick_start as module

    from recbole_nasr import quick_start

    module.run = package.run = quick_start.run
    module.run_recboles = package.run_recboles = quick_start.run_recboles


def _hide_warnings() -> None:
    """Hide what pandas 2 says of RecBole's code in every run; its user can do nothing about it. Other code's stays."""
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"recbole\.")


def _hook_flops() -> None:
    """Let ``run_recbole``'s FLOPs (quick_start.py:141) include a tied softmax layer, for which thop has no rule."""
    import recbole.quick_start.quick_start as module

    from recbole_nasr.nets import TiedOutput

    def counting(original: Callable[..., Any]) -> Callable[..., Any]:
        def get_flops(*args: Any, **kwargs: Any) -> Any:
            from thop.profile import register_hooks
            from torch import nn

            register_hooks.setdefault(TiedOutput, register_hooks[nn.Linear])
            return original(*args, **kwargs)

        return get_flops

    wrap(module, "get_flops", counting)
