"""Random and damaged atomic files and storages of studies: they are read, or refused by one of our own errors."""

from __future__ import annotations

import contextlib
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_nasr.checks.interactions import check_interactions
from recbole_nasr.errors import NASRError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs import checking
from recbole_nasr.runs.data import load_data
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.storage import open_study, quiet_optuna

pytestmark = pytest.mark.filterwarnings("ignore")  # of pandas and RecBole, about what is in the files

INTER = "user_id:token\titem_id:token\ttimestamp:float\n" + "".join(
    f"u{user}\ti{(user + step) % 10}\t{step}\n" for user in range(6) for step in range(6)
)
ITEM = "item_id:token\tmovie_title:token_seq\tyear:float\n" + "".join(
    f"i{item}\tThe film {item}\t{1990 + item}\n" for item in range(10)
)
PIECES = (
    *(
        "\t",
        "\n",
        "\r",
        "\t\t",
        "u1",
        "nan",
        "inf",
        "-1e309",
        "1e5000",
        "0x10",
        "",
        " ",
        '"',
        "'",
        "\0",
        "\ufeff",
        "\u2028",
    ),
    *("9" * 400, ":", "user_id:token", "item_id:float", "[PAD]", "NA", "True", "1,5", "x" * 5000, "é", "\x1b[2J"),
)


@st.composite
def changed(draw: st.DrawFn, valid: str) -> bytes:
    """Draw a file with cells, lines or bytes changed."""
    lines = valid.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(lines) - 1)) if lines else 0
        kind = draw(st.sampled_from(["cell", "header", "drop", "repeat", "cut", "join"]))
        if not lines:
            break
        if kind in ("cell", "header"):
            place = 0 if kind == "header" else place
            cells = lines[place].rstrip("\n").split("\t")
            cells[draw(st.integers(0, len(cells) - 1))] = draw(st.sampled_from(PIECES))
            lines[place] = "\t".join(cells) + "\n"
        elif kind == "drop":
            del lines[place]
        elif kind == "repeat":
            lines.insert(place, lines[place])
        elif kind == "cut":
            lines = lines[: place + 1]
        else:
            lines[place] = lines[place].rstrip("\n")
    content = bytearray("".join(lines).encode())
    if content and draw(st.integers(0, 3)) == 0:
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@pytest.fixture
def config(tmp_path: Path) -> Iterator[Any]:
    """The configuration of a tiny network on the data set ``made``, whose items have a file of their own."""
    folder = tmp_path / "data" / "made"
    folder.mkdir(parents=True)
    (folder / "made.inter").write_text(INTER)
    (folder / "made.item").write_text(ITEM)
    columns = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "movie_title", "year"]}
    given = {"data_path": "data", "load_col": columns, "topk": [1, 2], "valid_metric": "NDCG@2", "gpu_id": ""}
    with checking.configuration_of("NASR", "made", given) as made:
        yield made


@pytest.mark.parametrize("kind", ["inter", "item"])
def test_a_damaged_atomic_file_is_loaded_or_refused_by_an_error_of_our_own(kind: str, config: Any) -> None:
    folder = Path(config["data_path"])
    valid = {"inter": INTER, "item": ITEM}
    load_data(config)

    @settings(max_examples=60, derandomize=True)
    @given(changed(valid[kind]))
    def attempt(content: bytes) -> None:
        (folder / f"made.{kind}").write_bytes(content)
        with contextlib.suppress(NASRError):
            check_interactions(folder / "made.inter", config)
            load_data(config)

    attempt()


def damage_of(valid: bytes) -> st.SearchStrategy[bytes]:
    """Draw a file that is cut, overwritten in one place, or something else."""

    def hit(place: int, piece: bytes) -> bytes:
        place %= len(valid)
        return valid[:place] + piece + valid[place + len(piece) :]

    places = st.integers(0, len(valid))
    return st.one_of(
        st.binary(max_size=64),
        places.map(lambda n: valid[:n]),
        st.builds(hit, places, st.binary(min_size=1, max_size=40)),
        st.builds(hit, st.integers(0, 200), st.binary(min_size=1, max_size=8)),
        st.builds(hit, places, st.just(bytes(600))),
    )


def ask(storage: str) -> StudyRequest:
    words = ["--study=table2", "--dataset=toy", f"--storage={storage}", "--runs_dir=runs"]
    return build_study_request(parse_line(words))


@pytest.mark.parametrize("name", ["study.db", "study.log"])
def test_a_damaged_storage_of_a_study_is_opened_or_refused_by_an_error_of_our_own(name: str, tmp_path: Path) -> None:
    asked = ask(f"sqlite:///{name}" if name.endswith(".db") else name)
    study = open_study(asked)
    with quiet_optuna():
        for value in (0.25, 0.5):
            study.tell(study.ask(), value)
    del study
    valid = Path(name).read_bytes()

    @settings(max_examples=25, derandomize=True)
    @given(damage_of(valid))
    def attempt(content: bytes) -> None:
        for path in Path().glob(f"{name}*"):
            path.unlink()
        Path(name).write_bytes(content)
        with contextlib.suppress(NASRError):
            assert len(open_study(asked).get_trials()) in (0, 1, 2)

    attempt()


def make_database(path: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute(statement)
        made.commit()


def make_future(path: Path) -> None:
    open_study(ask(f"sqlite:///{path.name}"))
    with contextlib.closing(sqlite3.connect(path)) as made:
        made.execute("UPDATE version_info SET schema_version = 99, library_version = '99.0.0'")
        made.execute("UPDATE alembic_version SET version_num = 'v99.0.0.a'")
        made.commit()


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a database of something else": lambda path: make_database(path, "CREATE TABLE studies (a, b)"),
    "a database with a table of that name": lambda path: make_database(path, "CREATE TABLE version_info (a)"),
    "of an Optuna of the future": make_future,
    "text": lambda path: path.write_text("a study\n"),
    "packed": lambda path: path.write_bytes(zlib.compress(b"a study" * 100)),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("make", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_database_that_is_none_of_a_study_is_refused_and_left_as_it_is(
    make: Callable[[Path], object], tmp_path: Path
) -> None:
    make(tmp_path / "study.db")
    before = (tmp_path / "study.db").read_bytes() if (tmp_path / "study.db").is_file() else b""
    with pytest.raises(NASRError, match=r"study\.db cannot be used"):
        open_study(ask("sqlite:///study.db"))
    if before:
        assert (tmp_path / "study.db").read_bytes() == before
