"""Titles of items from RecBole's ``.item`` files: with the data, or beside the file the data were prepared from."""

from __future__ import annotations

import csv
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_nasr.data.archives import ENDINGS
from recbole_nasr.data.layouts import KNOWN_NAMES, SEPARATORS, bare_name
from recbole_nasr.data.sources import PUBLISHED_SETS, given_source, local_release, release_of
from recbole_nasr.errors import NASRError

_LOG = logging.getLogger("recbole_nasr")


def item_titles(config: Any) -> dict[str, str] | None:
    """Return titles by original item id, from the first ``.item`` file that has some.

    Missing titles are no error. A file that lies there for its titles and gives none is told of in one line.

    Args:
        config: A RecBole ``Config``.
    """
    with_data = Path(config["data_path"]) / f"{config['dataset']}.item"
    for path in (with_data, *_beside_source(config)):
        if not path.is_file():
            continue
        try:
            columns = _header(path, config)
            places = _places(columns, config)
            if places is not None:
                return _read(path, places, config)
        except (OSError, ValueError) as error:
            _LOG.warning("%s gives no titles, for it cannot be read: %s", path, str(error).partition("\n")[0])
            continue
        # With the data, such a file may be one of RecBole's features.
        if path != with_data or _item_place(columns, config) is None:
            _LOG.warning("%s gives no titles: %s.", path, _needed(columns, config))
    return None


def _beside_source(config: Any) -> Iterator[Path]:
    """Yield the places beside the source where titles may be."""
    name = config["dataset"]
    try:
        if config["source"] is not None:
            source: Path | None = given_source(Path(str(config["source"])).expanduser(), name)
        elif name in PUBLISHED_SETS and config["ml_release"]:
            source = local_release(release_of(name, config["ml_release"]), Path(config["data_path"]).parent)
        else:
            return
    except NASRError:  # the source has been moved away
        return
    if source is not None:
        yield from dict.fromkeys([source.with_name(f"{_stem(source.name)}.item"), source.with_suffix(".item")])


def _stem(name: str) -> str:
    """Return a file's name without the endings of what it is packed in and of its kind.

    Example:
        >>> _stem("events.csv.gz"), _stem("events.tar.gz"), _stem("events.parquet"), _stem("ratings.dat")
        ('events', 'events', 'events', 'ratings')
    """
    packed = next((ending for ending in (*ENDINGS, ".gz") if name.endswith(ending)), "")
    plain = name.removesuffix(packed)
    kinds = (*SEPARATORS, ".parquet") if packed else (Path(plain).suffix,)
    return next((plain.removesuffix(kind) for kind in kinds if kind and plain.endswith(kind)), plain)


def _encoding(config: Any) -> str:
    return config["encoding"] or "utf-8"


def _header(path: Path, config: Any) -> list[str]:
    with path.open(encoding=_encoding(config)) as file:
        columns = file.readline().lstrip("\ufeff").rstrip("\r\n").split(config["field_separator"])
    return [column.partition(":")[0] for column in columns]


def _item_place(columns: list[str], config: Any) -> int | None:
    """Return the index of the column with the ids: RecBole's field, or a first one that is called as in the source."""
    if config["ITEM_ID_FIELD"] in columns:
        return columns.index(config["ITEM_ID_FIELD"])
    known = columns[0] == config["item_column"] or bare_name(columns[0]) in map(bare_name, KNOWN_NAMES["item"])
    return 0 if known else None


def _places(columns: list[str], config: Any) -> tuple[int, int] | None:
    """Return the indices of the columns with ids and titles, None unless there are both."""
    item = _item_place(columns, config)
    others = [(place, name) for place, name in enumerate(columns) if place != item]
    title = next((place for ending in ("title", "name") for place, name in others if name.endswith(ending)), None)
    return None if item is None or title is None else (item, title)


def _needed(columns: list[str], config: Any) -> str:
    names = dict.fromkeys(name for name in (config["ITEM_ID_FIELD"], config["item_column"]) if name)
    tab = config["field_separator"] == "\t"
    return (
        f"it needs columns separated by {'tabs' if tab else repr(config['field_separator'])}, one called "
        f"{' or '.join(names)} and one whose name ends in title or name, but its first line has {', '.join(columns)}"
    )


def _read(path: Path, places: tuple[int, int], config: Any) -> dict[str, str]:
    table = pd.read_csv(
        path,
        sep=config["field_separator"],
        usecols=list(places),
        header=None,
        skiprows=1,
        dtype=str,
        keep_default_na=False,
        quoting=csv.QUOTE_NONE,
        encoding=_encoding(config),
    )
    item, title = places
    return dict(zip(table[item], table[title], strict=True))
