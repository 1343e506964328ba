"""The prepared sequences as arrays: what our data set class reads instead of text.

All codes are RecBole's: 0 is padding, names are numbered from 1 in the order in which they first appear in the atomic
files.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_nasr.data.table import Column
from recbole_nasr.errors import DataError

FOLDER = "compact"

_ARRAYS = {"length": np.int32, "person": np.int32, "item": np.int32, "time": np.float32, "part": np.int8}
_NAMES = ("sequences", "items", "persons")


@dataclass(frozen=True)
class Compact:
    """Sequences, one after the other, and the names behind the codes.

    Attributes:
        length: ``(N,)`` items of every sequence; sequence ``n`` has code ``n + 1``.
        person: ``(N,)`` code of the person behind it.
        item: ``(T,)`` codes of the items.
        time: ``(T,)`` times as RecBole would hold them, float32.
        part: ``(T,)`` what every item is for: 0 training, 1 validation, 2 test.
        sequences: ``(N,)`` names of the sequences.
        items: Names of the items.
        persons: Names of the persons.
    """

    length: Column
    person: Column
    item: Column
    time: Column
    part: Column
    sequences: Column
    items: Column
    persons: Column


def save_compact(compact: Compact, folder: Path) -> None:
    """Write the arrays and names into the folder ``compact`` below ``folder``."""
    place = folder / FOLDER
    place.mkdir()
    for name, kind in _ARRAYS.items():
        np.save(place / f"{name}.npy", getattr(compact, name).astype(kind, copy=False))
    for name in _NAMES:
        (place / f"{name}.txt").write_text("\n".join(getattr(compact, name)), encoding="utf-8", newline="\n")


def load_compact(folder: Path) -> Compact:
    """Read what `save_compact` wrote; the arrays are mapped, not copied.

    Raises:
        DataError: If a file is missing or damaged.
    """
    place = folder / FOLDER
    try:
        arrays = {name: np.load(place / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
        names = {name: (place / f"{name}.txt").read_text(encoding="utf-8").split("\n") for name in _NAMES}
    except (OSError, ValueError, EOFError) as error:
        msg = f"{place} must hold the prepared arrays, but: {error}; delete {folder} to prepare again."
        raise DataError(msg) from error
    if len(arrays["item"]) != arrays["length"].sum() or len(names["sequences"]) != len(arrays["length"]):
        msg = f"{place}: the prepared arrays do not fit together; delete {folder} to prepare again."
        raise DataError(msg)
    return Compact(**arrays, **{name: np.array(values, dtype=object) for name, values in names.items()})


def has_compact(folder: Path) -> bool:
    """Return whether a prepared folder has the arrays."""
    return (folder / FOLDER).is_dir()
