"""A first look at a RecBole atomic file: bad input is one clear line, not a parser's stack trace."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_nasr.errors import DataError, did_you_mean

_TYPES = ("token", "token_seq", "float", "float_seq")


def check_interaction_file(
    path: Path, *, separator: str = "\t", fields: Sequence[str] = (), encoding: str | None = None
) -> None:
    """Check that ``path`` is an ``.inter`` file with a typed header, the named fields and at least one row.

    Only the header and the first row are read.

    Args:
        path: The file.
        separator: Column separator.
        fields: Fields that must be in the header.
        encoding: Text encoding; UTF-8 without it.

    Raises:
        DataError: If a rule is broken; the message names the file and the line.
    """
    if not path.is_file():
        msg = f"Interactions are read from {path}, which does not exist; check --dataset and data_path."
        raise DataError(msg)
    try:
        with path.open(encoding=encoding or "utf-8") as file:
            head, first = file.readline().rstrip("\r\n"), file.readline().rstrip("\r\n")
    except (OSError, UnicodeError, LookupError) as error:
        msg = f"{path} must be a readable text file, but: {error}; check the file and the key encoding."
        raise DataError(msg) from error
    _check_header(path, head, separator, fields)
    if not first:
        msg = f"{path}: at least one interaction is needed after the header, there is none; check the file."
        raise DataError(msg)
    columns, values = head.count(separator) + 1, first.count(separator) + 1
    if columns != values:
        msg = (
            f"{path}, line 2: {columns} columns are expected, as in the header, {values} found; check field_separator."
        )
        raise DataError(msg)


def first_bad_line(path: Path, *, separator: str = "\t", encoding: str | None = None) -> str:
    """Describe the first row of an atomic file that does not fit its header; empty where every row does.

    Reads the whole file in plain Python: for the message after a reader has failed.

    Args:
        path: A file that passed `check_interaction_file`.
        separator: Column separator.
        encoding: Text encoding; UTF-8 without it.
    """
    with path.open(encoding=encoding or "utf-8", errors="backslashreplace") as file:
        columns = file.readline().rstrip("\r\n").split(separator)
        for number, line in enumerate(file, start=2):
            values = line.rstrip("\r\n").split(separator)
            if len(values) != len(columns):
                return f"line {number} has {len(values)} columns, the header {len(columns)}"
            for column, value in zip(columns, values, strict=True):
                if column.endswith(":float") and not _is_number(value):
                    return f"line {number}: {column} is {value[:40]!r}, which is not a number"
    return ""


def _is_number(value: str) -> bool:
    try:
        float(value or "nan")  # a missing value may be left empty
    except ValueError:
        return False
    return True


def _check_header(path: Path, head: str, separator: str, fields: Sequence[str]) -> None:
    names = []
    for column in head.split(separator):
        name, colon, ftype = column.partition(":")
        if not colon or ftype not in _TYPES:
            msg = (
                f"{path}, line 1: every column is written name:type with a type of {', '.join(_TYPES)}, "
                f"but one is {column[:40]!r}; correct the header or field_separator."
            )
            raise DataError(msg)
        names.append(name)
    for field in fields:
        if field not in names:
            msg = (
                f"{path}, line 1: the column {field!r} is needed, it has {', '.join(names)}; "
                f"add it or name the right one.{did_you_mean(field, names)}"
            )
            raise DataError(msg)
