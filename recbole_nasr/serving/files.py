"""Histories from a file of any length, a piece at a time."""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePath
from typing import IO, Any

import numpy as np
import pandas as pd

from recbole_nasr.data.layouts import SEPARATORS
from recbole_nasr.data.parquet import text_of_bytes
from recbole_nasr.errors import DataError
from recbole_nasr.serving.columns import LIST_NAMES, NO_NAMES, OwnNames, find_column
from recbole_nasr.serving.histories import MANY, Histories
from recbole_nasr.serving.output import pyarrow
from recbole_nasr.unpacking import bounded

ROWS_AT_ONCE = 200_000
"""Rows of the file in memory, where each is one interaction; the scores of a batch take more."""

HISTORIES_AT_ONCE = 20_000
"""Rows of the file in memory, where each is a whole history."""

_DAMAGE = (EOFError, zlib.error)  # of a .gz file, beside OSError
_LONGEST_HEADER = 1 << 20
_BETWEEN_ITEMS = re.compile(r"[\s,;|]+")


class HistoryFile:
    """A file of histories: one row per interaction (user, item and, unless sorted, time), or one row per history.

    With one row per interaction the rows of a user stand together. A row is a history where the item column has one of
    :data:`~recbole_nasr.serving.columns.LIST_NAMES`, holds lists, or is the only one. In text the items of a history
    are separated by spaces or by one of ``, ; |``.

    Args:
        path: ``.csv``, ``.tsv`` or ``.inter``, each also in ``.gz``, or ``.parquet``.
        columns: Names of the columns ``user``, ``item`` and ``time`` where they are not recognised.
        own: What the data of the run call them, and what separates their columns; recognised before other names.

    Attributes:
        size: Work to do: bytes, or rows of a Parquet file.
        item_column: Name of the column with the items.

    Raises:
        DataError: If it cannot be read, or a column is missing.
    """

    def __init__(self, path: Path, columns: Mapping[str, str | None], own: OwnNames = NO_NAMES) -> None:
        self._ending = PurePath(path.name.removesuffix(".gz")).suffix
        if self._ending not in SEPARATORS and path.suffix != ".parquet":
            kinds = f"{', '.join(SEPARATORS)} (each also in .gz) or .parquet"
            msg = f"Histories are read from {kinds}, but the input is {str(path)!r}."
            raise DataError(msg)
        if not path.is_file():
            msg = f"There is no file {str(path)!r} with histories; check --input."
            raise DataError(msg)
        self.path = path
        self._separator = self._find_separator(own.separator)
        names, nested = self._look()
        find = partial(find_column, names=names, own=own)
        self._item = find("item", chosen=columns.get("item"), advice="rename it, or name it with --item_column=NAME")
        self._time = find("time", chosen=columns.get("time"), needed=False)
        self._user = find("user", chosen=columns.get("user"), needed=False)
        lists = self._item in nested or self._has_lists(own)
        if not lists and self._user is None and len(names) > 1:  # else each interaction would be a history
            msg = (
                f"{path} needs a column with the user of each row, there are {', '.join(map(str, names))}; name it "
                f"with --user_column. Where each row is a whole history, call the column of its items {LIST_NAMES[0]}."
            )
            raise DataError(msg)
        self._lists = lists or self._user is None
        self.item_column = str(self._item)
        self._at_once = HISTORIES_AT_ONCE if self._lists else ROWS_AT_ONCE
        self.size = self._n_rows if path.suffix == ".parquet" else path.stat().st_size

    def _has_lists(self, own: OwnNames) -> bool:
        """Return whether the name of the item column is one of histories, and not that of an item in the run's data."""
        name = str(self._item).partition(":")[0]
        single = self._time is not None and name in own.columns.get("item", ())
        return name in LIST_NAMES and not single

    def pieces(self) -> Iterator[tuple[Histories, int]]:
        """Yield whole histories, and how much of ``size`` has been read since the last piece.

        Raises:
            DataError: If a row cannot be read, or the rows of a user do not stand together.
        """
        frames = self._parquet() if self.path.suffix == ".parquet" else self._text()
        yield from self._rows_of_users(frames) if self._lists else self._rows_of_interactions(frames)

    def _rows_of_users(self, frames: Iterator[tuple[pd.DataFrame, int]]) -> Iterator[tuple[Histories, int]]:
        n_before = 0
        for frame, done in frames:
            lists = [_split(cell) for cell in frame[self._item]]
            users = np.arange(n_before, n_before + len(frame)) if self._user is None else frame[self._user].to_numpy()
            n_before += len(frame)
            yield Histories.of_lists(lists, users), done

    def _rows_of_interactions(self, frames: Iterator[tuple[pd.DataFrame, int]]) -> Iterator[tuple[Histories, int]]:
        finished = np.zeros(0, dtype=np.uint64)  # 8 bytes for each user seen
        rest = pd.DataFrame()
        for frame, done in frames:
            rows = pd.concat([rest, frame], ignore_index=True)
            last = rows[self._user].iloc[-1]
            own = rows[self._user] == last  # the next piece may have more of this one
            finished = self._check_together(rows[self._user], own.to_numpy(), finished)
            rest = rows[own]
            if not own.all():
                yield self._histories(rows[~own]), done
        if len(rest):
            yield self._histories(rest), 0

    def _histories(self, rows: pd.DataFrame) -> Histories:
        assert self._user is not None and self._item is not None  # noqa: S101, PT018 - for the type checker
        return Histories.of_rows(rows, self._user, self._item, self._time, where=str(self.path))

    def _check_together(self, users: pd.Series, unfinished: Any, finished: Any) -> Any:
        starts = users.ne(users.shift())
        hashes = pd.util.hash_array(users[starts].to_numpy(dtype=object))
        again = pd.Series(hashes).duplicated().to_numpy() | np.isin(hashes, finished)
        if again.any():
            name = users[starts].iloc[int(again.argmax())]
            msg = f"{self.path}: the rows of a user must stand together, those of {name!r} do not; sort by user."
            raise DataError(msg)
        return np.concatenate([finished, hashes[~unfinished[starts.to_numpy()]]])

    def _look(self) -> tuple[list[str], set[str]]:
        """Return the names of the columns as they are written, and of those that hold lists."""
        nested: set[str] = set()
        if self.path.suffix == ".parquet":
            arrow = pyarrow()
            with self._refusals():
                file = arrow.parquet.ParquetFile(self.path)
                self._n_rows = file.metadata.num_rows
                nested = {column.name for column in file.schema_arrow if arrow.types.is_nested(column.type)}
                head = next(file.iter_batches(batch_size=1), None)
                frame = pd.DataFrame() if head is None else _plain(head)
            names = list(frame)
        else:
            with self._refusals(), self._open() as (text, _):
                frame = pd.read_csv(text, nrows=1, **self._how())
            with self._refusals(), self._open() as (text, _):
                # Of two columns of one name pandas calls the second otherwise.
                names = pd.read_csv(text, header=None, nrows=1, **self._how()).iloc[0].tolist()
            if len(frame) and not isinstance(frame.index, pd.RangeIndex):  # pandas takes the first for names of rows
                msg = f"{self.path}: the rows have more columns than the header, {', '.join(frame)}; correct the file."
                raise DataError(msg)
        if not len(frame):
            msg = f"{self.path} has no row with a history; check the file."
            raise DataError(msg)
        return names, nested

    def _text(self) -> Iterator[tuple[pd.DataFrame, int]]:
        before = 0
        with self._refusals(), self._open() as (text, file):
            for frame in pd.read_csv(text, chunksize=self._at_once, **self._how()):
                yield frame, file.tell() - before
                before = file.tell()

    def _parquet(self) -> Iterator[tuple[pd.DataFrame, int]]:
        wanted = [name for name in (self._user, self._item, self._time) if name is not None]
        before = 0
        with self._refusals():
            for batch in pyarrow().parquet.ParquetFile(self.path).iter_batches(self._at_once, columns=wanted):
                frame = _plain(batch)
                for name in wanted:
                    frame[name] = text_of_bytes(frame[name], str(self.path), before)
                yield frame, batch.num_rows
                before += batch.num_rows

    @contextmanager
    def _open(self) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
        """Yield the text of the file, and the file itself, whose position says how much has been read."""
        with self.path.open("rb") as file:
            if self.path.suffix != ".gz":
                yield file, file
                return
            with gzip.open(file) as plain:
                yield bounded(plain, str(self.path), self.path.stat().st_size), file

    def _find_separator(self, own: str | None) -> str:
        """Return what separates the columns: as in the source of the run if the header has that, else by the ending."""
        usual = SEPARATORS.get(self._ending, "")
        if own is None or not usual:
            return usual
        with self._refusals(), self._open() as (text, _):
            head = text.readline(_LONGEST_HEADER).decode(errors="replace")
        return own if head.count(own) >= max(1, head.count(usual)) else usual

    def _how(self) -> dict[str, Any]:
        """Return how pandas reads the text: as the preparation of data does."""
        single = len(self._separator) == 1
        quoting = csv.QUOTE_MINIMAL if self._ending == ".csv" and single else csv.QUOTE_NONE
        engine = "c" if single else "python"
        return {"sep": self._separator, "dtype": str, "keep_default_na": False, "quoting": quoting, "engine": engine}

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        try:
            yield
        except DataError:
            raise
        except Exception as error:
            foreign = type(error).__module__.startswith(("pandas", "pyarrow"))
            if not foreign and not isinstance(error, (OSError, ValueError, ArithmeticError, MemoryError, *_DAMAGE)):
                raise
            msg = f"{self.path} cannot be read: {error}"
            raise DataError(msg) from error


def _plain(batch: Any) -> pd.DataFrame:
    """Return rows as they stand, also whole numbers beside a missing one; what is said about pandas is left aside."""
    return batch.replace_schema_metadata(None).to_pandas(integer_object_nulls=True)


def _split(cell: Any) -> list[Any]:
    """Return the items of a history: those of a list or of a text, or the only one of a Parquet column of numbers."""
    if isinstance(cell, str):
        return [name.strip("'\"") for name in _BETWEEN_ITEMS.split(cell.strip("[]() ")) if name]
    if isinstance(cell, MANY):
        return list(cell)
    return [] if pd.isna(cell) else [cell]
