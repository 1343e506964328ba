from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from recbole_nasr.errors import ConfigError
from recbole_nasr.serving.output import open_table

FRAME = pd.DataFrame({"item": ["i1"], "rank": [1]})


@pytest.mark.parametrize("name", ["top.csv", "top[1].csv"])
def test_what_a_killed_command_left_of_the_same_output_is_removed_and_no_other_file(name: str, tmp_path: Path) -> None:
    stem = name.removesuffix(".csv")
    others = [f"{stem}.partial.csv", f".{name}.partial", f".{name}.january1.partial", f".b{name}.1a2b3c4d.partial"]
    for other in others:
        (tmp_path / other).write_text("mine\n")
    (tmp_path / f".{name}.1a2b3c4d.partial").write_text("item,rank\n")  # as a kill leaves it in the middle of writing
    with open_table(tmp_path / name) as table:
        table.add(FRAME)
    assert (tmp_path / name).read_text() == "item,rank\ni1,1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, *others])
    assert {(tmp_path / other).read_text() for other in others} == {"mine\n"}


def test_two_commands_with_one_output_do_not_mix(tmp_path: Path) -> None:
    with open_table(tmp_path / "top.csv") as first:
        first.add(FRAME)
        with pytest.raises(ConfigError, match=r"Another process writes .*top\.csv"), open_table(tmp_path / "top.csv"):
            pass
        first.add(FRAME)
    assert (tmp_path / "top.csv").read_text() == "item,rank\ni1,1\ni1,1\n"
    assert [path.name for path in tmp_path.iterdir()] == ["top.csv"]


@pytest.mark.parametrize("name", ["top.csv", "top.parquet"])
def test_a_piece_without_a_recommendation_leaves_those_after_it(name: str, tmp_path: Path) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    read = pd.read_csv if name.endswith("csv") else pd.read_parquet
    for frames in ([FRAME[:0], FRAME, FRAME[:0], FRAME], [FRAME[:0], FRAME[:0]]):
        with open_table(tmp_path / name) as table:
            for frame in frames:
                table.add(frame)
        found = read(tmp_path / name)
        assert list(found) == list(FRAME)
        assert found["item"].tolist() == [item for frame in frames for item in frame["item"]]


def test_a_carriage_return_in_a_name_ends_no_row(tmp_path: Path) -> None:
    frame = pd.DataFrame({"item": ["a\rb", "c,d", "e"], "rank": [1, 2, 3]})
    with open_table(tmp_path / "top.csv") as table:
        table.add(FRAME)
        table.add(frame)
    assert pd.read_csv(tmp_path / "top.csv")["item"].tolist() == ["i1", "a\rb", "c,d", "e"]
