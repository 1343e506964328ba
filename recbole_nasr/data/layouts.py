"""The columns of a raw file: published layouts without a header, and files whose header names the columns."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from recbole_nasr.data.lines import is_date, number
from recbole_nasr.errors import DataError, did_you_mean
from recbole_nasr.progress import plural

KNOWN_NAMES = {
    "user": (
        "user_id",
        "user",
        "uid",
        "user_name",
        "customer_id",
        "visitor_id",
        "reviewer_id",
        "session_id",
        "session",
    ),
    "item": ("item_id", "item", "iid", "movie_id", "track_id", "song_id", "product_id", "article_id", "asin", "sku"),
    "time": (
        "timestamp",
        "time",
        "ts",
        "unix_time",
        "unix_review_time",
        "event_time",
        "date_time",
        "date",
        "created_at",
    ),
}
"""Names by which a column is recognised, the most certain first; case, spaces, dashes and underscores do not count."""

LASTFM_FILE = "userid-timestamp-artid-artname-traid-traname.tsv"
"""The listening events of Last.FM 1K."""

SEPARATORS = {".csv": ",", ".tsv": "\t", ".inter": "\t"}
"""Separator of the columns, by the ending of the file's name."""

TYPED_TAB = "\\t"
"""What a shell passes for a tab between columns."""


@dataclass(frozen=True)
class Layout:
    """Which columns of a file are user, item and time, and how its lines are parsed.

    Attributes:
        columns: Names of all columns.
        separator: Text between two columns.
        user: Index of the user's column, from 0.
        item: Index of the item's column.
        time: Index of the time's column.
        header: Whether the first line names the columns.
        quoted: Whether a value may stand in double quotes.
        iso: Whether times are ISO dates instead of numbers.
        item_name: Indices of the columns with artist and track name, for data in which an item may lack an id.
    """

    columns: tuple[str, ...]
    separator: str
    user: int
    item: int
    time: int
    header: bool = False
    quoted: bool = False
    iso: bool = False
    item_name: tuple[int, int] | None = None


PUBLISHED = {
    "u.data": Layout(("user", "item", "rating", "timestamp"), "\t", 0, 1, 3),
    "ratings.dat": Layout(("UserID", "MovieID", "Rating", "Timestamp"), "::", 0, 1, 3),
    LASTFM_FILE: Layout(
        ("userid", "timestamp", "artid", "artname", "traid", "traname"), "\t", 0, 4, 1, iso=True, item_name=(3, 5)
    ),
}
"""Layouts of files without a header, by the names their publishers gave them."""


def layout_of(where: str, name: str, lines: list[str], chosen: Mapping[str, str | None]) -> Layout:
    """Return the layout of a text file.

    Args:
        where: The file, as error messages call it.
        name: Name of the file, whose ending implies the separator.
        lines: Its first lines; a quoted value may go on over several.
        chosen: Column names given by the user for ``user``, ``item`` and ``time``, and the ``separator``; None for
            each that is to be recognised.

    Raises:
        DataError: If a column is missing, the separator does not fit, or there is no interaction.
    """
    known = next((layout for ending, layout in PUBLISHED.items() if name.endswith(ending)), None)
    layout = known or _from_header(where, name, lines[:1], chosen)
    rows = [line for line in lines[int(layout.header) :] if line.strip()]
    if not rows:
        msg = f"{where}: at least one interaction is needed, there is none; check the file."
        raise DataError(msg)
    found = rows[0].count(layout.separator) + 1
    if known and found != len(layout.columns):
        expected = layout.separator.join(layout.columns)
        many = f"{found} {plural(found, 'column')}"
        msg = f"{where}, line 1: expected {expected.expandtabs(2)!r}, found {many}; check the separator."
        raise DataError(msg)
    return _by_first_row(where, layout, rows, 1 + lines.index(rows[0], 1)) if layout.header else layout


def _by_first_row(where: str, layout: Layout, rows: list[str], line: int) -> Layout:
    """Return the layout of a file with a header, completed by what its first row, in ``line``, shows."""
    cells = next(csv.reader(rows, delimiter=layout.separator)) if layout.quoted else rows[0].split(layout.separator)
    if len(cells) > len(layout.columns):  # pandas would take the first column for the names of the rows
        found = f"{len(layout.columns)} columns are expected, {len(cells)} found"
        msg = f"{where}, line {line}: {found}; expected {', '.join(layout.columns)}. Correct the file."
        raise DataError(msg)
    time = cells[layout.time] if layout.time < len(cells) else ""
    if number(time) and not is_date(time):
        needs = f"{layout.columns[layout.time]} needs a number or a time such as 2009-05-04T23:08:57Z"
        msg = f"{where}, line {line}: {needs}, but is {time[:40]!r}; correct the file."
        raise DataError(msg)
    return replace(layout, iso=bool(number(time)))


def choose_columns(where: str, columns: list[str], chosen: Mapping[str, str | None]) -> dict[str, int]:
    """Return the indices of the columns of user, item and time.

    Raises:
        DataError: If there is no column of a given name, or several, or a column cannot be recognised.
    """
    plain = [column.partition(":")[0] for column in columns]
    places = {}
    for role, names in KNOWN_NAMES.items():
        name = chosen.get(role)
        if name is not None and name not in plain:
            msg = f"{where}, line 1: {role}_column={name!r} is not a column, there are {', '.join(plain)}; correct it."
            raise DataError(msg + did_you_mean(name, plain))
        places[role] = plain.index(name) if name is not None else _recognise(plain, names)
        if places[role] < 0:
            msg = (
                f"{where}, line 1: a column with the {role} is needed ({', '.join(names[:4])}, ...), there are "
                f"{', '.join(plain)}; name it with --{role}_column=NAME."
            )
            raise DataError(msg)
        if plain.count(plain[places[role]]) > 1:
            msg = (
                f"{where}, line 1: several columns are called {plain[places[role]]!r}, and one is needed; rename them."
            )
            raise DataError(msg)
        if same := next((other for other in places if other != role and places[other] == places[role]), None):
            msg = f"{where}, line 1: {role}_column and {same}_column are both {plain[places[role]]!r}; name another."
            raise DataError(msg)
    return places


def _recognise(columns: list[str], names: tuple[str, ...]) -> int:
    bare = [bare_name(column) for column in columns]
    return next((bare.index(bare_name(name)) for name in names if bare_name(name) in bare), -1)


def bare_name(name: str) -> str:
    """Return what the name of a column is recognised by: its letters, in lower case, and digits."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _from_header(where: str, name: str, lines: list[str], chosen: Mapping[str, str | None]) -> Layout:
    ending = next((ending for ending in SEPARATORS if name.endswith(ending)), None)
    separator = chosen.get("separator") or SEPARATORS.get(ending or "")
    if separator is None:
        known = [*SEPARATORS, ".parquet", *PUBLISHED]
        msg = f"{where}: a source is one of {', '.join(known)}, also in .gz, .zip or .tar.gz; rename or convert it."
        raise DataError(msg)
    if not lines or not lines[0].strip():
        msg = f"{where}, line 1: a header with the names of the columns is needed, the line is empty; check the file."
        raise DataError(msg)
    head, quoted = lines[0].lstrip("\ufeff"), ending == ".csv" and len(separator) == 1
    columns = next(csv.reader([head], delimiter=separator)) if quoted else head.split(separator)
    other = next((other for other in (",", "\t", ";", "|") if head.count(other) > 1), None)
    if len(columns) < len(KNOWN_NAMES) and other:
        msg = (
            f"{where}, line 1: columns separated by {separator!r} are expected, but they seem to be separated by "
            f"{other!r}; set source_separator={other!r}."
        )
        raise DataError(msg)
    places = choose_columns(where, columns, chosen)
    return Layout(tuple(columns), separator, places["user"], places["item"], places["time"], header=True, quoted=quoted)
