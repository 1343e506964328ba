from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recbole.data.dataset import SequentialDataset

from recbole_nasr.data.lazy import LazySequentialDataset
from recbole_nasr.errors import DataError

from .conftest import HEADER, write_atomic

SPLITS = [{"LS": "valid_and_test"}, {"LS": "test_only"}, {"LS": "valid_only"}, {"RS": [0.6, 0.2, 0.2]}]
GROUPS = ["user", "none"]


def eval_args(split: dict[str, Any], group_by: str = "user") -> dict[str, Any]:
    return {"split": split, "order": "TO", "group_by": group_by, "mode": {"valid": "full", "test": "full"}}


def assert_same_rows(theirs: Any, ours: Any) -> None:
    assert len(theirs) == len(ours)
    index = np.arange(len(theirs))
    expected, got = theirs[index], ours[index]
    assert set(got.columns) == set(expected.columns)
    for field in expected.columns:
        assert got[field].dtype == expected[field].dtype, field
        assert torch.equal(got[field], expected[field]), field


def assert_same_datasets(make: Callable[[], Any]) -> None:
    assert_same_parts(SequentialDataset(make()).build(), LazySequentialDataset(make()).build())


def assert_same_parts(theirs: list[Any], ours: list[Any]) -> None:
    for their_part, our_part in zip(theirs, ours, strict=True):
        assert_same_rows(their_part, our_part)
        if len(their_part):
            assert (their_part.inter_matrix("csr") != our_part.inter_matrix("csr")).nnz == 0
            assert their_part.item_counter == our_part.item_counter


history = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    histories=st.lists(history, min_size=1, max_size=5),
    shuffle=st.randoms(use_true_random=False),
    length=st.integers(1, 6),
    split=st.sampled_from(SPLITS),
    group_by=st.sampled_from(GROUPS),
)
@example(histories=[[(1, 0)], [(1, 0), (2, 0)]], shuffle=None, length=1, split=SPLITS[0], group_by="user")
def test_rows_are_those_of_recbole_on_random_data(
    tmp_path: Path, make_config: Any, histories: Any, shuffle: Any, length: int, split: Any, group_by: str
) -> None:
    rows = [
        (f"u{user}", f"i{item}", item + time, time) for user, events in enumerate(histories) for item, time in events
    ]
    if shuffle is not None:
        shuffle.shuffle(rows)
    write_atomic(tmp_path, "toy.inter", HEADER, rows)
    keys = {"MAX_ITEM_LIST_LENGTH": length, "eval_args": eval_args(split, group_by)}
    assert_same_datasets(lambda: make_config("toy", tmp_path, **keys))


def test_rows_are_those_of_recbole_with_user_and_item_features_and_sequence_fields(
    tmp_path: Path, make_config: Any
) -> None:
    rows = [
        ("u1", "a", 3, "x y", "0.5 1", 2),
        ("u1", "b", 1, "y", "2", 1),
        ("u1", "c", 2, "z x y", "", 3),
        ("u1", "a", 2, "x", "1 2 3", 4),
        ("u2", "b", 4, "y z", "4", 1),
        ("u2", "c", 4, "", "5", 1),
    ]
    header = HEADER.replace("\ttimestamp", "\ttags:token_seq\tvalues:float_seq\ttimestamp")
    write_atomic(tmp_path, "toy.inter", header, rows)
    write_atomic(tmp_path, "toy.user", "user_id:token\tage:float", [("u1", 30), ("u2", 40)])
    write_atomic(tmp_path, "toy.item", "item_id:token\tclass:token_seq", [("a", "p q"), ("b", "q"), ("c", "")])
    assert_same_datasets(lambda: make_config("toy", tmp_path, load_col=None, MAX_ITEM_LIST_LENGTH=2))


def test_unused_columns_and_unused_histories_are_dropped_as_in_recbole(toy_config: Any) -> None:
    for unused in (["rating"], ["rating_list"], ["rating", "rating_list", "timestamp_list"]):
        assert_same_datasets(
            lambda unused=unused: toy_config([[1, 2, 3, 4, 1], [2, 3, 1, 4]], unused_col={"inter": unused})
        )


def test_every_row_of_ml_100k_is_that_of_recbole(make_config: Any, recbole_100k: list[Any]) -> None:
    ours = LazySequentialDataset(make_config("ml-100k", MAX_ITEM_LIST_LENGTH=20)).build()
    assert_same_parts(recbole_100k, ours)


def test_benchmark_files_are_left_to_recbole(tmp_path: Path, make_config: Any) -> None:
    header = "user_id:token\titem_id_list:token_seq\titem_id:token"
    for part, rows in {
        "train": [("u", "a", "b")],
        "valid": [("u", "a b", "c")],
        "test": [("u", "a b c", "a")],
    }.items():
        write_atomic(tmp_path, f"toy.{part}.inter", header, rows)
    keys = {
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": None,
        "alias_of_item_id": ["item_id_list"],
    }
    theirs = SequentialDataset(make_config("toy", tmp_path, **keys)).build()
    ours = LazySequentialDataset(make_config("toy", tmp_path, **keys)).build()
    for their_part, our_part in zip(theirs, ours, strict=True):
        assert_same_rows(their_part, our_part)
    with pytest.raises(DataError, match="benchmark_filename"):
        ours[0].earlier_items(torch.tensor([0]))


def test_any_index_that_recbole_takes_gives_the_same_rows(toy_config: Any) -> None:
    make = lambda: toy_config([[1, 2, 3, 4, 1], [2, 3, 1, 4]])  # noqa: E731
    theirs, ours = SequentialDataset(make()), LazySequentialDataset(make())
    theirs.build(), ours.build()
    size = len(theirs)
    for index in (
        0,
        [1, 0],
        [],
        slice(1, 3),
        torch.tensor([2]),
        np.array([1]),
        [True] + [False] * (size - 1),
    ):
        expected, got = theirs[index], ours[index]
        for field in expected.columns:
            assert torch.equal(got[field], expected[field]), (index, field)


def test_stored_numbers_do_not_grow_with_the_length_of_a_history(toy_config: Any) -> None:
    def stored(length: int) -> int:
        part = LazySequentialDataset(toy_config([list(range(1, 30))] * 3, MAX_ITEM_LIST_LENGTH=length)).build()[0]
        columns = [*part.inter_feat.interaction.values(), *part._flat.values()]
        return sum(column.numel() for column in columns)

    assert stored(2) == stored(200)


def test_a_saved_data_set_gives_the_same_rows(toy_config: Any) -> None:
    dataset = LazySequentialDataset(toy_config([[1, 2, 3, 4, 1], [2, 3, 1, 4]]))
    before_build = pickle.loads(pickle.dumps(dataset))  # noqa: S301  # our own bytes
    for part, saved in zip(dataset.build(), before_build.build(), strict=True):
        assert_same_rows(part, saved)
        assert_same_rows(part, pickle.loads(pickle.dumps(saved)))  # noqa: S301


def test_earlier_items_are_the_whole_history_before_the_target(toy_config: Any) -> None:
    dataset = LazySequentialDataset(toy_config([[1, 2, 3, 4, 5], [3, 1, 2, 5]], MAX_ITEM_LIST_LENGTH=1))
    test = dataset.build()[2]
    names = dataset.field2id_token["item_id"]
    got = [[names[i] for i in row if i] for row in test.earlier_items(torch.arange(2)).tolist()]
    assert sorted(got) == [["i1", "i2", "i3", "i4"], ["i3", "i1", "i2"]]
    assert test.earlier_items(torch.zeros(0, dtype=torch.int64)).shape == (0, 0)


@pytest.mark.parametrize(
    ("header", "rows", "words"),
    [
        (HEADER, [], "at least one interaction"),
        ("user_id:token\titem_id:token\trating:float", [("u", "i", 1)], "'timestamp'"),
        ("user_id:token\titem:token\trating:float\ttimestamp:float", [("u", "i", 1, 2)], "mean"),
        (HEADER, [("u", "i", 1, "noon")], r"line 2.*noon"),
        ("user_id\titem_id\ttimestamp", [("u", "i", 1)], "name:type"),
        (HEADER, [("u", "i")], "line 2"),
        (HEADER, [("u", "i", 1, 5), ("u", "j", 1, ""), ("u", "k", 1, 6)], "line 3: timestamp:float needs a finite"),
        (HEADER, [("u", "i", 1, 5), ("u", "j", 1, "inf")], "line 3: timestamp:float needs a finite"),
        (HEADER, [("u", '"i', 1, 5), ("u", "j", 1, 6), ("v", 'k"', 1, 7)], "line 2: item_id:token begins with a quot"),
    ],
)
def test_an_unreadable_file_is_one_line_that_names_it(
    tmp_path: Path, make_config: Any, header: str, rows: Any, words: str
) -> None:
    write_atomic(tmp_path, "toy.inter", header, rows)
    with pytest.raises(DataError, match=words) as caught:
        LazySequentialDataset(make_config("toy", tmp_path))
    assert "toy.inter" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_undecodable_bytes_are_an_error_of_the_data(tmp_path: Path, make_config: Any) -> None:
    (tmp_path / "toy.inter").write_bytes(HEADER.encode() + b"\nu\t\xff\xfe\t1\t2\n")
    with pytest.raises(DataError, match=r"toy\.inter"):
        LazySequentialDataset(make_config("toy", tmp_path))


def test_a_missing_file_is_an_error_of_the_data(tmp_path: Path, make_config: Any) -> None:
    with pytest.raises(DataError, match="does not exist"):
        LazySequentialDataset(make_config("toy", tmp_path))


def test_a_time_field_that_is_not_loaded_is_named(toy_config: Any) -> None:
    with pytest.raises(DataError, match="load_col"):
        LazySequentialDataset(toy_config([[1, 2, 3, 4]], load_col={"inter": ["user_id", "item_id"]}))


def test_filters_that_leave_nothing_are_named(toy_config: Any) -> None:
    with pytest.raises(DataError, match="user_inter_num_interval"):
        LazySequentialDataset(toy_config([[1, 2, 3, 4]], user_inter_num_interval="[9,inf)"))
