from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.windows import cut_windows
from recbole_nasr.errors import ConfigError


def options(**changes: Any) -> PrepareOptions:
    loose = {
        "window_length": 4,
        "window_stride": None,
        "min_window_length": 4,
        "min_item_interactions": 0,
        "min_user_interactions": 0,
    }
    return PrepareOptions.from_config({**loose, **changes})


def table(events: list[tuple[str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(events, columns=["user", "item", "time"])


def windows_of(raw: pd.DataFrame, **changes: Any) -> dict[tuple[str, int], str]:
    result = cut_windows(raw, options(**changes)).windows
    return {key: "".join(part["item"]) for key, part in result.groupby(["user", "window"], sort=False)}


def one_user(items: str) -> pd.DataFrame:
    return table([("u", item, time) for time, item in enumerate(items)])


def test_windows_start_at_the_start_of_a_history_and_do_not_overlap() -> None:
    assert windows_of(one_user("abcdefgh")) == {("u", 0): "abcd", ("u", 1): "efgh"}


def test_a_tail_shorter_than_the_least_length_is_dropped_and_a_longer_one_kept() -> None:
    kept = {("u", 0): "abcdef", ("u", 1): "ghij"}
    assert windows_of(one_user("abcdefghij"), window_length=6) == kept
    assert windows_of(one_user("abcdefghi"), window_length=6) == {("u", 0): "abcdef"}


def test_a_shorter_stride_makes_windows_overlap_and_a_longer_one_leaves_gaps() -> None:
    assert windows_of(one_user("abcdefg"), window_stride=2) == {("u", 0): "abcd", ("u", 1): "cdef"}
    assert windows_of(one_user("abcdefghij"), window_stride=6) == {("u", 0): "abcd", ("u", 1): "ghij"}


def test_interactions_are_ordered_by_time_and_ties_keep_the_order_of_the_file() -> None:
    raw = table([("u", "d", 9), ("u", "b", 5), ("v", "x", 1), ("u", "a", 5), ("u", "c", 5)])
    assert windows_of(raw) == {("u", 0): "bacd"}


def test_items_are_filtered_before_users_and_only_once() -> None:
    # "z" goes first; then "v" has three left and goes; then "b" is rare, and stays, as nothing is repeated.
    raw = table([("u", item, t) for t, item in enumerate("aaab")] + [("v", item, t) for t, item in enumerate("aabz")])
    assert windows_of(raw, min_item_interactions=2, min_user_interactions=4) == {("u", 0): "aaab"}


def test_positions_count_from_zero_in_every_window() -> None:
    result = cut_windows(one_user("abcdefgh"), options()).windows
    assert result["position"].tolist() == [0, 1, 2, 3] * 2


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=5),
    length=st.integers(4, 6),
    stride=st.integers(1, 8),
)
def test_every_window_is_a_stretch_of_one_history(sizes: list[int], length: int, stride: int) -> None:
    raw = table([(f"u{user}", f"{user}-{t}", t) for user, size in enumerate(sizes) for t in range(size)])
    result = cut_windows(raw, options(window_length=length, window_stride=stride)).windows
    expected = [
        (f"u{user}", start // stride, [f"{user}-{t}" for t in range(start, min(start + length, size))])
        for user, size in enumerate(sizes)
        for start in range(0, size, stride)
        if min(length, size - start) >= 4
    ]
    groups = result.groupby(["user", "window"], sort=False)["item"]
    assert [(*key, items.tolist()) for key, items in groups] == expected


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("min_window_length", 3, "at least 4"),
        ("window_length", 9, "at least 10"),
        ("window_stride", 0, "at least 1"),
        ("min_item_interactions", -1, "at least 0"),
        ("min_user_interactions", 2.5, "whole number"),
        ("window_length", "thirty", "whole number"),
        ("window_stride", True, "whole number"),
    ],
)
def test_an_impossible_option_is_refused_by_name(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be .*{words}"):
        PrepareOptions.from_config({key: value})


def test_missing_options_have_the_values_of_the_paper() -> None:
    assert PrepareOptions.from_config({}) == PrepareOptions("100k", 30, 30, 10, 5, 10)
