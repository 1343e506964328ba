"""Converts the titles of MovieLens from the file of movies in every release to RecBole's atomic file of items."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_nasr.data.archives import ENDINGS, open_member
from recbole_nasr.data.table import Column
from recbole_nasr.errors import DataError

TITLE_FIELD = "movie_title"
"""Name of the field in the ``.item`` file."""


@dataclass(frozen=True)
class _Movies:
    """A file whose lines begin with the movie's id and its title."""

    separator: str
    header: bool
    quoted: bool


_FILES = {
    "movies.csv": _Movies(",", header=True, quoted=True),
    "movies.dat": _Movies("::", header=False, quoted=False),
    "u.item": _Movies("|", header=False, quoted=False),
}


def movie_titles(source: Path) -> dict[str, str]:
    """Return the titles of the movies in the release with the ratings ``source``, by original id.

    Args:
        source: The file of ratings, with the file of movies beside it, or an archive with both.

    Returns:
        Titles; empty if there is no file of movies or it cannot be read: missing titles are no error.
    """
    places = [source] if source.name.endswith(ENDINGS) else [source.with_name(name) for name in _FILES]
    return next(filter(None, map(_titles_in, places)), {})


def write_titles(path: Path, titles: dict[str, str], items: Column) -> None:
    """Write RecBole's ``.item`` file: the title of every item that has one.

    Args:
        path: The file.
        titles: By original id.
        items: ``(N,)`` original ids; those of MovieLens are numbers, which need no escaping in atomic files.
    """
    rows = [f"{item}\t{_plain(titles[item])}" for item in items if item in titles]
    header = f"item_id:token\t{TITLE_FIELD}:token_seq"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def _titles_in(place: Path) -> dict[str, str]:
    try:
        with open_member(place, tuple(_FILES)) as (name, file):
            return dict(_rows(_FILES[name], file.read()))
    except (DataError, OSError, KeyError, csv.Error):
        return {}


def _rows(how: _Movies, content: bytes) -> Iterator[tuple[str, str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # MovieLens 100K and 1M
        text = content.decode("latin-1")
    lines = io.StringIO(text, newline="")
    fields = csv.reader(lines) if how.quoted else (line.rstrip("\r\n").split(how.separator) for line in lines)
    if how.header:
        next(fields, None)
    for row in fields:
        if len(row) > 1:
            yield row[0], row[1]


def _plain(title: str) -> str:
    return " ".join(title.split())  # a tab or a line end would be the end of the field
