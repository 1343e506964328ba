from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_nasr.data.layouts import LASTFM_FILE
from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.table import Interactions, Names
from recbole_nasr.data.windows import Sequences, cut_sequences
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


def table(events: list[tuple[str, str, float]]) -> Interactions:
    users, items = Names(), Names()
    user = [users.codes([name])[0] for name, _, _ in events]
    item = [items.codes([name])[0] for _, name, _ in events]
    time = np.array([time for _, _, time in events], np.float64)
    return Interactions(np.array(user), np.array(item), time, users.as_array(), items.as_array())


def listed(found: Sequences) -> list[tuple[str, int, list[str]]]:
    """User, number and items of every sequence."""
    items = np.split(found.histories.items[found.item], found.start[1:])
    users = found.histories.users[found.user].tolist()
    return [(user, *rest) for user, *rest in zip(users, found.window.tolist(), map(list, items), strict=False)]


def windows_of(raw: Interactions, **changes: Any) -> dict[tuple[str, int], str]:
    found = listed(cut_sequences(raw, options(**changes)))
    return {(user, window): "".join(items) for user, window, items in found}


def one_user(items: str) -> Interactions:
    return table([("u", item, time) for time, item in enumerate(items)])


def test_windows_start_at_the_start_of_a_history_and_do_not_overlap() -> None:
    assert windows_of(one_user("abcdefgh")) == {("u", 0): "abcd", ("u", 1): "efgh"}


@pytest.mark.parametrize(("key", "value"), [("window_stride", 2), ("max_end_gap", 60)])
def test_a_key_about_windows_is_refused_where_histories_stay_whole(key: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{key} is about windows, it is {value}, but with sequence_unit=user"):
        options(sequence_unit="user", **{key: value})
    assert PrepareOptions.from_config({"sequence_unit": "user"}, "lastfm").max_end_gap == 7200  # nobody asked for it


def test_the_largest_gap_may_be_empty_and_is_no_text() -> None:
    assert options(max_end_gap=None).max_end_gap is None
    with pytest.raises(ConfigError, match=r"max_end_gap must be empty \(null\) or seconds, at least 0, it is ''"):
        options(max_end_gap="")


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
    assert cut_sequences(one_user("abcdefgh"), options()).position.tolist() == [0, 1, 2, 3] * 2


def test_filters_repeated_until_stable_leave_nothing_rare() -> None:
    # After "z" and "v", "b" has one interaction left and goes; "u" keeps three and goes; nothing is left.
    raw = table([("u", item, t) for t, item in enumerate("aaab")] + [("v", item, t) for t, item in enumerate("aabz")])
    changes = {"min_item_interactions": 2, "min_user_interactions": 4, "filter_until_stable": True}
    assert windows_of(raw, **changes) == {}
    assert cut_sequences(raw, options(**changes)).dropped == {"rare items": 2, "rare users": 6, "in no window": 0}


def test_windows_whose_last_two_items_lie_too_far_apart_are_dropped() -> None:
    events = [
        ("u", item, time)
        for item, time in zip("abcdefgh", (0, 9999, 9999, 17199, 17200, 17201, 17202, 24403), strict=True)
    ]
    assert windows_of(table(events), max_end_gap=7200) == {("u", 0): "abcd"}  # 7,200 s is not longer than two hours
    assert cut_sequences(table(events), options(max_end_gap=7200)).dropped["windows with a late end"] == 4


def test_a_whole_history_is_one_sequence_of_the_user() -> None:
    raw = table([*(("u", item, time) for time, item in enumerate("abcdef")), ("v", "a", 0), ("v", "b", 1)])
    assert windows_of(raw, sequence_unit="user") == {("u", 0): "abcdef"}


def test_users_come_in_the_order_in_which_they_first_appear_after_the_filters() -> None:
    raw = table(
        [("v", "rare", 0), *(("u", "a", time) for time in range(4)), *(("v", "a", time) for time in range(1, 5))]
    )
    assert [user for user, _ in windows_of(raw, min_item_interactions=2)] == ["u", "v"]


@settings(deadline=None)
@given(
    sizes=st.lists(st.integers(1, 15), min_size=1, max_size=5),
    length=st.integers(4, 6),
    stride=st.integers(1, 8),
)
def test_every_window_is_a_stretch_of_one_history(sizes: list[int], length: int, stride: int) -> None:
    raw = table([(f"u{user}", f"{user}-{t}", t) for user, size in enumerate(sizes) for t in range(size)])
    found = cut_sequences(raw, options(window_length=length, window_stride=stride))
    expected = [
        (f"u{user}", start // stride, [f"{user}-{t}" for t in range(start, min(start + length, size))])
        for user, size in enumerate(sizes)
        for start in range(0, size, stride)
        if min(length, size - start) >= 4
    ]
    assert listed(found) == expected
    covered = {item for _, _, part in expected for item in part}
    assert found.dropped["in no window"] == len(raw) - len(covered)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("min_window_length", 3, "at least 4"),
        ("window_length", 9, "at least 10"),
        ("window_stride", 0, "from 1 to"),
        ("min_item_interactions", -1, "from 0 to"),
        ("min_user_interactions", 2.5, "whole number"),
        ("window_length", "thirty", "whole number"),
        ("window_stride", True, "whole number"),
        ("max_end_gap", -1, "at least 0"),
        ("filter_until_stable", 1, "True or False"),
        ("sequence_unit", "session", "one of window, user"),
        ("split_by", "tim", "Did you mean 'time'"),
        ("time_quantiles", [0.9, 0.8], "rising"),
        ("time_quantiles", 0.8, "rising"),
        ("time_unit", "minutes", "one of auto, s, ms"),
    ],
)
def test_an_impossible_option_is_refused_by_name(key: str, value: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=f"{key} must be .*{words}"):
        PrepareOptions.from_config({key: value})


@pytest.mark.parametrize(
    ("dataset", "given", "words"),
    [
        ("ml", {"time_quantiles": [0.5, 0.6]}, r"time_quantiles is about split_by=time, it is \[0.5, 0.6\], but"),
        ("shop", {"ml_release": "25m", "source": "a.csv"}, "ml_release is about MovieLens .* is '25m', but shop .*out"),
        ("lastfm", {"ml_release": "25m"}, "ml_release is about"),
        ("shop", {"lastfm_item": "name", "source": "a.csv.gz"}, "lastfm_item is about Last.FM, .* is 'name', but shop"),
        ("ml", {"lastfm_item": "id"}, "lastfm_item is about"),
        ("lastfm", {"time_unit": "ms"}, "time_unit is about times that are numbers, .* is 'ms', but lastfm"),
        ("mine", {"time_unit": "ms", "source": f"x/{LASTFM_FILE}.gz"}, "time_unit is about"),
    ],
)
def test_a_key_that_the_source_or_the_split_does_not_read_is_refused(
    dataset: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        PrepareOptions.from_config(given, dataset)


@pytest.mark.parametrize(
    ("dataset", "given"),
    [
        ("ml", {"time_quantiles": (0.8, 0.9)}),  # the default, which a file may well say
        ("ml", {"time_quantiles": [0.5, 0.6], "split_by": "time"}),
        ("ml", {"ml_release": "25m", "source": "ratings.csv"}),  # which outranks it
        ("ml", {"lastfm_item": "id_or_name", "time_unit": "s"}),
        ("shop", {"time_unit": "ms", "ml_release": None, "source": "a.csv"}),
        ("lastfm", {"time_unit": "auto", "lastfm_item": "id"}),
        ("lastfm", {"time_unit": "ms", "source": "own.tsv"}),  # may have numbers
        ("mine", {"lastfm_item": "id", "source": LASTFM_FILE}),
        ("mine", {"lastfm_item": "id", "time_unit": "ms", "source": "a.zip"}),  # nobody knows what is in it
        ("mine", {"lastfm_item": "id", "source": "."}),
    ],
)
def test_a_key_that_may_be_read_or_has_its_default_is_allowed(dataset: str, given: dict[str, Any]) -> None:
    PrepareOptions.from_config(given, dataset)


def test_missing_options_have_the_values_of_the_paper() -> None:
    chosen = PrepareOptions.from_config({})
    assert (chosen.ml_release, chosen.window_length, chosen.window_stride) == ("100k", 30, 30)
    assert (chosen.min_window_length, chosen.min_item_interactions, chosen.min_user_interactions) == (10, 5, 10)
    lastfm = PrepareOptions.from_config({}, "lastfm")
    assert (lastfm.window_length, lastfm.window_stride, lastfm.min_window_length) == (20, 20, 20)
    assert lastfm.max_end_gap == 2 * 3600
