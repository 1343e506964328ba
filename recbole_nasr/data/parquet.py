"""Reads raw interactions from a Parquet file; needs pyarrow, the extra ``parquet``."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_nasr.data import times
from recbole_nasr.data.layouts import choose_columns
from recbole_nasr.data.table import Column, Interactions
from recbole_nasr.errors import DataError
from recbole_nasr.unpacking import ALWAYS, MOST_TIMES

_ROW_BYTES = 24


def read_parquet(path: Path, chosen: Mapping[str, str | None], time_unit: str) -> tuple[Interactions, str]:
    """Read the interactions of a Parquet file, in its order.

    Args:
        path: The file.
        chosen: Column names given by the user, as for `choose_columns`.
        time_unit: Unit of numeric times, as for `from_numbers`.

    Returns:
        The interactions, and the unit of the times in the file.

    Raises:
        DataError: If it cannot be read, or a row has no user, item or time, or a name that is not UTF-8.
    """
    try:
        import pyarrow.parquet
    except ImportError as error:
        msg = f"{path}: Parquet is read with pyarrow, which is missing; pip install pyarrow."
        raise DataError(msg) from error
    try:
        facts = pyarrow.parquet.read_metadata(path)
        _check_size(path, facts.num_rows)
        schema = facts.schema.to_arrow_schema()
        columns = schema.names
        places = choose_columns(str(path), columns, chosen)
        for place in places.values():
            if pyarrow.types.is_nested(schema.field(place).type):
                msg = (
                    f"{path}: {columns[place]} must hold one value in each row, but holds {schema.field(place).type}; "
                    "write a row for each interaction."
                )
                raise DataError(msg)
        table = pyarrow.parquet.read_table(path, columns=[columns[place] for place in places.values()])
        frame = table.replace_schema_metadata(None).to_pandas()  # what a file says about pandas is left aside
    except (OSError, ValueError, ArithmeticError, MemoryError, LookupError, pyarrow.ArrowException) as error:
        if isinstance(error, DataError):
            raise
        msg = f"{path} must be a Parquet file, but: {error}; check --source."
        raise DataError(msg) from error
    user, item, time = (text_of_bytes(frame[columns[place]], str(path)) for place in places.values())
    for column in (user, item, time):
        missing = column.isna() | (column == "")
        if len(column) == 0 or missing.any():
            found = "there is none" if len(column) == 0 else f"row {int(missing.argmax()) + 1} has no {column.name}"
            msg = f"{path}: rows with user, item and time are needed, but {found}; correct the file."
            raise DataError(msg)
    seconds, unit = _seconds(path, time, time_unit)
    (users, user_names), (items, item_names) = (_factorize(column) for column in (user, item))
    return Interactions(users, items, seconds, user_names, item_names), unit


def text_of_bytes(column: pd.Series, where: str, before: int = 0) -> pd.Series:
    """Return a column of bytes, as some programs write text, as the text; any other column as it is.

    Args:
        column: Values as pyarrow gives them.
        where: The file, as error messages call it.
        before: Rows of the file before these.

    Raises:
        DataError: If bytes are not UTF-8.
    """
    if not _holds(column, bytes):
        return column
    codes, values = pd.factorize(column)
    try:
        names = [value.decode() for value in values]
    except UnicodeDecodeError as error:
        row = before + int((column == error.object).to_numpy().argmax()) + 1
        msg = f"{where}, row {row}: {column.name} must be UTF-8 text, but is {error.object!r:.40}; write names as text."
        raise DataError(msg) from error
    return pd.Series(np.array([*names, None], dtype=object)[codes], column.index, name=column.name)  # -1: missing


def _holds(column: pd.Series, kind: type) -> bool:
    """Return whether the values of a column, which are of one kind, are of this one."""
    first = column.first_valid_index()
    return first is not None and isinstance(column[first], kind)


def _check_size(path: Path, n_rows: int) -> None:
    """Refuse a file with far more rows than its size suggests: compressed, equal rows take almost no space."""
    packed = path.stat().st_size
    if n_rows * _ROW_BYTES > max(ALWAYS, MOST_TIMES * packed):
        msg = f"{path} has {n_rows:,} rows in {packed:,} bytes; if that is right, write them as CSV."
        raise DataError(msg)


def _factorize(column: pd.Series) -> tuple[Column, Column]:
    codes, names = pd.factorize(column)
    return codes.astype(np.int32), np.array([str(name) for name in names], dtype=object)


def _seconds(path: Path, time: pd.Series, time_unit: str) -> tuple[Column, str]:
    numeric = pd.api.types.is_numeric_dtype(time) or _holds(time, Decimal)
    values = time.to_numpy(np.float64) if numeric else times.from_iso(time)
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        bad = str(time.iloc[row])[:40]
        msg = f"{path}, row {row + 1}: {time.name} needs a number or an ISO time, but is {bad!r}; correct the file."
        raise DataError(msg)
    return times.from_numbers(values, time_unit) if numeric else (values, "ISO")
