"""Rows of a data set that hold only positions in flat columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

TARGET_POSITION = "__target_position__"
"""Column with the flat position of each row's target; never part of a batch."""


@dataclass(frozen=True)
class FlatColumns:
    """Interactions of all users, sorted by user and time.

    Attributes:
        columns: The values of every field, with first dimension ``T``.
        first: Flat position of the first interaction of every user, by the user's code.
        user_field: Name of the user's field.
        length_field: Name of the field with the length of a history.
        max_length: Longest history that is returned.
    """

    columns: dict[str, Tensor]
    first: Tensor
    user_field: str
    length_field: str
    max_length: int


class TargetRows(Interaction):  # type: ignore[misc]  # RecBole has no types
    """RecBole's table of rows, reduced to the position of each target; a column is gathered when it is requested.

    A row takes eight bytes, whatever the number of fields: sorting, splitting and copying move only these.
    """

    def __init__(self, flat: FlatColumns, target: Tensor, fields: Sequence[str]) -> None:
        """Create the rows.

        Args:
            flat: The columns with the values.
            target: ``(R,)`` flat position of every row's target.
            fields: Fields of ``flat`` that the rows have.
        """
        self.flat, self.target, self.fields = flat, target, list(fields)
        self.length = target.numel()

    @property
    def interaction(self) -> dict[str, Tensor]:
        """All columns by name."""
        return {field: self[field] for field in self.columns}

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [*self.fields, self.flat.length_field, TARGET_POSITION]

    def __getitem__(self, index: Any) -> Any:
        """Return a column if ``index`` is a name, otherwise the rows ``index``."""
        if not isinstance(index, str):
            return TargetRows(self.flat, self.target[_tensor_index(index)], self.fields)
        if index == TARGET_POSITION:
            return self.target
        if index == self.flat.length_field:
            users = self.flat.columns[self.flat.user_field][self.target]
            return (self.target - self.flat.first[users]).clamp_(max=self.flat.max_length)
        if index not in self.fields:
            raise KeyError(index)
        return self.flat.columns[index][self.target]

    def __contains__(self, field: object) -> bool:
        return field in self.columns

    def __iter__(self) -> Any:
        return iter(self.columns)

    def drop(self, column: str) -> None:
        """Drop a column; its flat values are kept."""
        self.fields.remove(column)

    def sort(self, by: str | Sequence[str], ascending: bool | Sequence[bool] = True) -> None:  # noqa: FBT001, FBT002 - RecBole's
        """Sort the rows in place, stably, as the base class does."""
        names = [by] if isinstance(by, str) else list(by)
        if len(names) == 1 and ascending is True and self[names[0]].dim() == 1:
            self.target = self.target[_stable_order(self[names[0]])]
            return
        keys = Interaction({TARGET_POSITION: self.target, **{name: self[name] for name in names}})
        keys.sort(by, ascending)
        self.target = keys[TARGET_POSITION]

    def _reindex(self, index: Any) -> None:
        self.target = self.target[index]


def _stable_order(key: Tensor) -> Tensor:
    """Return the stable ascending order; NumPy is many times faster on small integers, such as prepared times."""
    values = key.numpy()
    if values.size and values.min() >= 0 and values.max() < 1 << 16:
        small = values.astype(np.uint16)
        values = small if (small == values).all() else values
    return torch.from_numpy(np.argsort(values, kind="stable"))


def _tensor_index(index: Any) -> Any:
    """Return an index that a tensor accepts; RecBole also passes lists and ranges, which are slow or refused."""
    if isinstance(index, range):
        return slice(index.start, index.stop, index.step)
    if isinstance(index, (int, slice)):
        return index
    tensor = torch.as_tensor(index)
    return tensor.long() if tensor.numel() == 0 else tensor  # an empty list arrives as floats
