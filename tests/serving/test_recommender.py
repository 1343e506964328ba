from __future__ import annotations

import csv
import gzip
import logging
import math
import re
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from recbole.config import Config
from recbole.data.interaction import Interaction
from recbole.utils import get_model

from recbole_nasr import load
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.errors import CheckpointError, ConfigError, DataError
from recbole_nasr.request.defaults import full_softmax
from recbole_nasr.runs.results import ITEMS_FILE
from recbole_nasr.serving.rebuilding import OF_HISTORIES, ItemsOnly
from recbole_nasr.serving.saved import load_data, load_run
from recbole_nasr.serving.users import user_history

N_ITEMS = 30
LOADED = {"inter": ["user_id", "item_id", "timestamp"], "user": ["user_id", "source_user"]}


def history(user: int) -> list[str]:
    """What the data of the runs have of ``user``."""
    return [f"i{(7 * user + step * step) % N_ITEMS}" for step in range(8)]


HISTORIES = [["i1", "i2"], ["i5"], history(9)]


@pytest.mark.parametrize("model", ["nasr", "sasrec"])
def test_the_rank_of_every_test_target_is_its_place_in_the_recommendations(
    trained: SimpleNamespace, model: str
) -> None:
    run = getattr(trained, model)
    with gzip.open(run / "ranks.csv.gz", "rt") as file:
        cases = list(csv.DictReader(file))
    lists = [history(int(case["sequence"].removeprefix("u")))[:-1] for case in cases]
    top = load(run, "cpu").recommend(lists, k=N_ITEMS, exclude_seen=False, as_numpy=True)
    places = [row.tolist().index(case["target"]) + 1 for row, case in zip(top.items, cases, strict=True)]
    assert places == [int(case["rank"]) for case in cases]


def test_seen_items_are_left_out_also_those_before_the_window(trained: SimpleNamespace) -> None:
    recommender = load(trained.nasr, "cpu")
    long = history(1)
    frame = recommender.recommend([long], k=N_ITEMS)
    assert sorted([*frame["item"], *set(long)]) == sorted(f"i{item}" for item in range(N_ITEMS))
    assert frame["rank"].tolist() == list(range(1, N_ITEMS - len(set(long)) + 1))
    assert set(recommender.recommend([long], k=N_ITEMS, exclude_seen=False)["item"]) >= set(long)


def test_of_a_long_history_the_last_items_count(trained: SimpleNamespace) -> None:
    recommender = load(trained.nasr, "cpu")
    long, short = (recommender.recommend([items], exclude_seen=False) for items in (history(2), history(2)[-4:]))
    pd.testing.assert_frame_equal(long, short)


def shuffled_rows() -> pd.DataFrame:
    rows = [(f"u{user}", item, step) for user, items in enumerate(HISTORIES) for step, item in enumerate(items)]
    return pd.DataFrame(rows, columns=["user", "item", "time"]).sample(frac=1, random_state=1)


@pytest.mark.parametrize(
    "given",
    [
        np.array([np.array(row, dtype=object) for row in HISTORIES] + [None], dtype=object)[:-1],
        [tuple(row) for row in HISTORIES],
        pd.Series(HISTORIES, index=["u0", "u1", "u2"]),
        pd.DataFrame({"user_id": ["u0", "u1", "u2"], "items": HISTORIES}),
        shuffled_rows(),
    ],
    ids=["array", "tuples", "series", "column of lists", "one row per interaction"],
)
def test_histories_come_in_every_form(trained: SimpleNamespace, given: Any) -> None:
    recommender = load(trained.nasr, "cpu")
    expected = recommender.recommend(HISTORIES, k=3)
    found = recommender.recommend(given, k=3)
    if found["user"].dtype == object:
        expected["user"] = "u" + expected["user"].astype(str)
    order = ["user", "rank"]
    pd.testing.assert_frame_equal(
        found.sort_values(order, ignore_index=True), expected.sort_values(order, ignore_index=True)
    )


def test_whole_numbers_that_pandas_made_floats_are_item_ids(tmp_path: Path) -> None:
    from recbole_nasr.serving.histories import as_text

    assert as_text(np.array([318.0, 858.0])).tolist() == ["318", "858"]
    assert as_text(np.array([318, 858])).tolist() == ["318", "858"]
    assert as_text(np.array(["a", 7, None, math.nan], dtype=object)).tolist() == ["a", "7", "", ""]


def test_unknown_items_are_skipped_and_said(trained: SimpleNamespace, caplog: pytest.LogCaptureFixture) -> None:
    recommender = load(trained.nasr, "cpu")
    with caplog.at_level(logging.WARNING, logger="recbole_nasr"):
        found = recommender.recommend([["i1", "new", "i2"], [], ["new", "newer"]], k=2)
    assert found["user"].tolist() == [0, 0]
    pd.testing.assert_frame_equal(found, recommender.recommend([["i1", "i2"]], k=2))
    assert "unknown item ids, skipped: 3 ('new', 'newer'" in caplog.text
    assert "without a known item, so not served: 2 of 3 histories" in caplog.text


def test_arrays_have_a_row_for_every_history(trained: SimpleNamespace) -> None:
    recommender = load(trained.nasr, "cpu")
    top = recommender.recommend([["i1"], []], k=3, as_numpy=True)
    assert top.ids.shape == top.scores.shape == top.items.shape == (2, 3)
    assert top.ids[1].tolist() == [0, 0, 0]
    assert top.items[1].tolist() == ["", "", ""]
    assert (np.diff(top.scores[0]) <= 0).all()
    assert recommender.vocabulary.names[top.ids[0]].tolist() == top.items[0].tolist()
    assert top.titles is not None
    assert top.titles[0].tolist() == [f"The number {name[1:]}" for name in top.items[0]]


def test_the_size_of_a_batch_changes_nothing(trained: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = [history(user)[: 1 + user % 8] for user in range(25)]
    whole = load(trained.nasr, "cpu").recommend(lists, k=5)
    monkeypatch.setattr("recbole_nasr.serving.recommender._MOST_AT_ONCE", 3)
    parts = load(trained.nasr, "cpu").recommend(lists, k=5)
    pd.testing.assert_frame_equal(parts, whole)


@pytest.mark.parametrize("k", [0, N_ITEMS + 1, 2.5, True])
def test_k_is_a_number_of_items(trained: SimpleNamespace, k: Any) -> None:
    with pytest.raises(ConfigError, match=f"1 to the {N_ITEMS} items"):
        load(trained.nasr, "cpu").recommend([["i1"]], k=k)


NO_HISTORIES = [["i1", "i2"], "i1", 3, [["i1"], None], pd.DataFrame({"item": ["i1"]}), pd.DataFrame({"who": [1]})]


@pytest.mark.parametrize("given", NO_HISTORIES)
def test_what_is_no_history_is_refused(trained: SimpleNamespace, given: Any) -> None:
    with pytest.raises(DataError):
        load(trained.nasr, "cpu").recommend(given)


def test_a_run_recommends_without_its_data_and_an_older_one_from_them(
    trained: SimpleNamespace, own_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load(trained.nasr, "cpu").recommend(HISTORIES)
    (own_copy / ITEMS_FILE).unlink()
    pd.testing.assert_frame_equal(load(own_copy, "cpu").recommend(HISTORIES), expected)
    shutil.move(trained.data, trained.data.with_name("away"))
    try:
        pd.testing.assert_frame_equal(load(trained.nasr, "cpu").recommend(HISTORIES), expected)
        with pytest.raises(DataError, match=r"cannot be read.*put the data back, or run the command in the folder"):
            load(own_copy, "cpu")
    finally:
        shutil.move(trained.data.with_name("away"), trained.data)


def test_items_of_other_data_are_refused(own_copy: Path) -> None:
    (own_copy / ITEMS_FILE).write_bytes(gzip.compress(b"id,item\n1,i1\n2,i2\n"))
    with pytest.raises(CheckpointError, match="do not fit the network of 2 items"):
        load(own_copy, "cpu")


def test_a_user_of_other_data_is_refused(trained: SimpleNamespace, own_copy: Path) -> None:
    loaded = load_run(own_copy, "cpu")
    loaded.vocabulary.names[1] = "another"
    with pytest.raises(CheckpointError, match="other items than when"):
        user_history(loaded, "u1")


def test_the_history_of_a_user_is_all_of_it_in_order(trained: SimpleNamespace) -> None:
    loaded = load_run(trained.nasr, "cpu")
    assert user_history(loaded, "u7") == ("u7", history(7))
    with pytest.raises(DataError, match=r"no user 'u99'; it has 25, such as 'u0'.*--items"):
        user_history(loaded, "u99")


def test_a_person_is_known_by_the_last_window(tmp_path: Path) -> None:
    rows = [f"anna,i{step % 9},{step}" for step in range(22)] + [f"bob,i{step % 9},{step}" for step in range(12)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    options = {"source": str(tmp_path / "log.csv"), "data_path": "data", "sequence_unit": "window", "window_length": 10}
    config = Config("NASR", "mine", config_dict={**options, "group_field": "source_user", "load_col": LOADED})
    dataset = load_data(config)
    loaded: Any = SimpleNamespace(config=config, vocabulary=Vocabulary.of(dataset))
    name, items = user_history(loaded, "anna")
    assert re.fullmatch(r"anna_\d+", name)
    assert items == [f"i{step % 9}" for step in range(10, 20)]  # the tail of 2 is dropped
    with pytest.raises(
        DataError, match=r"no user '9'; it has 2, such as 'anna', 'bob' \(or a window, such as 'anna_0'\)"
    ):
        user_history(loaded, "9")


def test_a_person_whose_name_is_that_of_a_window_of_another_is_meant(tmp_path: Path) -> None:
    rows = [f"{who},{item}{step % 9},{step}" for who, item in (("a", "x"), ("a_1", "y")) for step in range(20)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    options = {"source": str(tmp_path / "log.csv"), "data_path": "data", "sequence_unit": "window", "window_length": 10}
    config = Config("NASR", "mine", config_dict={**options, "group_field": "source_user", "load_col": LOADED})
    loaded: Any = SimpleNamespace(config=config, vocabulary=Vocabulary.of(load_data(config)))
    assert user_history(loaded, "a_1") == ("a_1_1", [f"y{step % 9}" for step in range(10, 20)])
    assert user_history(loaded, "a_0")[1][0] == "x0"
    with pytest.raises(DataError, match=r"no user '\[PAD\]'"):
        user_history(loaded, "[PAD]")


def test_a_user_is_known_by_the_name_in_the_source(tmp_path: Path) -> None:
    names = ["NA", "50%", "%41", "A"]
    rows = [f"{name},i{(number + step) % 9},{step}" for number, name in enumerate(names) for step in range(12)]
    (tmp_path / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    windows = {"sequence_unit": "window", "window_length": 10, "group_field": "source_user", "load_col": LOADED}
    for options, ending in (({}, ""), (windows, "_0")):
        config = Config(
            "NASR", "mine", config_dict={"source": str(tmp_path / "log.csv"), "data_path": "data", **options}
        )
        loaded: Any = SimpleNamespace(config=config, vocabulary=Vocabulary.of(load_data(config)))
        for number, name in enumerate(names):
            found, items = user_history(loaded, name)
            assert (found, items[0]) == (name + ending, f"i{number}")
        assert user_history(loaded, f"%4EA{ending}")[0] == f"NA{ending}"  # as ranks.csv.gz has it
        with pytest.raises(DataError, match=r"no user '9'; it has 4, such as 'NA', '50%'"):
            user_history(loaded, "9")


def prepared(folder: Path, users: dict[str, str], **options: Any) -> Any:
    """What `user_history` needs of a run on ten events of each user; of ``users`` the values name their items."""
    rows = [f"{user},{item}{step},{step}" for user, item in users.items() for step in range(10)]
    (folder / "log.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    places = {"data_path": str(folder), "source": str(folder / "log.csv")}
    config = Config("NASR", "mine", config_dict={**places, **options, "group_field": "source_user", "load_col": LOADED})
    return SimpleNamespace(config=config, vocabulary=Vocabulary.of(load_data(config)))


def test_a_window_is_named_only_where_there_are_windows(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"it has 2, such as 'anna', 'bob'\. A new history") as caught:
        user_history(prepared(tmp_path, {"anna": "x", "bob": "y"}), "nope")
    assert "window" not in str(caught.value)
    loaded = prepared(tmp_path, {"anna": "x", "bob": "y"}, sequence_unit="window", window_length=10)
    with pytest.raises(DataError, match=r"such as 'anna', 'bob' \(or a window, such as 'anna_0'\)\. A new"):
        user_history(loaded, "nope")


@pytest.mark.parametrize("options", [{}, {"sequence_unit": "window", "window_length": 10}], ids=["user", "window"])
def test_a_whole_number_is_the_user_that_the_data_write_with_a_point(options: dict[str, Any], tmp_path: Path) -> None:
    end = "_0" if options else ""
    loaded = prepared(tmp_path, {"1.0": "x", "2": "y", "2.0": "z"}, **options)
    assert user_history(loaded, "1") == user_history(loaded, "1.0") == (f"1.0{end}", [f"x{step}" for step in range(10)])
    assert [user_history(loaded, name)[0] for name in ("2", "2.0")] == [f"2{end}", f"2.0{end}"]
    with pytest.raises(DataError, match="no user '3'; it has 3"):
        user_history(loaded, "3")


def test_a_user_may_have_commas_and_outer_spaces_which_count_only_where_a_user_is_called_so(tmp_path: Path) -> None:
    loaded = prepared(tmp_path, {'"Smith, J"': "x", " u": "y", "u": "z", "v": "w"})
    for name, item in (("Smith, J", "x0"), (" u", "y0"), ("u", "z0"), ("u ", "z0"), (" v ", "w0")):
        assert user_history(loaded, name)[1][0] == item


def test_of_benchmark_files_a_user_has_the_history_of_the_last_row(tmp_path: Path) -> None:
    folder = tmp_path / "cut"
    folder.mkdir()
    rows = {"train": ["u\ta\tb", "v\tc\ta"], "valid": ["u\ta b\tc", "v\tc\tb"], "test": ["u\ta b c\td"]}
    for part, lines in rows.items():
        head = "user_id:token\titem_id_list:token_seq\titem_id:token"
        (folder / f"cut.{part}.inter").write_text("\n".join([head, *lines]) + "\n")
    options = {
        "data_path": str(tmp_path),
        "benchmark_filename": ["train", "valid", "test"],
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"]},
    }
    config = Config("NASR", "cut", config_dict=options)
    loaded: Any = SimpleNamespace(config=config, vocabulary=Vocabulary.of(load_data(config)))
    assert user_history(loaded, "u") == ("u", ["a", "b", "c", "d"])
    assert user_history(loaded, "v") == ("v", ["c", "b"])


def test_a_run_that_gave_histories_other_numbers_than_targets_cannot_read_a_history(own_copy: Path) -> None:
    saved = torch.load(own_copy / "model.pth", weights_only=False)
    saved["config"]["benchmark_filename"] = ["train", "valid", "test"]
    torch.save(saved, own_copy / "model.pth")
    with pytest.raises(
        CheckpointError, match=r"without alias_of_item_id: \[item_id_list\].*run it again with that key"
    ):
        load(own_copy, "cpu")
    saved["config"]["alias_of_item_id"] = ["item_id_list"]
    torch.save(saved, own_copy / "model.pth")
    assert len(load(own_copy, "cpu").recommend(HISTORIES, k=1)) == len(HISTORIES)


def test_a_model_of_users_says_that_it_needs_more_than_items(trained: SimpleNamespace) -> None:
    config = load_run(trained.sasrec, "cpu").config
    config["model"], config["embedding_size"], config["loss_type"] = "FPMC", 4, "BPR"
    with pytest.raises(ConfigError, match="FPMC scores with more than the items of a history"):
        get_model("FPMC")(config, ItemsOnly(config, 31))


@pytest.mark.parametrize("name", OF_HISTORIES)
def test_a_model_of_histories_needs_no_data_set(trained: SimpleNamespace, name: str) -> None:
    changes = {"data_path": str(trained.data), "MAX_ITEM_LIST_LENGTH": 4, "gpu_id": "", **full_softmax(name, {})}
    config = Config(model=name, dataset="toy", config_dict=changes)
    model = get_model(name)(config, ItemsOnly(config, N_ITEMS + 1)).eval()
    batch = Interaction({"item_id_list": torch.tensor([[3, 1, 2, 4]]), "item_length": torch.tensor([4])})
    with torch.no_grad():
        assert model.full_sort_predict(batch).numel() == N_ITEMS + 1


@pytest.mark.parametrize("name", ["runs/none", "model.pth", ""])
def test_an_unknown_run_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="A run is a folder"):
        load(name)


def test_a_run_without_weights_says_so(own_copy: Path) -> None:
    (own_copy / "model.pth").unlink()
    with pytest.raises(CheckpointError, match="no weights"):
        load(own_copy)
