from __future__ import annotations

import numpy as np
import pytest

from recbole_nasr.data.table import Column
from recbole_nasr.errors import NumericalError
from recbole_nasr.serving import measured
from recbole_nasr.serving.measured import Latency, checked_parity, latency_text, measure_latency, measure_parity
from recbole_nasr.serving.network import Runner

LENGTH, N_ITEMS = 4, 9


def runner(error: float = 0.0, swapped: int = 0) -> Runner:
    """Gives the last item of a history, then 0; scores 2 and 1, the first off by ``error``; some rows swapped."""

    def run(item_seq: Column, item_seq_len: Column) -> tuple[Column, Column]:
        last = item_seq[np.arange(len(item_seq)), item_seq_len - 1]
        ids = np.stack([last, np.zeros_like(last)], axis=1)
        ids[:swapped] = ids[:swapped, ::-1]
        scores = np.tile(np.array([[2.0, 1.0]], dtype=np.float32), (len(ids), 1))
        scores[0, 0] += np.float32(error)
        return ids, scores

    return run


def test_parity_counts_equal_rows_and_keeps_the_largest_difference() -> None:
    found = measure_parity(runner(), runner(0.5, swapped=3), LENGTH, N_ITEMS)
    assert (found.n_rows, found.n_same) == (257, 257 - 3 - 1)  # three of the batch, and the first one alone
    assert (found.largest, found.scale) == (0.5, 2.0)
    assert found.text() == "parity: 257 random histories, the same items in 253, largest difference of a score 5.0e-01"


@pytest.mark.parametrize(("error", "holds"), [(1e-4, True), (3e-4, False), (np.nan, False), (np.inf, False)])
def test_a_file_whose_scores_are_others_or_none_is_refused(error: float, holds: bool) -> None:
    assert measure_parity(runner(), runner(error), LENGTH, N_ITEMS).holds is holds
    if not holds:
        with pytest.raises(NumericalError, match=r"must give the scores.*nothing was kept"):
            checked_parity(runner(), runner(error), LENGTH, N_ITEMS)


def test_where_nothing_is_left_to_recommend_both_have_no_score() -> None:
    def nothing(item_seq: Column, item_seq_len: Column) -> tuple[Column, Column]:
        return np.zeros((len(item_seq), 1), dtype=np.int64), np.full((len(item_seq), 1), -np.inf, dtype=np.float32)

    assert measure_parity(nothing, nothing, LENGTH, N_ITEMS).largest == 0.0


def test_latency_is_the_median_of_rounds_in_which_both_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    now, turns = [0.0], []
    monkeypatch.setattr(measured.time, "perf_counter", lambda: now[0])

    def lasting(name: str, seconds: list[float]) -> Runner:
        def run(item_seq: Column, item_seq_len: Column) -> tuple[Column, Column]:
            turns.append((name, len(item_seq)))
            now[0] += seconds[turns.count((name, len(item_seq))) % len(seconds)]
            return item_seq, item_seq_len

        return run

    slow, fast = lasting("slow", [9.0, 0.5, 0.25, 0.5]), lasting("fast", [0.125])
    found = measure_latency(slow, fast, LENGTH, N_ITEMS)
    assert [one.batch for one in found] == [1, 32, 1024]
    assert [(one.eager, one.exported, one.ratio) for one in found] == [(500.0, 125.0, 4.0)] * 3
    assert turns[2:6] == [("slow", 1), ("fast", 1)] * 2  # after one call of each to warm up


def test_the_table_of_latency_says_how_many_times_as_fast_and_how_many_histories(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measured, "device_name", lambda _: "a machine")
    lines = latency_text([Latency(32, 40.0, 16.0)], "model.onnx", LENGTH, N_ITEMS).splitlines()
    assert lines[0].startswith("latency on a machine, threads of each: ")
    assert lines[0].endswith("; sequences of 4, 8 items")
    assert lines[-1].split() == ["32", "40.00", "16.00", "2.50", "2,000"]
