"""The prepared sequences as arrays, which our data set class reads instead of text.

All codes are RecBole's: 0 is padding, names are numbered from 1 in the order in which they first appear in the atomic
files.
"""

from __future__ import annotations

import tokenize
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recbole_nasr.data.report import REPORT_FILE, load_report
from recbole_nasr.data.table import Column
from recbole_nasr.errors import DataError

FOLDER = "compact"

_ARRAYS = {"length": np.int32, "person": np.int32, "item": np.int32, "time": np.float32, "part": np.int8}
_NAMES = ("sequences", "items", "persons")


@dataclass(frozen=True)
class Compact:
    """Concatenated sequences, and the names that the codes stand for.

    Attributes:
        length: ``(N,)`` number of items of every sequence; sequence ``n`` has code ``n + 1``.
        person: ``(N,)`` code of the person a sequence belongs to.
        item: ``(T,)`` codes of the items.
        time: ``(T,)`` times as RecBole would hold them, float32.
        part: ``(T,)`` part that every item belongs to: 0 training, 1 validation, 2 test.
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
    """Read what `save_compact` wrote; the arrays are memory-mapped.

    Raises:
        DataError: If a file is missing or damaged.
        NewerFileError: If a newer version wrote them, according to the report beside them.
    """
    if (folder / REPORT_FILE).is_file():
        load_report(folder)
    place = folder / FOLDER
    try:
        arrays = {name: _load_array(place / f"{name}.npy", kind) for name, kind in _ARRAYS.items()}
        names = {name: (place / f"{name}.txt").read_text(encoding="utf-8").split("\n") for name in _NAMES}
    except (OSError, ValueError, EOFError) as error:
        msg = f"{place} must hold the prepared arrays, but: {error}; delete {folder} to prepare again."
        raise DataError(msg) from error
    if not _fit_together(arrays, {name: len(found) for name, found in names.items()}):
        msg = f"{place}: the prepared arrays do not fit together; delete {folder} to prepare again."
        raise DataError(msg)
    return Compact(**arrays, **{name: np.array(values, dtype=object) for name, values in names.items()})


def _load_array(path: Path, kind: type) -> Column:
    """Memory-map one array; NumPy parses the header of its file as Python, so a damaged one can raise any error."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, tokenize.TokenError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
        msg = f"{path.name} is no array ({type(error).__name__})"
        raise ValueError(msg) from error
    if not isinstance(array, np.ndarray) or array.ndim != 1 or array.dtype != kind:
        msg = f"{path.name} must be a row of {np.dtype(kind)}"
        raise ValueError(msg)
    return array


def _fit_together(arrays: dict[str, Column], sizes: dict[str, int]) -> bool:
    """Return whether lengths agree and every code has a name; a code without one would index beyond the names."""
    length, person, item = arrays["length"], arrays["person"], arrays["item"]
    same = len(length) == len(person) == sizes["sequences"] and len(item) == len(arrays["time"]) == len(arrays["part"])
    return (
        same
        and length.sum() == len(item)
        and all(
            len(codes) == 0 or (codes.min() >= 1 and codes.max() <= most)
            for codes, most in ((length, len(item)), (person, sizes["persons"]), (item, sizes["items"]))
        )
    )


def has_compact(folder: Path) -> bool:
    """Return whether a prepared folder has the arrays."""
    return (folder / FOLDER).is_dir()
