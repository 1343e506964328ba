from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.data import atomic
from recbole_nasr.data.atomic import check_interaction_file, first_bad_row, safe_names, write_atomic
from recbole_nasr.errors import DataError


@given(st.lists(st.text(), min_size=1, max_size=20, unique=True))
def test_safe_names_can_be_undone_and_hold_nothing_that_ends_a_cell(names: list[str]) -> None:
    safe = safe_names(np.array(names, dtype=object)).tolist()
    assert len(set(safe)) == len(names)
    assert not set('\t\n\r"') & set("".join(safe))
    assert all(
        unquote(name) == original for name, original in zip(safe, names, strict=True) if original and original.isascii()
    )


def test_names_that_pandas_holds_to_be_missing_are_changed() -> None:
    missing = sorted(atomic._MISSING)
    safe = safe_names(np.array(missing, dtype=object))
    text = "a\n" + "\n".join(safe) + "\n"
    Path("names.txt").write_text(text)
    assert pd.read_csv("names.txt", sep="\t")["a"].tolist() == safe.tolist()
    assert [unquote(name) for name in safe] == missing


def test_the_list_of_missing_values_is_that_of_pandas() -> None:
    from pandas._libs.parsers import STR_NA_VALUES

    later = {"None"} if pd.__version__ < "2" else set()
    assert set(STR_NA_VALUES) - {""} == atomic._MISSING - later


def test_an_atomic_file_is_written_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_BLOCK_ROWS", 2)
    columns = ((np.array(["u", "v"]), np.array([0, 0, 1])), (np.array(["0", "1"]), np.array([0, 1, 1])))
    write_atomic(tmp_path / "a.inter", ("user_id:token", "timestamp:float"), columns)
    assert (tmp_path / "a.inter").read_text() == "user_id:token\ttimestamp:float\nu\t0\nu\t1\nv\t1\n"


def test_the_first_bad_row_is_named_and_blank_lines_count(tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text("user_id:token\ttimestamp:float\nu\t1\n\nu\t\n")
    assert first_bad_row(path) == ""
    assert first_bad_row(path, finite=["timestamp"]) == "line 4: timestamp:float needs a finite number, but is ''"
    path.write_text("user_id:token\ttimestamp:float\nu\t1\n\nu\t1\t2\n")
    assert first_bad_row(path) == "line 4: 2 columns are expected, 3 found"


@pytest.mark.parametrize("cell", ['"i1', '"', '"a"b"', '"""'])
def test_a_quotation_mark_that_recbole_would_read_on_behind_is_named(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text(f'user_id:token\titem_id:token\nu\t"i1"\nu\ta"b"\nu\t{cell}\nv\ti2"\n')
    bad = first_bad_row(path)
    assert bad.startswith("line 4: item_id:token begins with a quotation mark")
    assert repr(cell) in bad


@pytest.mark.parametrize("cell", ['"i1"', 'a"b', 'i1"', '""', '"say ""so"""', '""""'])
def test_a_quoted_name_that_recbole_reads_as_one_cell_is_accepted(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text(f"user_id:token\titem_id:token\nu\t{cell}\nv\ti2\n")
    assert first_bad_row(path) == ""
    assert len(pd.read_csv(path, sep="\t", engine="python", dtype=str)) == 2


def test_blank_lines_before_the_first_row_are_passed_over_as_recbole_does(tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text("user_id:token\titem_id:token\n\n \nu\ti\n")
    check_interaction_file(path, fields=["user_id", "item_id"])
    path.write_text("user_id:token\titem_id:token\n\nu\n")
    with pytest.raises(DataError, match=r"line 3: 2 columns are expected, as in the header, 1 found"):
        check_interaction_file(path)
    path.write_text("user_id:token\titem_id:token\n\n\n")
    with pytest.raises(DataError, match="there is none"):
        check_interaction_file(path)


def test_a_byte_order_mark_which_nobody_sees_is_named_with_the_encoding_that_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text("user_id:token\titem_id:token\nu\ti\n", encoding="utf-8-sig")
    with pytest.raises(DataError, match=r"line 1: .* byte order mark.*encoding=utf-8-sig"):
        check_interaction_file(path, fields=["user_id", "item_id"])
    check_interaction_file(path, fields=["user_id", "item_id"], encoding="utf-8-sig")


def test_a_time_that_is_a_name_is_refused_because_names_are_in_order_of_appearance(tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text("user_id:token\ttimestamp:token\nu\t1\n")
    with pytest.raises(DataError, match=r"line 1: 'timestamp' must be a number, timestamp:float, but is a token"):
        check_interaction_file(path, fields=["user_id"], numbers=["timestamp"])
    check_interaction_file(path, fields=["user_id"])


@pytest.mark.parametrize("kind", ["float", "token_seq"])
def test_an_item_that_is_no_name_is_refused_because_recbole_numbers_names_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text(f"user_id:token\titem_id:{kind}\nu\t1\n")
    with pytest.raises(DataError, match=rf"line 1: 'item_id' must be a name, item_id:token, but is a {kind}"):
        check_interaction_file(path, fields=["user_id", "item_id"])


def test_a_field_that_is_not_set_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.inter"
    path.write_text("user_id:token\nu\n")
    with pytest.raises(DataError, match="the column None is needed"):
        check_interaction_file(path, fields=["user_id", None])
