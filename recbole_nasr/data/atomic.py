"""Checks and writes RecBole's atomic files; bad input gives one clear line."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recbole_nasr.data.lines import finite_number, first_bad_line, number
from recbole_nasr.data.table import Column
from recbole_nasr.errors import DataError, did_you_mean

_TYPES = ("token", "token_seq", "float", "float_seq")
_BYTE_ORDER_MARK = "\ufeff"
_BLOCK_ROWS = 500_000
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"%\x85\u2028\u2029]')
_MISSING = frozenset(
    [
        "#N/A",
        "#N/A N/A",
        "#NA",
        "-1.#IND",
        "-1.#QNAN",
        "-NaN",
        "-nan",
        "1.#IND",
        "1.#QNAN",
        "<NA>",
        "N/A",
        "NA",
        "NULL",
        "NaN",
        "None",
        "n/a",
        "nan",
        "null",
    ]
)


def check_interaction_file(
    path: Path,
    *,
    separator: str = "\t",
    fields: Sequence[str | None] = (),
    numbers: Sequence[str] = (),
    encoding: str | None = None,
) -> None:
    """Check that ``path`` is an ``.inter`` file with a typed header, the named fields and at least one row.

    Only the header and the first row are read.

    Args:
        path: The file.
        separator: Column separator.
        fields: Fields that must be in the header.
        numbers: Those that must not be tokens, which RecBole numbers in order of appearance, whatever they say; the
            others must be, for RecBole looks up nothing else.
        encoding: Text encoding; UTF-8 without it.

    Raises:
        DataError: If a rule is broken; the message names the file and the line.
    """
    if not path.is_file():
        msg = f"Interactions are read from {path}, which does not exist; check --dataset and data_path."
        raise DataError(msg)
    try:
        with path.open(encoding=encoding or "utf-8") as file:
            head = file.readline().rstrip("\r\n")
            filled = ((place, text) for place, text in enumerate(file, start=2) if text.strip("\r\n "))
            line, first = next(filled, (2, ""))
    except (OSError, UnicodeError, LookupError) as error:
        msg = f"{path} must be a readable text file, but: {error}; check the file and the key encoding."
        raise DataError(msg) from error
    _check_header(path, head, separator, fields, numbers)
    if not first:
        msg = f"{path}: at least one interaction is needed after the header, there is none; check the file."
        raise DataError(msg)
    columns, values = head.count(separator) + 1, first.rstrip("\r\n").count(separator) + 1
    if columns != values:
        msg = (
            f"{path}, line {line}: {columns} columns are expected, as in the header, {values} found; "
            "check field_separator."
        )
        raise DataError(msg)


def first_bad_row(
    path: Path,
    *,
    separator: str = "\t",
    encoding: str | None = None,
    finite: Sequence[str] = (),
    errors: str = "strict",
) -> str:
    """Describe the first row of an atomic file that does not fit its header; empty if every row fits.

    Args:
        path: A file that passed `check_interaction_file`.
        separator: Column separator.
        encoding: Text encoding; UTF-8 without it.
        finite: Fields whose values may not be missing, nan or inf.
        errors: How bytes that cannot be decoded are handled, as for `open`.

    Raises:
        UnicodeDecodeError: If the file cannot be decoded.
    """
    with path.open(encoding=encoding or "utf-8", errors=errors) as file:
        header = file.readline().rstrip("\r\n").split(separator)
        numbers = {place: column for place, column in enumerate(header) if column.endswith(":float")}
        checks = {
            place: finite_number if column.partition(":")[0] in finite else number for place, column in numbers.items()
        }
        if len(separator) == 1:  # RecBole's parser knows no quotes beside a longer one
            checks.update({place: _closed for place in range(len(header)) if place not in numbers})
        return first_bad_line(file, header, separator, checks, start=2, quoted=False)


def safe_names(names: Column) -> Column:
    """Write names so that every reader of an atomic file returns them unchanged.

    Characters that end a cell, quotes and ``%`` become ``%`` and two digits, as in a URL; so does the first letter of
    what pandas takes for a missing value, such as ``NA``.
    """
    return np.array([_safe_name(name) for name in names], dtype=object)


def write_atomic(path: Path, header: Sequence[str], columns: Sequence[tuple[Column, Column]]) -> None:
    """Write an atomic file.

    Args:
        path: The file.
        header: ``name:type`` of every column.
        columns: For every column its distinct values, as text, and the ``(T,)`` index of the value of every row.
    """
    ends = ["\t"] * (len(columns) - 1) + ["\n"]
    values = [texts.astype(object) + end for (texts, _), end in zip(columns, ends, strict=True)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(header) + "\n")
        for start in range(0, len(columns[0][1]), _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            cells = [value[codes[block]] for value, (_, codes) in zip(values, columns, strict=True)]
            file.write("".join(functools.reduce(operator.add, cells)))


def _safe_name(name: str) -> str:
    if not name:
        return "%"
    if name in _MISSING:
        return f"%{ord(name[0]):02X}{name[1:]}"
    return _UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", name)


def _closed(text: str) -> str:
    """Accept a name with which RecBole's parser does not go on behind the cell, up to the next quotation mark."""
    if text[:1] != '"' or (len(text) > 1 and text[-1] == '"' and '"' not in text[1:-1].replace('""', "")):
        return ""
    return f"begins with a quotation mark, so it must end with one and double those inside, but is {text[:40]!r}"


def _check_header(path: Path, head: str, separator: str, fields: Sequence[str | None], numbers: Sequence[str]) -> None:
    if head.startswith(_BYTE_ORDER_MARK):
        msg = (
            f"{path}, line 1: it must begin with the name of a column, but begins with a byte order mark; "
            "set encoding=utf-8-sig."
        )
        raise DataError(msg)
    names = []
    for column in head.split(separator):
        name, colon, ftype = column.partition(":")
        if not colon or ftype not in _TYPES:
            msg = (
                f"{path}, line 1: every column is written name:type with a type of {', '.join(_TYPES)}, "
                f"but one is {column[:40]!r}; correct the header or field_separator."
            )
            raise DataError(msg)
        if name in numbers and ftype.startswith("token"):
            msg = f"{path}, line 1: {name!r} must be a number, {name}:float, but is a {ftype}; correct the header."
            raise DataError(msg)
        if name in fields and name not in numbers and ftype != "token":
            msg = f"{path}, line 1: {name!r} must be a name, {name}:token, but is a {ftype}; correct the header."
            raise DataError(msg)
        names.append(name)
    for field in fields:
        if field not in names:
            msg = (
                f"{path}, line 1: the column {field!r} is needed, it has {', '.join(names)}; "
                f"add it or name the right one.{did_you_mean(str(field), names)}"
            )
            raise DataError(msg)
