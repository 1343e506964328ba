from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from recbole_nasr.data import order_signal as module
from recbole_nasr.data.compact import Compact
from recbole_nasr.data.order_signal import order_signal


def sequences(items: list[list[int]]) -> Compact:
    length = np.array([len(part) for part in items])
    part = np.concatenate([[0] * (size - 2) + [1, 2] for size in length]).astype(np.int8)
    nothing = np.zeros(0)
    flat = np.concatenate(items).astype(np.int32)
    return Compact(length, nothing, flat, nothing, part, nothing, nothing, nothing)


def test_a_cycle_is_always_predicted_and_its_shuffle_is_not() -> None:
    cycle = [[1 + (start + step) % 50 for step in range(12)] for start in range(50)]
    signal = order_signal(sequences(cycle))
    assert signal["true"] == 1.0
    assert signal["shuffled"] < 0.9
    assert signal["cases"] == 50


@pytest.mark.parametrize("top", [1, 2, 4])
def test_the_share_of_hits_is_that_of_counting_by_hand(monkeypatch: pytest.MonkeyPatch, top: int) -> None:
    monkeypatch.setattr(module, "TOP", top)
    rng = np.random.default_rng(0)
    items = [rng.integers(1, 9, rng.integers(4, 12)).tolist() for _ in range(40)]
    pairs = Counter((a, b) for part in items for a, b in pairwise(part[:-2]))
    popularity = Counter(b for part in items for b in part[1:-2])
    hits = 0
    for part in items:
        scores = {b: (-pairs[part[-2], b], -popularity[b], b) for b in range(1, 9)}
        hits += sorted(scores.values()).index(scores[part[-1]]) < top
    assert order_signal(sequences(items))["true"] == hits / len(items)
