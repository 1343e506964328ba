"""Histories of a table of interactions are in the order of time, whatever form the times have."""

from __future__ import annotations

import gzip
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recbole_nasr.data.layouts import SEPARATORS
from recbole_nasr.errors import DataError
from recbole_nasr.serving.columns import OwnNames
from recbole_nasr.serving.files import HistoryFile
from recbole_nasr.serving.histories import Histories, as_text, histories_of, named_items


def items_by(times: list[Any]) -> list[str]:
    frame = pd.DataFrame({"user": "u", "item": [str(number) for number in range(len(times))], "timestamp": times})
    return histories_of(frame).items.tolist()


@pytest.mark.parametrize(
    "times",
    [
        [10, 9],
        [10.5, 9.5],
        ["10", "9"],  # as text 10 comes before 9
        ["2009-05-04T23:08:57Z", "2009-05-04"],
        ["2009-05-04T01:00:00+02:00", "2009-05-03T22:59:00Z"],
        ["2009-05-04 01:00:00.5 UTC", "2009-05-04 01:00:00 UTC"],  # as the preparation reads them
        [pd.Timestamp("2020"), pd.Timestamp("2019")],
        [pd.Timestamp("2020", tz="UTC"), pd.Timestamp("2019", tz="UTC")],
    ],
    ids=str,
)
def test_rows_are_sorted_by_time(times: list[Any]) -> None:
    assert items_by(times) == ["1", "0"]
    assert items_by(times[::-1]) == ["0", "1"]
    assert items_by([times[0], times[0]]) == ["0", "1"]


@pytest.mark.parametrize(
    ("times", "bad"),
    [
        ([10, None], "nan"),
        (["10", ""], "''"),
        (["10", "soon"], "'soon'"),
        (["2009-05-04", "soon"], "'soon'"),
        (["2009-05-04", "now"], "'now'"),
        (["today", "2009-05-04"], "'today'"),
        ([pd.Timestamp("2020"), pd.NaT], "NaT"),
    ],
    ids=str,
)
def test_a_row_without_time_is_refused(times: list[Any], bad: str) -> None:
    with pytest.raises(DataError, match=f"'timestamp' needs a number or an ISO time in every row, but one is {bad}"):
        items_by(times)


def test_a_file_names_the_value_that_is_no_time(tmp_path: Path) -> None:
    path = tmp_path / "histories.csv"
    path.write_text("user,item,time\nu1,1,3\nu1,2,\n")
    with pytest.raises(DataError, match=r"histories\.csv: 'time' needs a number .* but one is ''"):
        list(HistoryFile(path, {}).pieces())
    path.write_text("user,item,time\nu1,1,10\nu1,2,9\n")
    ((found, _),) = list(HistoryFile(path, {}).pieces())
    assert isinstance(found, Histories)
    assert found.items.tolist() == ["2", "1"]


@pytest.mark.parametrize("twice", ["user", "item", "timestamp"])
def test_two_columns_of_one_name_are_refused_where_that_one_is_needed(twice: str) -> None:
    frame = pd.DataFrame({"user": ["u"], "item": ["a"], "timestamp": [1], "price": [2]})
    with pytest.raises(DataError, match=f"2 columns are called '{twice}', and one of them is needed; rename or drop"):
        histories_of(pd.concat([frame, frame[[twice]]], axis=1))
    assert histories_of(pd.concat([frame, frame[["price"]]], axis=1)).items.tolist() == ["a"]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
def test_so_they_are_in_a_file_where_pandas_calls_the_second_otherwise(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"histories{ending}"
    for twice, price in (("item", "price"), ("price", "price")):
        lines = [["user", "item", "time", price, twice], ["u", "a", "1", "2", "3"]]
        path.write_text("\n".join(SEPARATORS[ending].join(line) for line in lines) + "\n")
        if twice == "item":
            with pytest.raises(DataError, match="2 columns are called 'item'"):
                list(HistoryFile(path, {}).pieces())
    ((found, _),) = list(HistoryFile(path, {}).pieces())
    assert isinstance(found, Histories)
    assert found.items.tolist() == ["a"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"user_id": [b"u", b"v"], "item_id": ["é".encode(), b"b"]}, [["é"], ["b"]]),
        ({"user_id": [b"u", b"v"], "items": [b"a b", b""]}, [["a", "b"], []]),
        ({"user_id": [b"u", b"v"], "items": [["é".encode(), b"b"], []]}, [["é", "b"], []]),
    ],
)
def test_bytes_in_a_parquet_file_are_text(columns: dict[str, Any], expected: list[list[str]], tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    photos = [b"\xff"] * 2  # a column that is not read
    pd.DataFrame(columns).assign(photo=photos).to_parquet(tmp_path / "log.parquet")
    pieces = [found for found, _ in HistoryFile(tmp_path / "log.parquet", {}).pieces()]
    assert [user for found in pieces for user in found.users] == ["u", "v"]
    assert [found.items[a:b].tolist() for found in pieces for a, b in pairwise(found.start)] == expected


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"user_id": ["a", "b", "c"], "item_id": [b"x", b"y", b"\xff"]},
            r"log\.parquet, row 3: item_id must be UTF-8 text",
        ),
        ({"user_id": ["a"], "items": [[b"\xff"]]}, r"An item id must be UTF-8 text, but one is b'\\xff'; give ids as"),
    ],
)
def test_bytes_that_are_no_text_are_refused(
    columns: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("recbole_nasr.serving.files.ROWS_AT_ONCE", 2)
    pd.DataFrame(columns).to_parquet(tmp_path / "log.parquet")
    with pytest.raises(DataError, match=message):
        list(HistoryFile(tmp_path / "log.parquet", {}).pieces())


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA, pd.NaT], ids=str)
def test_a_missing_value_in_a_history_is_no_item(missing: Any) -> None:
    assert as_text(np.array(["a", missing, 7], dtype=object)).tolist() == ["a", "", "7"]
    rows = pd.DataFrame({"user": ["u", "u"], "item": [missing, "b"]})
    assert histories_of(rows).items.tolist() == ["", "b"]


def test_the_names_of_the_runs_own_data_come_before_known_ones() -> None:
    config = {"user_column": "Kunde", "USER_ID_FIELD": "visitor", "ITEM_ID_FIELD": "what"}
    own = OwnNames.of(defaultdict(lambda: None, config))
    frame = pd.DataFrame({"user_id": ["x"], "visitor": ["v"], "Kunde": ["k"], "item_id": ["i"], "what": ["w"]})
    for dropped, user, item in (((), "k", "w"), (("Kunde",), "v", "w"), (("Kunde", "visitor", "what"), "x", "i")):
        found = histories_of(frame.drop(columns=list(dropped)), own=own)
        assert (found.users.tolist(), found.items.tolist()) == ([user], [item])


def test_a_table_without_a_known_column_is_told_to_rename_it_as_python_does() -> None:
    frame = pd.DataFrame({"Kunde": ["u"], "item": ["a"]})
    needed = r"column with the user is needed \(visitor, user_id, .*; rename it, as with frame\.rename\(columns="
    with pytest.raises(DataError, match=needed) as caught:
        histories_of(frame, own=OwnNames({"user": ["visitor"]}))
    assert "--" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "separator"),
    [("a.csv", None), ("a.csv.gz", None), ("a.csv", ";"), ("a.csv.gz", ";"), ("a.tsv.gz", None), ("a.csv", "::")],
)
@pytest.mark.parametrize("rows_at_once", [1, 100])
def test_a_file_of_histories_is_read_as_the_source_of_the_run(
    name: str, separator: str | None, rows_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.serving.files.ROWS_AT_ONCE", rows_at_once)
    written = separator or ("," if ".csv" in name else "\t")
    rows = [("Kunde", "Artikel", "wann"), ("u", "a", "2"), ("u", "b", "1"), ("v", "c", "5")]
    content = "".join(written.join(row) + "\n" for row in rows).encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    own = OwnNames({"user": ["Kunde"], "item": ["Artikel"], "time": ["wann"]}, separator)
    file = HistoryFile(tmp_path / name, {}, own)
    pieces = list(file.pieces())
    assert [item for found, _ in pieces for item in found.items] == ["b", "a", "c"]
    assert sum(done for _, done in pieces) <= file.size


def test_the_separator_of_the_source_is_left_where_a_file_does_not_have_it(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("user,item\nu,a\nu,b\n")
    (tmp_path / "b.csv").write_text("items\na;b\n")
    for name in ("a.csv", "b.csv"):
        ((found, _),) = HistoryFile(tmp_path / name, {}, OwnNames(separator=";")).pieces()
        assert found.items.tolist() == ["a", "b"]


@pytest.mark.parametrize(("time", "expected"), [(",time", ["a b"]), (",price", ["a", "b"])])
def test_a_column_of_single_items_in_the_runs_data_has_no_lists_beside_a_time(
    time: str, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text(f"user,items{time}\nu,a b,1\n")
    ((found, _),) = HistoryFile(tmp_path / "a.csv", {}, OwnNames({"item": ["items"]})).pieces()
    assert found.items.tolist() == expected


def test_a_damaged_compressed_file_is_one_line(tmp_path: Path) -> None:
    whole = gzip.compress(("user,item\n" + "".join(f"u{row},i{row * row}\n" for row in range(999))).encode())
    for content in (whole[:200], whole[:-4], b"user,item\nu,a\n"):
        (tmp_path / "a.csv.gz").write_bytes(content)
        with pytest.raises(DataError, match=r"a\.csv\.gz cannot be read"):
            list(HistoryFile(tmp_path / "a.csv.gz", {}).pieces())


KNOWN = ("Beatles, The i3", "Cream", "The Who", " i3", "i8", " i8", '"Heroes"', '12" single', "a,b", "a", "b", " , ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a, b,a", ["a", "b", "a"]),
        ("a,,zzz , ", ["a", "zzz"]),
        ("Beatles, The i3", ["Beatles, The i3"]),
        (" Beatles, The i3", ["Beatles, The i3"]),
        ('"Beatles, The i3", Cream', ["Beatles, The i3", "Cream"]),
        ('Cream , "Beatles, The i3" ,The Who', ["Cream", "Beatles, The i3", "The Who"]),
        ("a,b", ["a,b"]),
        ('a,"b"', ["a", "b"]),
        (" i3, i8,i8", [" i3", " i8", "i8"]),  # as `u0, i3, 160` is read
        ('i8, "i8", " i3"', ["i8", "i8", " i3"]),
        ('"Heroes",12" single', ['"Heroes"', '12" single']),
        ('"""Heroes""","12"" single"', ['"Heroes"', '12" single']),
        ('" , ",a', [" , ", "a"]),
        ('"new, too",a', ["new, too", "a"]),
        ('"a,b', ['"a', "b"]),
        ('"",a', ["a"]),
        ("", []),
    ],
)
def test_items_in_one_text_are_separated_by_commas_outside_quotes(text: str, expected: list[str]) -> None:
    assert named_items(text, KNOWN.__contains__) == expected


def test_a_name_in_quotes_comes_back_as_it_was() -> None:
    for names in ([one, "a", other] for one in KNOWN for other in KNOWN):
        quoted = ['"' + name.replace('"', '""') + '"' for name in names]
        assert named_items(", ".join(quoted), KNOWN.__contains__) == names
