from __future__ import annotations

import gzip
import logging
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_nasr.data.item_files import item_titles
from recbole_nasr.data.prepare import ensure_prepared
from recbole_nasr.data.titles import movie_titles, write_titles
from recbole_nasr.data.vocabulary import _titles

FILES = {
    "movies.csv": 'movieId,title,genres\n1,"American President, The (1995)",Drama\n2,Léon (1994),Crime\n'.encode(),
    "movies.dat": "1::American President, The (1995)::Drama\n2::Léon (1994)::Crime\n".encode("latin-1"),
    "u.item": "1|American President, The (1995)|01-Jan-1995||x|0\n2|Léon (1994)|||x|0\n".encode("latin-1"),
}


class Settings(dict[str, Any]):
    """Keys of a configuration; those that are not set are None."""

    def __missing__(self, key: str) -> None:
        return None


TITLES = {"1": "American President, The (1995)", "2": "Léon (1994)"}


@pytest.mark.parametrize("name", FILES)
def test_the_file_of_movies_of_every_release_is_read_beside_its_ratings(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(FILES[name])
    assert movie_titles(tmp_path / "ratings.any") == TITLES


@pytest.mark.parametrize("name", FILES)
def test_the_file_of_movies_is_read_from_the_archive(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "ml.zip", "w") as archive:
        archive.writestr(f"ml/{name}", FILES[name])
    assert movie_titles(tmp_path / "ml.zip") == TITLES


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b'movieId,title\n1,"open'])
def test_titles_are_not_worth_an_error(content: bytes | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "movies.csv").write_bytes(content)
    assert set(movie_titles(tmp_path / "ratings.csv")) <= {"1"}
    (tmp_path / "broken.zip").write_bytes(b"no archive")
    assert movie_titles(tmp_path / "broken.zip") == {}


def test_a_title_never_breaks_the_line_it_is_written_in(tmp_path: Path) -> None:
    items = np.array(["7", "8"], dtype=object)
    write_titles(tmp_path / "ml.item", {"7": "one\ttwo\nthree"}, items)
    assert (tmp_path / "ml.item").read_text() == "item_id:token\tmovie_title:token_seq\n7\tone two three\n"


def test_prepared_movielens_has_the_titles_of_its_release(tmp_path: Path) -> None:
    source = tmp_path / "raw"
    source.mkdir()
    rows = [f"{user},{item},4.0,{60 * item}" for user in range(1, 7) for item in range(1, 13)]
    (source / "ratings.csv.gz").write_bytes(
        gzip.compress("\n".join(["userId,movieId,rating,timestamp", *rows]).encode(), mtime=0)
    )
    (source / "movies.csv").write_bytes(FILES["movies.csv"])
    folder = ensure_prepared({"data_path": str(tmp_path / "data" / "ml"), "source": str(source), "dataset": "ml"})

    names = np.array(["", *map(str, range(1, 13))], dtype=object)
    config = Settings(data_path=str(folder), dataset="ml", field_separator="\t", ITEM_ID_FIELD="item_id")
    assert _titles(config, names).tolist()[:4] == ["", TITLES["1"], TITLES["2"], ""]


def titles_of_source(folder: Path, source: str, **keys: str) -> dict[str, str] | None:
    (folder / source).touch()
    data = {"data_path": str(folder / "data"), "dataset": "shop", "field_separator": "\t", "ITEM_ID_FIELD": "item_id"}
    return item_titles(Settings(data, source=str(folder / source), **keys))


@pytest.mark.parametrize(
    ("source", "beside"),
    [
        ("events.csv", "events.item"),
        ("events.csv.gz", "events.item"),
        ("events.csv.gz", "events.csv.item"),
        ("events.inter.zip", "events.item"),
        ("events.tar.gz", "events.item"),
        ("events.v2.csv.gz", "events.v2.item"),
        ("events.parquet", "events.item"),
    ],
)
def test_titles_lie_beside_the_source_under_its_name(source: str, beside: str, tmp_path: Path) -> None:
    (tmp_path / beside).write_text("item_id:token\ttitle:token_seq\n7\tSeven\n")
    assert titles_of_source(tmp_path, source) == {"7": "Seven"}


@pytest.mark.parametrize("header", ["item_id\tname", "Artikel\tname", "\ufeffArtikel:token\tname", "sku\tproduct_name"])
def test_the_column_of_the_ids_may_be_called_as_in_the_source(header: str, tmp_path: Path) -> None:
    (tmp_path / "events.item").write_text(f"{header}\n7\tSeven\n")
    assert titles_of_source(tmp_path, "events.csv", item_column="Artikel") == {"7": "Seven"}


def test_titles_are_never_the_ids(tmp_path: Path) -> None:
    (tmp_path / "events.item").write_text("full_name\tlong_title\tprice\n7\tSeven\t1\n")
    assert titles_of_source(tmp_path, "events.csv", item_column="full_name") == {"7": "Seven"}
    (tmp_path / "events.item").write_text("full_name\tprice\n7\t1\n")
    assert titles_of_source(tmp_path, "events.csv", item_column="full_name") is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"item_id,title\n7,Seven\n", r"separated by tabs, one called item_id or Artikel and .* has item_id,title\.$"),
        (b"item_id\tprice\n7\t1\n", r"one whose name ends in title or name, but its first line has item_id, price\.$"),
        (b"", r"one called item_id or Artikel"),
        (b"item_id\ttitle\n7\t\xff\n", r"for it cannot be read: 'utf-8' codec can't decode"),
    ],
)
def test_a_file_of_titles_that_gives_none_is_told_of_in_one_line(
    content: bytes, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "events.item").write_bytes(content)
    with caplog.at_level(logging.WARNING, logger="recbole_nasr"):
        assert titles_of_source(tmp_path, "events.csv", item_column="Artikel") is None
    ((line,),) = [[record.getMessage()] for record in caplog.records]
    assert re.search(rf"events\.item gives no titles.*{told}", line)


def test_nothing_is_told_of_features_of_items_with_the_data_or_where_there_is_no_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="recbole_nasr"):
        assert titles_of_source(tmp_path, "events.csv") is None
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "shop.item").write_text("item_id:token\tclass:token\n7\tbook\n")
        assert titles_of_source(tmp_path, "events.csv") is None
    assert not caplog.records
