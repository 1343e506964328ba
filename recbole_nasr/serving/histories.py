"""Histories of items as users have them, in one flat form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from recbole_nasr.data.table import Column
from recbole_nasr.data.times import iso_dates
from recbole_nasr.errors import DataError
from recbole_nasr.serving.columns import NO_NAMES, OwnNames, find_column

MANY = (list, tuple, np.ndarray, pd.Series)
"""What a history may be."""

_ONE_OF_SEVERAL = re.compile(r'(?P<as_is>\s*"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^,]*))(?:,|\Z)')


@dataclass(frozen=True)
class Histories:
    """Original item ids, oldest first, one history after another.

    Args:
        users: ``(H,)`` what each history is called.
        items: ``(T,)`` original item ids, text.
        start: ``(H + 1,)`` where each history begins in ``items``, and the end.
    """

    users: Column
    items: Column
    start: Column

    def __len__(self) -> int:
        return len(self.users)

    @classmethod
    def of_lists(cls, lists: Sequence[Any], users: Any = None) -> Histories:
        """Join one list of item ids per history; without ``users`` they are numbered from 0.

        Raises:
            DataError: If an element is not a list.
        """
        wrong = [lists] if isinstance(lists, str) else [row for row in lists if not isinstance(row, MANY)]
        if wrong:
            msg = (
                "Histories are a list with one list of item ids for each user, such as [['318', '858']], but one is "
                f"{wrong[0]!r}; for a single history write [[...]]."
            )
            raise DataError(msg)
        start = np.concatenate([[0], np.cumsum([len(row) for row in lists], dtype=np.int64)]).astype(np.int64)
        items = np.empty(start[-1], dtype=object)
        items[:] = [item for row in lists for item in row]
        return cls(np.arange(len(lists)) if users is None else np.asarray(users), as_text(items), start)

    @classmethod
    def of_rows(cls, frame: pd.DataFrame, user: str, item: str, time: str | None = None, where: str = "") -> Histories:
        """Group one row per interaction by user, users in the order in which they appear.

        Args:
            frame: The rows, each user's in the order of time unless there is a column with the time.
            user: Name of the column with the user.
            item: Name of the column with the item.
            time: Name of the column with the time.
            where: What the rows are from, for the message.

        Raises:
            DataError: If a row has no time.
        """
        codes, users = pd.factorize(frame[user], use_na_sentinel=False)
        keys = [codes] if time is None else [_moments(frame[time], where), codes]
        order = np.lexsort(keys)  # by user, then by time; stable
        start = np.concatenate([[0], np.cumsum(np.bincount(codes, minlength=len(users)))]).astype(np.int64)
        return cls(np.asarray(users), as_text(frame[item].to_numpy()[order]), start)


def histories_of(data: Any, own: OwnNames = NO_NAMES) -> Histories:
    """Convert what a user gives as histories.

    Args:
        data: A list (or NumPy array) of lists of item ids; a Series of lists, whose index names the users; or a
            DataFrame, either with one row per interaction (columns with user and item, and with the time unless the
            rows of a user are in order), or with one row per user and a column of lists.
        own: Names in the run's data, which are recognised beside those of
            :data:`recbole_nasr.data.layouts.KNOWN_NAMES`.

    Raises:
        DataError: If it is something else, or a column is missing.
    """
    if isinstance(data, pd.DataFrame):
        return _of_frame(data, own)
    if isinstance(data, pd.Series):
        return Histories.of_lists(data.tolist(), data.index)
    if isinstance(data, (list, tuple, np.ndarray)):
        return Histories.of_lists(list(data))
    msg = f"Histories are a list of lists, a Series of lists or a DataFrame, but are a {type(data).__name__}."
    raise DataError(msg)


def named_items(text: str, is_known: Callable[[str], bool]) -> list[str]:
    """Return the item ids of a text such as ``318, 858`` or ``"Beatles, The", Cream``.

    A known id needs no quotes where it is the whole text, and keeps its outer spaces.

    Args:
        text: Ids with commas between them; one may stand in double quotes, and two of these mean one within it.
        is_known: Whether there is an item of this id.
    """
    if whole := next((name for name in (text, text.strip()) if is_known(name)), ""):
        return [whole]
    names = []
    for found in _ONE_OF_SEVERAL.finditer(text):
        plain = found["plain"].strip() if found["quoted"] is None else found["quoted"].replace('""', '"')
        names.append(found["as_is"] if is_known(found["as_is"]) else plain)
    return [name for name in names if name]


def _moments(times: pd.Series, where: str) -> Column:
    """Return numbers or dates that sort as ``times`` do: as text 10 would come before 9."""
    found = times
    if not pd.api.types.is_datetime64_any_dtype(times):
        found = numbers = pd.to_numeric(times, errors="coerce")
        if numbers.isna().any():
            dates = iso_dates(times)
            found = numbers if numbers.notna().any() and dates.isna().any() else dates
    missing = found.isna()
    if missing.any():
        bad = times[missing].iloc[0]
        shown = repr(bad) if isinstance(bad, str) else bad
        msg = f"{times.name!r} needs a number or an ISO time in every row, but one is {shown}."
        raise DataError(f"{where}: {msg}" if where else msg)
    return found.to_numpy("datetime64[ns]" if pd.api.types.is_datetime64_any_dtype(found) else None)


def as_text(values: Column) -> Column:
    """Return item ids as text: bytes are UTF-8, and whole numbers that pandas has made floats lose their point.

    Raises:
        DataError: If bytes are not UTF-8.
    """
    if not len(values):
        return np.empty(0, dtype=object)
    if values.dtype.kind in "iu":
        return values.astype(str).astype(object)
    return np.array([_text(value) for value in values], dtype=object)


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (float, np.floating)):
        return str(int(value)) if float(value).is_integer() else "" if np.isnan(value) else str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            msg = f"An item id must be UTF-8 text, but one is {value!r:.40}; give ids as text."
            raise DataError(msg) from error
    return "" if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)


def _of_frame(frame: pd.DataFrame, own: OwnNames) -> Histories:
    names = list(frame)
    item = find_column("item", names, own=own, advice=_renaming("item"))
    lists = frame[item].map(lambda cell: isinstance(cell, MANY))
    whole = bool(lists.any())
    user = find_column("user", names, own=own, needed=not whole, advice=_renaming("user"))
    if whole:
        return Histories.of_lists(frame[item].tolist(), frame.index if user is None else frame[user])
    time = find_column("time", names, own=own, needed=False)
    assert user is not None and item is not None  # noqa: S101, PT018 - for the type checker
    return Histories.of_rows(frame, user, item, time)


def _renaming(role: str) -> str:
    return f"rename it, as with frame.rename(columns={{NAME: '{role}'}})"
