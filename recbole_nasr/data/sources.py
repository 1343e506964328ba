"""Where raw interactions come from: the one place that knows releases, files and their readers.

A new release is one more entry of `RELEASES`: how to find its file and how to read it into the three columns.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pandas as pd

from recbole_nasr.errors import ConfigError, DataError, did_you_mean

COLUMNS = ("user", "item", "time")
"""Columns of a table of raw interactions; user and item are text, time is seconds since 1970 (float64)."""

MOVIELENS_RELEASES = ("100k", "1m", "10m", "20m", "25m", "32m", "latest", "latest-small")
"""The releases of MovieLens that the publisher names."""


@dataclass(frozen=True)
class Release:
    """A file with raw interactions.

    Attributes:
        locate: Returns its path.
        read: Returns its interactions with the columns `COLUMNS`, in the order of the file.
    """

    locate: Callable[[], Path]
    read: Callable[[Path], pd.DataFrame]


def movielens(name: str) -> Release:
    """Return a release of MovieLens.

    Args:
        name: Value of ``ml_release``.

    Raises:
        ConfigError: If MovieLens has no such release.
        DataError: If the release cannot be read yet.
    """
    if name in RELEASES:
        return RELEASES[name]
    if name not in MOVIELENS_RELEASES:
        msg = f"ml_release names a release of MovieLens, not {name!r}; set ml_release={', '.join(RELEASES)}."
        raise ConfigError(msg + did_you_mean(name, MOVIELENS_RELEASES))
    msg = (
        f"The MovieLens release {name!r} is not among those this version can prepare: {', '.join(RELEASES)}; "
        f"set ml_release={next(iter(RELEASES))}."
    )
    raise DataError(msg)


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file as hexadecimal text."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _recbole_100k() -> Path:
    # Found without importing RecBole, which takes seconds.
    spec = find_spec("recbole")
    if spec is None or spec.origin is None:
        msg = "MovieLens 100K is read from the copy inside RecBole, which is missing; pip install recbole."
        raise DataError(msg)
    path = Path(spec.origin).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    if not path.is_file():
        msg = f"MovieLens 100K is read from {path}, RecBole's own copy, which is missing; reinstall recbole."
        raise DataError(msg)
    return path


def _read_atomic(path: Path) -> pd.DataFrame:
    names = {"user_id:token": "user", "item_id:token": "item", "timestamp:float": "time"}
    types = {"user_id:token": str, "item_id:token": str, "timestamp:float": float}
    try:
        table = pd.read_csv(path, sep="\t", usecols=list(names), dtype=types)
    except (ValueError, OSError) as error:
        msg = f"{path} must have the columns {', '.join(names)}, but: {error}; reinstall or replace the file."
        raise DataError(msg) from error
    return table.rename(columns=names)[list(COLUMNS)]


RELEASES = {"100k": Release(locate=_recbole_100k, read=_read_atomic)}
"""The releases this version reads, by the value of ``ml_release``."""
