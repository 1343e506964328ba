from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from recbole.data.dataset import SequentialDataset

from recbole_nasr.configuration.resources import load_yaml
from recbole_nasr.data import prepare
from recbole_nasr.data.autoregressive import NASRDataset
from recbole_nasr.data.prepare import ensure_prepared, is_prepared_dataset, prepared_folder
from recbole_nasr.data.report import load_report, report_text
from recbole_nasr.data.sources import RELEASES, local_release
from recbole_nasr.errors import ConfigError, DataError

from .test_lazy import assert_same_rows


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dataset")


@pytest.fixture(scope="module")
def folder(parent: Path) -> Path:
    return ensure_prepared({"data_path": str(parent / "ml")})


def test_ml_on_100k_has_the_numbers_of_the_protocol(folder: Path) -> None:
    report = load_report(folder)
    assert (report.sequences, report.actions, report.items, report.persons) == (3478, 98064, 1349, 943)
    assert report.raw == {"interactions": 100000, "users": 943, "items": 1682}
    assert report.dropped == {"rare items": 713, "rare users": 0, "in no window": 1223}
    assert report.actions + sum(report.dropped.values()) == report.raw["interactions"]
    inter = pd.read_csv(folder / "ml.inter", sep="\t")
    assert len(inter) == 98064
    assert inter["user_id:token"].nunique() == 3478
    assert inter["item_id:token"].nunique() == 1349


def test_every_window_holds_ten_to_thirty_items_with_times_counting_from_zero(folder: Path) -> None:
    inter = pd.read_csv(folder / "ml.inter", sep="\t")
    sizes = inter.groupby("user_id:token").size()
    assert sizes.min() == 10
    assert sizes.max() == 30
    assert (inter["timestamp:float"] == inter.groupby("user_id:token").cumcount()).all()


def test_the_user_file_names_the_person_of_every_window(folder: Path) -> None:
    users = pd.read_csv(folder / "ml.user", sep="\t", dtype=str)
    assert len(users) == 3478
    assert (users["user_id:token"].str.rsplit("_", n=1).str[0] == users["source_user:token"]).all()


def test_the_windows_of_a_person_follow_the_history_of_ml_100k(folder: Path) -> None:
    raw = pd.read_csv(
        local_release(RELEASES["100k"], folder), sep="\t", names=["user", "item", "rating", "time"], skiprows=1
    )
    raw = raw[raw.groupby("item")["item"].transform("size") >= 5]
    history = raw[raw["user"] == 196].sort_values("time", kind="stable")["item"].tolist()
    inter = pd.read_csv(folder / "ml.inter", sep="\t")
    assert inter[inter["user_id:token"] == "196_0"]["item_id:token"].tolist() == history[:30]


def test_recboles_rows_on_the_prepared_data_are_ours(folder: Path, make_config: Any) -> None:
    keys = {**load_yaml("dataset_configs", "ml"), "eval_args": make_config("ml")["eval_args"]}
    make = lambda: make_config("ml", folder, **keys)  # noqa: E731
    theirs, ours = SequentialDataset(make()).build(), NASRDataset(make()).build()
    for part in (1, 2):
        assert_same_rows(theirs[part], ours[part])
    chunks = ours[0].training_chunks()
    assert len(chunks.start) == 3478
    assert int(chunks.length.sum()) == len(theirs[0]) == 98064 - 3 * 3478
    assert len(torch.unique(chunks.group)) == 943


def test_a_second_call_does_no_work(folder: Path, parent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "read_raw", lambda *_: pytest.fail("prepared again"))
    assert ensure_prepared({"data_path": str(parent)}) == folder


def test_the_folder_is_found_from_the_parent_the_joined_name_and_itself(folder: Path, parent: Path) -> None:
    for given in (parent, parent / "ml", folder):
        assert prepared_folder({"data_path": str(given)}) == folder


def test_another_option_is_another_folder(folder: Path, parent: Path) -> None:
    same = prepared_folder({"data_path": str(parent), "window_stride": 30})
    other = prepared_folder({"data_path": str(parent), "window_stride": 15})
    assert same == folder
    assert other != folder


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(prepare, "save_report", full)
    with pytest.raises(DataError, match="No space left"):
        ensure_prepared({"data_path": str(tmp_path)})
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_what_a_killed_preparation_left_is_removed_by_the_next(tmp_path: Path) -> None:
    folder = prepared_folder({"data_path": str(tmp_path)})
    left = tmp_path / f".{folder.name}.draft"
    left.mkdir()
    (left / "ml.inter").write_text("half a li")
    (tmp_path / f".{folder.name}.lock").touch()
    assert ensure_prepared({"data_path": str(tmp_path)}) == folder
    assert list(tmp_path.iterdir()) == [folder]


def test_several_at_once_make_one_complete_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        folders = set(pool.map(ensure_prepared, [{"data_path": str(tmp_path)}] * 3))
    assert set(tmp_path.iterdir()) == folders
    names = {path.name for path in folders.pop().iterdir()}
    assert names == {"ml.inter", "ml.user", "compact", "report.json", "report.txt"}


def test_filters_that_leave_nothing_give_the_counts_of_each(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"100,000 interactions the filters drop 100,000 rare items, 0"):
        ensure_prepared({"data_path": str(tmp_path), "min_item_interactions": 10**6})
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".lock"]


def test_a_release_that_does_not_exist_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean '100k'"):
        prepared_folder({"data_path": str(tmp_path), "ml_release": "100kb"})


def test_only_our_own_names_are_prepared() -> None:
    assert is_prepared_dataset("ml")
    assert is_prepared_dataset("lastfm", {"source": None})
    assert is_prepared_dataset("mine", {"source": "a.csv"})
    assert not is_prepared_dataset("ml-100k", {"source": None})


def test_the_report_is_logged_and_has_the_papers_numbers_beside_ours(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        folder = ensure_prepared({"data_path": str(tmp_path), "window_stride": 15})
    text = report_text(load_report(folder))
    assert text in caplog.text
    assert (folder / "report.txt").read_text() == text + "\n"
    lines = text.splitlines()
    assert lines[0].split("  ")[0] == "data"
    assert lines[2].split()[-4:] == ["25,417,546", "876,162", "23,515", "30"]
    assert len({len(line) for line in lines[:3]}) == 1
    assert "416 histories end in a tie" in text
    assert "the windows overlap" in text


def test_a_damaged_report_is_an_error_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{")
    with pytest.raises(DataError, match=r"report\.json"):
        load_report(tmp_path)


def test_the_share_of_unseen_items_is_one_of_the_test_cases_which_first_items_are_not(tmp_path: Path) -> None:
    # Five of the ten events, with i1 to i4, are before the test; then u2 begins with x and goes on with i1 to i4.
    rows = [("u1", item, time) for time, item in enumerate(["i1", "i2", "i3", "i4", "i4"])]
    rows += [("u2", item, 5 + time) for time, item in enumerate(["x", "i1", "i2", "i3", "y"])]
    source = tmp_path / "a.csv"
    source.write_text("user,item,time\n" + "".join(f"{user},{item},{time}\n" for user, item, time in rows))
    options = {"dataset": "own", "data_path": str(tmp_path), "source": str(source), "sequence_unit": "user"}
    folder = ensure_prepared({**options, "split_by": "time", "time_quantiles": [0.4, 0.5]})
    report = load_report(folder)
    assert report.split["cases"] == [3, 1, 4]
    assert report.unseen_test_share == 1 / 4  # y; i1, i2 and i3 were trained on
