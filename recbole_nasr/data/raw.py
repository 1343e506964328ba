"""Reads raw interactions as codes, block by block, so that each name is held once instead of once per row."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from recbole_nasr.data import lines, times
from recbole_nasr.data.archives import open_member
from recbole_nasr.data.layouts import Layout, layout_of
from recbole_nasr.data.parquet import read_parquet
from recbole_nasr.data.table import Column, Interactions, Names
from recbole_nasr.errors import DataError

_BLOCK_ROWS = 1_000_000
_FIRST_LINES = 200  # the first row may follow empty lines, and a quoted text in it may go on over many
_PRIVATE = 0xF700  # characters that no standard assigns stand for bytes that are not UTF-8, until they are counted
_UNDECODED = re.compile(f"[{chr(_PRIVATE + 0x80)}-{chr(_PRIVATE + 0xFF)}]")


def _as_private(error: UnicodeError) -> tuple[str, int]:
    """Map undecodable bytes to private-use characters; pandas' tables cannot hold those of ``surrogateescape``."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(_PRIVATE + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error("recbole_nasr.private", _as_private)


@dataclass(frozen=True)
class Reading:
    """How to read a source.

    Attributes:
        chosen: Names of the columns and the separator, as for `layout_of`.
        time_unit: ``s``, ``ms``, ``us``, ``ns``, or ``auto`` to infer it from the magnitude.
        item: What identifies an item if the layout has names beside ids: ``id_or_name``, ``id`` or ``name``.
        max_undecodable_rows: How many rows with bytes that are not UTF-8 are accepted.
    """

    chosen: Mapping[str, str | None]
    time_unit: str
    item: str
    max_undecodable_rows: int


@dataclass(frozen=True)
class Raw:
    """The interactions read from a source.

    Attributes:
        table: The interactions.
        time_unit: Unit of the times in the file, or ``ISO``.
        without_item: Number of rows left out because they name no item.
        undecodable: Number of rows with bytes that are not UTF-8; such a byte is kept as its hexadecimal escape.
    """

    table: Interactions
    time_unit: str
    without_item: int
    undecodable: int


class _BadRowError(Exception):
    """A row that does not fit; the file is then read again line by line to find it."""


def read_raw(path: Path, wanted: Sequence[str], how: Reading) -> Raw:
    """Read the interactions of a file, in its order.

    Args:
        path: A text file or ``.parquet``, as it is, compressed or in an archive.
        wanted: Names of the file inside an archive, as for `open_member`.
        how: Columns and units.

    Raises:
        DataError: If it cannot be read; the message names the file, the line and what was expected.
    """
    try:
        return _read(path, wanted, how)
    except csv.Error as error:  # also the search for the first bad line reads CSV
        msg = f"{path} must be CSV, but: {error}; correct the file."
        raise DataError(msg) from error


def _read(path: Path, wanted: Sequence[str], how: Reading) -> Raw:
    if path.name.endswith(".parquet"):
        return Raw(*read_parquet(path, how.chosen, how.time_unit), without_item=0, undecodable=0)
    with open_member(path, wanted) as (name, file):
        where = str(path) if name == path.name else f"{path} ({name})"
        layout = layout_of(where, name, _first_lines(file), how.chosen)
    with open_member(path, wanted) as (_, file):
        try:
            return _Blocks(layout, how).read(where, file)
        except (_BadRowError, pd.errors.ParserError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            reason = str(error)
    with open_member(path, wanted) as (_, file):
        bad = _first_bad_line(file, layout)
    msg = f"{where}, {bad or reason}; expected {', '.join(layout.columns)}. Correct the file."
    raise DataError(msg)


def _first_lines(file: IO[bytes]) -> list[str]:
    return [line.decode("utf-8", "surrogateescape").rstrip("\r\n") for line in islice(file, _FIRST_LINES)]


def _first_bad_line(file: IO[bytes], layout: Layout) -> str:
    time = lines.iso_time if layout.iso else lines.finite_number
    checks = {layout.user: lines.filled, layout.time: time}
    if layout.item_name is None:
        checks[layout.item] = lines.filled
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape")
    rest = islice(text, int(layout.header), None)
    start = 1 + int(layout.header)
    return lines.first_bad_line(rest, list(layout.columns), layout.separator, checks, start=start, quoted=layout.quoted)


class _Blocks:
    """Reads the blocks of one file and joins them."""

    def __init__(self, layout: Layout, how: Reading) -> None:
        self._layout, self._how = layout, how
        self._users, self._items = Names(), Names()
        self._undecodable = self._without_item = 0

    def read(self, where: str, file: IO[bytes]) -> Raw:
        blocks = [self._block(where, block) for block in self._parse(file)]
        if not blocks:
            msg = f"{where}: at least one interaction is needed, there is none; check the file."
            raise DataError(msg)
        user, item, time = (np.concatenate(column) for column in zip(*blocks, strict=True))
        unit = "ISO"
        if not self._layout.iso:
            time, unit = times.from_numbers(time, self._how.time_unit)
        names = _text(self._users.as_array()), _text(self._items.as_array())
        return Raw(Interactions(user, item, time, *names), unit, self._without_item, self._undecodable)

    def _parse(self, file: IO[bytes]) -> Any:
        """Return the blocks as data frames with the columns of the layout, by index.

        All columns are read: with a selection, pandas would accept a line with too many columns.
        """
        layout = self._layout
        wide = 2 if layout.separator == "::" else 1  # read as ":" with an empty column after every other
        types: dict[int, Any] = dict.fromkeys(range(len(layout.columns) * wide + 1 - wide), "category")
        types[layout.time * wide] = str if layout.iso else np.float64
        blocks = pd.read_csv(
            file,
            sep=layout.separator[0],
            header=None,
            skiprows=int(layout.header),
            names=list(types),
            dtype=types,
            index_col=None,
            quoting=csv.QUOTE_MINIMAL if layout.quoted else csv.QUOTE_NONE,
            keep_default_na=False,  # "NA" is a name
            na_values=[""],
            chunksize=_BLOCK_ROWS,
            encoding_errors="recbole_nasr.private",
            low_memory=False,
            engine="c",
        )
        return (block.iloc[:, ::wide].set_axis(range(len(layout.columns)), axis=1) for block in blocks)

    def _block(self, where: str, block: pd.DataFrame) -> tuple[Column, Column, Column]:
        layout = self._layout
        used = [layout.user, layout.item, *(layout.item_name or ())]
        self._count_undecodable(where, [block[column].cat for column in used])
        user = self._users.codes_of(block[layout.user].array)
        time = times.from_iso(block[layout.time]) if layout.iso else block[layout.time].to_numpy()
        item = self._item_codes(block)
        if layout.item_name is not None:
            there = item >= 0
            self._without_item += int((~there).sum())
            user, item, time = user[there], item[there], time[there]
        if (user < 0).any() or (item < 0).any() or not np.isfinite(time).all():
            raise _BadRowError(self._unread_time(block))
        return user, item, time

    def _unread_time(self, block: pd.DataFrame) -> str:
        """Describe a date that Python reads and pandas does not, so that no line is found to be wrong."""
        texts = block[self._layout.time]
        unread = texts[~np.isfinite(times.from_iso(texts))].tolist() if self._layout.iso else []
        name = self._layout.columns[self._layout.time]
        return f"{name} needs a time that pandas reads, but is {str(unread[0])[:40]!r}" if unread else ""

    def _item_codes(self, block: pd.DataFrame) -> Column:
        layout, what = self._layout, self._how.item
        ids = block[layout.item].array
        if layout.item_name is None or what == "id":
            return self._items.codes_of(ids)
        codes = self._items.codes_of(ids) if what == "id_or_name" else np.full(len(block), -1, np.int32)
        artist, track = (block[column].array for column in layout.item_name)
        missing = np.flatnonzero((codes < 0) & (artist.codes >= 0) & (track.codes >= 0))
        n_tracks = len(track.categories)
        pairs, place = np.unique(
            artist.codes[missing].astype(np.int64) * n_tracks + track.codes[missing], return_inverse=True
        )
        names = [f"{artist.categories[pair // n_tracks]} :: {track.categories[pair % n_tracks]}" for pair in pairs]
        codes[missing] = self._items.codes(names)[place]
        return codes

    def _count_undecodable(self, where: str, columns: list[Any]) -> None:
        bad = np.zeros(len(columns[0].codes), bool)
        for column in columns:
            marks = [bool(_UNDECODED.search(name)) for name in column.categories]
            if any(marks):
                bad |= np.append(marks, False)[column.codes.to_numpy()]
        self._undecodable += int(bad.sum())
        if self._undecodable > self._how.max_undecodable_rows:
            msg = (
                f"{where}: at most {self._how.max_undecodable_rows:,} rows may have bytes that are not UTF-8, there "
                f"are {self._undecodable:,} or more; convert the file to UTF-8 or raise max_undecodable_rows."
            )
            raise DataError(msg)


def _text(names: Column) -> Column:
    """Write undecodable bytes as a backslash, an x and two hexadecimal digits."""
    plain = [_UNDECODED.sub(lambda found: f"\\x{ord(found[0]) - _PRIVATE:02x}", name) for name in names]
    return np.array(plain, dtype=object)
