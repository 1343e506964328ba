"""Recommendations into a file of any length, a piece at a time."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pandas as pd

from recbole_nasr.data.locking import not_at_once
from recbole_nasr.documents import partial_name, remove_partial
from recbole_nasr.errors import ConfigError

_NO_PYARROW = "Parquet needs pyarrow; pip install pyarrow, or use .csv."


class Table(Protocol):
    """A table that is written a piece at a time."""

    def add(self, frame: pd.DataFrame) -> None:
        """Append rows; the first call says the columns."""


class _Csv:
    def __init__(self, path: Path) -> None:
        self._path, self._started = path, False

    def add(self, frame: pd.DataFrame) -> None:
        texts = (frame[name].astype(str) for name in frame if not pd.api.types.is_numeric_dtype(frame[name]))
        # A lone carriage return, which would end a row, is none of what pandas puts in quotes by itself.
        returns = any(column.str.contains("\r", regex=False).any() for column in texts)
        quoting = csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL
        frame.to_csv(self._path, mode="a", header=not self._started, index=False, quoting=quoting)
        self._started = True


class _Parquet:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None
        self._empty: pd.DataFrame | None = None

    def add(self, frame: pd.DataFrame) -> None:
        if len(frame):
            self._write(frame)
        else:  # it says nothing about the types of the columns
            self._empty = frame

    def _write(self, frame: pd.DataFrame) -> None:
        arrow = pyarrow()
        table = arrow.Table.from_pandas(frame, preserve_index=False, schema=self._writer and self._writer.schema)
        if self._writer is None:
            self._writer = arrow.parquet.ParquetWriter(self._path, table.schema)
        self._writer.write_table(table)

    def close(self) -> None:
        if self._writer is None and self._empty is not None:
            self._write(self._empty)
        if self._writer is not None:
            self._writer.close()


@contextmanager
def open_table(path: Path) -> Iterator[Table]:
    """Write ``.csv`` or ``.parquet`` in pieces; the file appears when all are written, an earlier one is replaced.

    Raises:
        ConfigError: If it has another ending, cannot be written, another process writes it, or pyarrow is missing.
    """
    check_output(path)
    with not_at_once(path):
        remove_partial(path)
        partial = partial_name(path)
        table = _Csv(partial) if path.suffix == ".csv" else _Parquet(partial)
        try:
            try:
                yield table
            finally:
                if isinstance(table, _Parquet):
                    table.close()
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def check_output(path: Path) -> None:
    """Refuse what cannot be written, before any work.

    Raises:
        ConfigError: If the ending is another, the folder is missing, or pyarrow is.
    """
    if path.suffix not in (".csv", ".parquet"):
        msg = f"Recommendations are written to .csv or .parquet, but the output is {str(path)!r}; name one of them."
        raise ConfigError(msg)
    if not path.parent.is_dir():
        msg = f"There is no folder {str(path.parent)!r} for the output; make it first."
        raise ConfigError(msg)
    if path.suffix == ".parquet":
        pyarrow()


def pyarrow() -> Any:
    """Return the module, which is an optional dependency.

    Raises:
        ConfigError: If it is missing.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigError(_NO_PYARROW) from error
    return pyarrow
