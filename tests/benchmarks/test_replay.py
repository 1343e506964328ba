from __future__ import annotations

import itertools
from typing import Any

import pytest

from benchmarks.strategies.replay import Recorded, replay
from recbole_nasr.space import SearchSpace

SPACE = SearchSpace(("tcn_d1_2", "transformer_h4"), (4,))
WORTH = {1: 0.02, 2: 0.01}  # of a layer of attention by the training with each seed, on test


def record(layers: tuple[str, ...], seed: int) -> dict[str, Any]:
    n = layers.count("transformer_h4")
    curve = [[epoch, 0.1 + 0.01 * n * epoch / 8] for epoch in range(1, 9)]
    return {"curve": curve, "valid": {"ndcg@20": curve[-1][1]}, "test": {"ndcg@20": WORTH[seed] * n}}


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, Any]]:
    networks = list(itertools.product(SPACE.operations, repeat=4))
    runs = {layers: {seed: record(layers, seed) for seed in WORTH} for layers in networks}
    drawn = [layers for layers in networks if len(set(layers)) > 1]
    return {row["strategy"]: row for row in replay(Recorded(SPACE, runs, drawn), 3)}


def test_a_choice_is_judged_by_the_trainings_with_the_other_seeds(rows: dict[str, dict[str, Any]]) -> None:
    pure = rows["pure networks"]  # attention alone, whichever seed it is chosen by
    assert (pure["networks"], pure["epochs"]) == (2, 16)
    assert pure["valid"] == pytest.approx(0.14)
    assert pure["test"] == pytest.approx((0.04 + 0.08) / 2)


def test_strategies_train_as_many_networks_as_they_say_and_halving_fewer_epochs(
    rows: dict[str, dict[str, Any]],
) -> None:
    assert {name: row["networks"] for name, row in rows.items() if name.endswith(", 8")} == {
        "random, 8": 8,
        "halving, 8": 8,
        "predictor, 8": 8,
    }
    assert rows["random, 8"]["epochs"] == rows["predictor, 8"]["epochs"] == 64
    assert rows["halving, 8"]["epochs"] < 64


def test_a_gain_is_over_one_random_network(rows: dict[str, dict[str, Any]]) -> None:
    assert rows["one at random"]["test gain"] == 0
    assert rows["predictor, 8"]["valid gain"] == pytest.approx(0.14 / rows["one at random"]["valid"] - 1)
