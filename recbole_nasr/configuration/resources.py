"""Where the shipped YAML lives: beside ``pyproject.toml`` in a checkout, inside the package in a wheel."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

from recbole_nasr.errors import ConfigError, did_you_mean

_PACKAGE = Path(__file__).resolve().parents[1]


def resource_dir(name: str) -> Path:
    """Return the folder ``properties`` or ``dataset_configs``.

    An editable install leaves a stale copy inside the package, so the checkout's own folder wins.
    """
    checkout = _PACKAGE.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / name).is_dir():
        return checkout / name
    return _PACKAGE / name


def available(folder: str) -> list[str]:
    """Return the names of the YAML files in ``folder`` (such as ``properties/space``), sorted."""
    root, _, rest = folder.partition("/")
    return sorted(path.stem for path in (resource_dir(root) / rest).glob("*.yaml"))


def yaml_text(folder: str, name: str) -> str:
    """Return the text of ``folder/name.yaml``.

    Raises:
        ConfigError: If there is no such file; the nearest name is given.
    """
    names = available(folder)
    if name not in names:
        msg = f"There is no {name!r} in {folder}; it has {', '.join(names)}.{did_you_mean(name, names)}"
        raise ConfigError(msg)
    root, _, rest = folder.partition("/")
    return (resource_dir(root) / rest / f"{name}.yaml").read_text(encoding="utf-8")


def load_yaml(folder: str, name: str) -> dict[str, Any]:
    """Read ``folder/name.yaml``.

    Raises:
        ConfigError: If there is no such file; the nearest name is given.
    """
    return parsed(yaml_text(folder, name), yaml.SafeLoader)


def parsed(text: str, loader: type) -> dict[str, Any]:
    """Return what a YAML mapping says, empty if it says nothing; the same text is parsed once by each loader.

    A run reads the same dozen files for every configuration it makes, and PyYAML takes some ms for each.
    """
    return copy.deepcopy(_parsed(text, loader))


@functools.lru_cache(maxsize=256)
def _parsed(text: str, loader: type) -> dict[str, Any]:
    return dict(yaml.load(text, Loader=loader) or {})  # noqa: S506 - shipped files
