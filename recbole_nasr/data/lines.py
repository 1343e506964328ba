"""Checks a text file line by line, to name the first line that is not as expected."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date

Check = Callable[[str], str]
"""Returns what is wrong with the text of a value; ``""`` if it is valid."""

_ISO_TIME = re.compile(
    r"""
    (?P<year>\d{4})(?P<dash>-?)(?:(?P<month>\d\d)(?P=dash)(?P<day>\d\d)|W(?P<week>\d\d)(?:(?P=dash)(?P<weekday>\d))?)
    (?:\D(?:[01]\d|2[0-3])(?:(?P<colon>:?)[0-5]\d(?:(?P=colon)[0-5]\d)?)?(?:[.,]\d+)?)?
    \s*(?:Z|UTC|[+-](?:[01]\d|2[0-3])(?:(?P<zone_colon>:?)[0-5]\d(?:(?P=zone_colon)[0-5]\d(?:[.,]\d+)?)?)?)?
    """,
    re.VERBOSE | re.ASCII,
)
"""ISO 8601: a date, a time after any one character, and a zone; ``UTC`` may stand for ``Z``."""

_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # of pandas, which counts nanoseconds in 64 bits


def number(text: str) -> str:
    """Accept a number or an empty text."""
    try:
        float(text or "nan")
    except ValueError:
        return f"needs a number, but is {text[:40]!r}"
    return ""


def finite_number(text: str) -> str:
    """Accept a finite number only."""
    return number(text) or ("" if math.isfinite(float(text or "nan")) else f"needs a finite number, but is {text!r}")


def filled(text: str) -> str:
    """Accept any text that is not empty."""
    return "" if text else "is empty, a name is needed"


def iso_time(text: str) -> str:
    """Accept a date and time such as 2009-05-04T23:08:57Z; UTC may stand for Z."""
    year = _year(text)
    if year is None:
        return f"needs a time such as 2009-05-04T23:08:57Z, but is {text[:40]!r}"
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return f"needs a time from {_FIRST_YEAR} to {_LAST_YEAR}, but is {text[:40]!r}"
    return ""


def is_date(text: str) -> bool:
    """Return whether ``text`` is a date and time of any year."""
    return _year(text) is not None


def _year(text: str) -> int | None:
    """Return the year of a date and time; None for any other text.

    ``datetime.fromisoformat`` reads other forms in every version of Python: few of them before 3.11.
    """
    found = _ISO_TIME.fullmatch(text.strip())
    if found is None:
        return None
    year, month, day, week, weekday = (int(found[name] or 1) for name in ("year", "month", "day", "week", "weekday"))
    try:
        return (date.fromisocalendar(year, week, weekday) if found["week"] else date(year, month, day)).year
    except ValueError:  # in no calendar
        return None


def first_bad_line(
    lines: Iterable[str], header: list[str], separator: str, checks: Mapping[int, Check], *, start: int, quoted: bool
) -> str:
    """Describe the first line that does not fit; ``""`` if all fit.

    This is plain Python, at a second or more per million lines: for one look at a file before a training, and for the
    error message after a fast reader has failed.

    Args:
        lines: The lines after the header.
        header: Names of the columns.
        separator: Text between two columns.
        checks: The check of a column's values, by its index.
        start: Number of the first of the lines.
        quoted: Whether a value may stand in double quotes.
    """
    for number_of_line, cells in _rows(lines, separator, start=start, quoted=quoted):
        if len(cells) != len(header):
            return f"line {number_of_line}: {len(header)} columns are expected, {len(cells)} found"
        for column, check in checks.items():
            if wrong := check(cells[column]):
                return f"line {number_of_line}: {header[column]} {wrong}"
    return ""


def _rows(lines: Iterable[str], separator: str, *, start: int, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    if quoted:
        reader = csv.reader(lines, delimiter=separator)
        for cells in reader:
            if cells:
                yield start - 1 + reader.line_num, cells
        return
    for number_of_line, line in enumerate(lines, start=start):
        if line.strip("\r\n "):
            yield number_of_line, line.rstrip("\r\n").split(separator)
