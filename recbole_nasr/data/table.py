"""Interactions as columns of numbers: each name is held once, and rows hold its code."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Column = NDArray[Any]


@dataclass(frozen=True)
class Interactions:
    """Interactions in the order of their file.

    Attributes:
        user: ``(T,)`` int32, index into ``users``.
        item: ``(T,)`` int32, index into ``items``.
        time: ``(T,)`` float64, seconds since 1970.
        users: Names of the users, text.
        items: Names of the items, text.
    """

    user: Column
    item: Column
    time: Column
    users: Column
    items: Column

    def __len__(self) -> int:
        return len(self.user)

    def take(self, rows: Column) -> Interactions:
        """Return the interactions ``rows`` (indices or a mask); the names are kept."""
        return replace(self, user=self.user[rows], item=self.item[rows], time=self.time[rows])

    def counts(self) -> dict[str, int]:
        """Return the numbers of interactions, users and items; names without a row do not count."""
        return {"interactions": len(self), "users": n_distinct(self.user), "items": n_distinct(self.item)}


class Names:
    """Names numbered in order of first appearance."""

    def __init__(self) -> None:
        self._number: dict[Any, int] = {}

    def codes(self, names: Any) -> Column:
        """Return the number of each of ``names``, which are distinct; new names are added."""
        number = self._number
        return np.fromiter((number.setdefault(name, len(number)) for name in names), np.int32)

    def codes_of(self, column: pd.Categorical) -> Column:
        """Return the number of each value, or -1 for a missing one."""
        known = np.append(self.codes(column.categories), np.int32(-1))
        return known[column.codes]

    def as_array(self) -> Column:
        """Return the names in the order of their numbers."""
        return np.array(list(self._number), dtype=object)


def n_distinct(codes: Column) -> int:
    """Return the number of distinct codes, which are integers from 0."""
    return int(np.count_nonzero(np.bincount(codes))) if len(codes) else 0


def by_appearance(codes: Column) -> tuple[Column, Column]:
    """Renumber the codes in order of first appearance.

    Returns:
        The new code of every entry, int32, and the old code of every new code.
    """
    new, old = pd.factorize(codes)
    return new.astype(np.int32, copy=False), old


def starts_of_runs(codes: Column) -> Column:
    """Return the positions at which a new run of equal codes starts."""
    if not len(codes):
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.concatenate(([True], codes[1:] != codes[:-1])))
