from __future__ import annotations

import gzip
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recbole_nasr.data.prepare import ensure_prepared
from recbole_nasr.data.titles import movie_titles, write_titles
from recbole_nasr.data.vocabulary import _titles

FILES = {
    "movies.csv": 'movieId,title,genres\n1,"American President, The (1995)",Drama\n2,Léon (1994),Crime\n'.encode(),
    "movies.dat": "1::American President, The (1995)::Drama\n2::Léon (1994)::Crime\n".encode("latin-1"),
    "u.item": "1|American President, The (1995)|01-Jan-1995||x|0\n2|Léon (1994)|||x|0\n".encode("latin-1"),
}
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

    class Config(dict):
        def __missing__(self, key: str) -> None:
            return None

    names = np.array(["", *map(str, range(1, 13))], dtype=object)
    config = Config(data_path=str(folder), dataset="ml", field_separator="\t", ITEM_ID_FIELD="item_id")
    assert _titles(config, names).tolist()[:4] == ["", TITLES["1"], TITLES["2"], ""]
