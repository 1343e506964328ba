"""The values of the keys that only mean something beside ``--study``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, did_you_mean, whole

PRUNERS = ("median", "hyperband", "none")

_DURATION = re.compile(r"(\d+(?:\.\d+)?)([smh]?)")
_LONGEST_NUMBER = 12
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


def read_seeds(value: Any, key: str = "seeds") -> tuple[int, ...]:
    """Return different seeds from one or a list of them.

    Raises:
        ConfigError: If they are not.
    """
    seeds = value if isinstance(value, (list, tuple)) else [value]
    good = all(map(whole(0), seeds))
    if not seeds or not good or len(set(seeds)) < len(seeds):
        rule = f"different integers from 0 to {LARGEST_INTEGER}, such as [2020, 2021]"
        msg = f"`--{key}` must be {rule}, but is {value!r:.80}."
        raise ConfigError(msg)
    return tuple(seeds)


def read_count(value: Any, key: str = "n_trials", most: int = LARGEST_INTEGER) -> int | None:
    """Return a number of things to do; ``None`` for all.

    Raises:
        ConfigError: If it is no integer from 1 to ``most``.
    """
    if value is not None and not whole(1, most)(value):
        msg = f"`--{key}` must be an integer of at least 1, at most {most}, but is {value!r:.40}."
        raise ConfigError(msg)
    return value


def read_seconds(value: Any) -> float | None:
    """Return a time such as ``2h`` in seconds; ``None`` for no limit.

    Raises:
        ConfigError: If it is none.
    """
    if value is None:
        return None
    found = _DURATION.fullmatch(str(value))
    if found is None or len(found[1]) > _LONGEST_NUMBER:
        msg = f"`--time_budget` must be a time such as 90s, 30m or 2h, but is {value!r:.40}."
        raise ConfigError(msg)
    return float(found[1]) * _UNITS[found[2]]


def read_folder(value: Any) -> Path | None:
    """Return a folder that exists; ``None`` for none.

    Raises:
        ConfigError: If there is no such folder.
    """
    if value is None:
        return None
    if not Path(str(value)).is_dir():
        msg = f"`--results` must be a folder with records of finished runs, but there is no folder {value}."
        raise ConfigError(msg)
    return Path(str(value))


def read_pruner(value: str) -> str:
    """Return one of :data:`PRUNERS`.

    Raises:
        ConfigError: If it is none of them.
    """
    if value not in PRUNERS:
        msg = f"`--pruner` must be one of {', '.join(PRUNERS)}, but is {value!r}.{did_you_mean(value, PRUNERS)}"
        raise ConfigError(msg)
    return value
