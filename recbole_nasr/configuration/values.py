"""The default values that this package adds to RecBole's `Config`, and the values in force as plain data.

Precedence, from strongest: command line, ``config_dict``, configuration files, ``dataset_configs/*.yaml``,
``properties/search`` and ``properties/space`` presets, ``properties/model/*.yaml``, RecBole's own defaults.
Only what RecBole's own data set YAML says (that of ml-100k) is not overridden by a model's YAML.
"""

from __future__ import annotations

import enum
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole.utils import ModelType

from recbole_nasr.configuration.resources import available, parsed, yaml_text
from recbole_nasr.errors import ConfigError, whole
from recbole_nasr.ops import are_loaded, load_operations

MODELS = ("NASR", "NASRSearch")
"""Names of our models, as RecBole knows them."""

AUTOREGRESSIVE_MODELS = ("SASRec", "GRU4Rec")
"""RecBole's models that can also be trained with a target at every position."""

_MODEL_FILES = {"NASR": ("NASR",), "NASRSearch": ("NASR", "NASRSearch")}
_PRESET_FOLDERS = {"search_space": "properties/space", "search_preset": "properties/search"}

DATASET_ARGUMENTS = (
    "train_scheme",
    "group_field",
    "source",
    "ml_release",
    "lastfm_item",
    "user_column",
    "item_column",
    "time_column",
    "time_unit",
    "source_separator",
    "max_undecodable_rows",
    "min_item_interactions",
    "min_user_interactions",
    "filter_until_stable",
    "sequence_unit",
    "window_length",
    "window_stride",
    "min_window_length",
    "max_end_gap",
    "split_by",
    "time_quantiles",
)
"""Our keys that change a data set; RecBole compares them before it reuses a saved one."""


def add_defaults(config: Any, model: str, model_class: Any, dataset: str) -> None:
    """Add our YAML to the defaults that RecBole has just put into ``config.internal_config_dict``.

    Args:
        config: A RecBole `Config` under construction.
        model: Name of the model.
        model_class: Its class.
        dataset: Name of the data set.

    Raises:
        ConfigError: If ``search_space`` or ``search_preset`` names no shipped preset, ``ops_module`` cannot be
            loaded, or ``train_scheme`` is not for this model.
    """
    defaults: dict[str, Any] = config.internal_config_dict
    recbole_says = _recbole_dataset_yaml(config, dataset)
    if model in MODELS:
        ours = _model_defaults(config, model)
        defaults.update({key: value for key, value in ours.items() if key not in recbole_says})
        _load_operations(config)
    sequential = model_class.type == ModelType.SEQUENTIAL
    if sequential:
        _allow_scheme(config, model)
    prepared = dataset in available("dataset_configs")
    if prepared or config.external_config_dict.get("source") is not None:
        folder, name = ("dataset_configs", dataset) if prepared else ("properties/data", "own")
        defaults.update(_read(config, folder, name))
        longest = config.external_config_dict.get("window_length")
        if whole(1)(longest):  # longer windows would be cut again; what is no length is refused under its own name
            defaults["MAX_ITEM_LIST_LENGTH"] = longest
    elif sequential and not recbole_says:
        _load_timestamps(config)


def _allow_scheme(config: Any, model: str) -> None:
    """Give RecBole's models that can be trained in either scheme the key for it; refuse it to the others."""
    if model in AUTOREGRESSIVE_MODELS:
        config.internal_config_dict["train_scheme"] = "prefix"
    elif model not in MODELS and config.external_config_dict.get("train_scheme") == "autoregressive":
        msg = (
            f"train_scheme=autoregressive works with {', '.join((*MODELS, *AUTOREGRESSIVE_MODELS))}, not with {model}, "
            "which has no representation of every position; remove the key."
        )
        raise ConfigError(msg)


def _load_operations(config: Any) -> None:
    """Run the user's file of operations before any name is checked, and note it so that any folder can name it.

    A file of settings may come from a stranger, and alone runs no code.
    """
    source = config.external_config_dict.get("ops_module")
    if source is None:
        return
    given = "ops_module" in {**config.variable_config_dict, **config.cmd_config_dict}
    if not given and not are_loaded(source):
        msg = (
            f"A configuration file names the operations of {source}, which is code that nothing has loaded here; if "
            "you trust it, give ops_module on the command line or in config_dict too."
        )
        raise ConfigError(msg)
    config.external_config_dict["ops_module"] = load_operations(source)


def _model_defaults(config: Any, model: str) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for name in _MODEL_FILES[model]:
        merged.update(_read(config, "properties/model", name))
    for key, folder in _PRESET_FOLDERS.items():
        if key not in merged:
            continue
        name = config.external_config_dict.get(key, merged[key])
        merged.update({**_read(config, folder, str(name)), key: name})
    return merged


def _read(config: Any, folder: str, name: str) -> dict[str, Any]:
    # RecBole's loader, because it reads 1e-3 as a number.
    return parsed(yaml_text(folder, name), config.yaml_loader)


def _recbole_dataset_yaml(config: Any, dataset: str) -> dict[str, Any]:
    source = sys.modules[type(config).__module__].__file__ or ""
    path = Path(source).parent.parent / "properties" / "dataset" / f"{dataset}.yaml"
    if not path.is_file():
        return {}
    return parsed(path.read_text(encoding="utf-8"), config.yaml_loader)


def _load_timestamps(config: Any) -> None:
    """Make sequential models load the time field of a data set that no YAML describes.

    RecBole's sample.yaml loads users and items only, and then stops with "[timestamp] is not exist".
    """
    merged = {**config.internal_config_dict, **config.external_config_dict}
    load_col = config.internal_config_dict.get("load_col") or {}
    if merged["TIME_FIELD"] in load_col.get("inter", ()):
        return
    fields = [merged[key] for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD")]
    config.internal_config_dict["load_col"] = {**load_col, "inter": fields}


def effective(config: Any) -> dict[str, Any]:
    """Return the values in force as plain data for JSON or YAML, keys sorted.

    Enumerations become their names, and what has no plain form (such as a device) its text.
    """
    values: Mapping[str, Any] = config.final_config_dict
    return {key: _plain(values[key]) for key in sorted(values)}


def _plain(value: Any) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=str)
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a NumPy or torch scalar
        return value.item()
    return str(value)
