"""Which configuration keys mean something, and the refusal of those that nothing reads."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import recbole
import yaml

from recbole_nasr.configuration.files import read_settings
from recbole_nasr.configuration.resources import available, load_yaml, parsed
from recbole_nasr.configuration.values import MODELS
from recbole_nasr.errors import ConfigError, did_you_mean

UNLISTED_KEYS = {
    "model": "name of the model",
    "dataset": "name of the data set",
    "config_files": "configuration files, in RecBole's scripts",
    "nproc": "processes on this machine",
    "world_size": "processes on all machines",
    "ip": "address of the first machine",
    "port": "port of the first machine",
    "offset": "number of the first process on this machine",
    "group_offset": "the same, in RecBole's scripts",
    "lost_after": "seconds without a sign of life after which a process counts as lost",
    "local_rank": "number of the process on this machine",
    "verbose": "set by RecBole in the processes after the first",
    "log_mlflow": "whether MLflow is told of a run of the command line",
    "mlflow_experiment": "the experiment of MLflow",
    "encoding": "text encoding of atomic files",
    "tail_ratio": "share of unpopular items, for TailPercentage",
    "mask_ratio": "share of masked items, for the transform mask_itemseq",
    "ft_ratio": "share of sequences whose last item alone is masked, for the same",
    "eta": "share of kept items, for the transform crop_itemseq",
    "beta": "share of reordered items, for the transform reorder_itemseq",
}
"""Keys that RecBole reads but neither lists nor has in a YAML file, with their meaning."""

_OF_TRANSFORMS = {"mask_ratio", "ft_ratio", "eta", "beta"}
"""Those that RecBole's transforms read, of which our models take none."""

_READ_BY_NOBODY = {"config_file"}
"""Keys that RecBole lists but does not read; ``--config_files`` with a letter missing would be ignored."""

_INTERNAL = {"MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device"}
"""Known keys that nobody means to set, so none is proposed for a mistyped one."""

_RECBOLE = Path(recbole.__file__).parent / "properties"
_RECBOLE_MODELS = _RECBOLE / "model"

_NEAR = 0.8  # of a foreign script's own flags, only those that look like ours are held to be mistyped


def known_keys(config: Any) -> set[str]:
    """Return every configuration key that means something for the model and data set of ``config``.

    These are RecBole's argument lists, everything in the YAML that was loaded, `UNLISTED_KEYS`, and what the
    source of the model's class reads as ``config["key"]``; for our models nothing of RecBole's transforms.
    """
    unlisted = set(UNLISTED_KEYS) - (_OF_TRANSFORMS if config.model in MODELS else set())
    listed = {key for keys in config.parameters.values() for key in keys} - _READ_BY_NOBODY
    return listed | set(config.internal_config_dict) | unlisted | _keys_read_by(config.model_class)


@functools.cache
def _keys_read_by(model_class: type) -> set[str]:
    keys: set[str] = set()
    for base in model_class.__mro__:
        if base.__module__.startswith(("torch", "builtins")):
            continue
        try:
            source = inspect.getsource(base)
        except (OSError, TypeError):  # typed into a notebook or a shell
            continue
        keys.update(re.findall(r"""config\[\s*["'](\w+)["']\s*\]""", source))
    return keys - {"device"}  # RecBole computes it from gpu_id, whatever the user says


def check_keys(config: Any, *, strict: bool = False) -> None:
    """Refuse configuration keys that nothing reads.

    RecBole takes every ``--key=value`` it finds in ``sys.argv``, also those meant for the script around it.
    Unless ``strict``, such a key is an error only if it looks like a known one, else a logged warning.

    Args:
        config: A RecBole `Config` whose defaults have been loaded, for any model.
        strict: Whether the command line holds configuration keys only.

    Raises:
        ConfigError: For the first unknown key; names where it was given and the nearest known key.
    """
    known = known_keys(config)
    origins = (
        ("on the command line", config.cmd_config_dict),
        ("in config_dict", config.variable_config_dict),
        ("in a configuration file", config.file_config_dict),
    )
    for origin, given in origins:
        for key in given:
            if key in known:
                continue
            if given is config.cmd_config_dict and not strict and not _looks_like(key, known):
                logging.getLogger().warning("--%s is not a configuration key; it is ignored.", key)
                continue
            msg = f"{key!r}, given {origin}, is not a configuration key of {config.model}."
            raise ConfigError(msg + advice(key, known))


def recbole_models() -> list[str]:
    """Return the models that RecBole has a file of settings of, all of its own, by the names of the files."""
    return sorted(path.stem for path in _RECBOLE_MODELS.glob("*.yaml"))


def recbole_settings(model: str) -> dict[str, Any]:
    """Return the content of RecBole's file of settings of a model; empty if it has none."""
    file = _RECBOLE_MODELS / f"{model}.yaml"
    return read_settings(file) if file.is_file() else {}


def known_datasets() -> list[str]:
    """Return the names of all data sets that need no file of the user's: ours and RecBole's, sorted."""
    text = (_RECBOLE / "dataset" / "url.yaml").read_text(encoding="utf-8")
    return sorted({*parsed(text, yaml.SafeLoader), *available("dataset_configs"), "ml-100k"})


def advice(key: str, known: Iterable[str]) -> str:
    """Return what to do about a key that is not ``known``, as the end of a message."""
    if key in _OF_TRANSFORMS:
        return f" It is for a `transform` of RecBole's own models: {UNLISTED_KEYS[key]}."
    ours = _reader_of(key)
    return ours or _reader_in_recbole(key) + (did_you_mean(key, set(known) - _INTERNAL) or " Remove it.")


def _reader_of(key: str) -> str:
    """Return a sentence on which of our models reads ``key``; empty if neither does."""
    for model, also in zip(MODELS, (f" and --model={MODELS[1]}", ""), strict=True):
        if model in available("properties/model") and key in load_yaml("properties/model", model):
            return f" It is for --model={model}{also}."
    return ""


def _reader_in_recbole(key: str) -> str:
    """Return a sentence on a model of RecBole that reads ``key``; empty if none does."""
    names = [model for model in recbole_models() if key in recbole_settings(model)]
    return f" It is for models of RecBole, such as {'SASRec' if 'SASRec' in names else names[0]}." if names else ""


def _looks_like(key: str, known: set[str]) -> bool:
    return bool(difflib.get_close_matches(key.lower(), [name.lower() for name in known], n=1, cutoff=_NEAR))
