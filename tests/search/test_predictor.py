from __future__ import annotations

import itertools
import random

import numpy as np
import pytest

from recbole_nasr.search.budget import Budget
from recbole_nasr.search.predictor import best_predicted, layer_values
from recbole_nasr.space.strata import empty_last

from .test_budget import TABLE

OPERATIONS = ("transformer_h2", "transformer_h4", "tcn_d1_2", "skip")
SPACE = list(itertools.product(range(4), repeat=3))


def predicted(values: np.ndarray, network: tuple[int, ...]) -> float:
    return float(values[range(len(network)), list(network)].sum())


def test_three_networks_of_one_layer_by_hand() -> None:
    # Features of the two kinds: family 1 and -1 apart, family in the layer 1/2, operation 1/4. The squares of their
    # difference add up to 2 * (1 + 1/4 + 1/16) = 21/8. Centred, the rows are 1/3, 1/3 and -2/3 of it: squares of 7/4 in
    # all. The ridge solution is along that difference, and explains the share 7/4 / (7/4 + 3) of the distance.
    values = layer_values([(0,), (0,), (2,)], [0.4, 0.4, 0.1], OPERATIONS)
    assert values[0, 0] - values[0, 2] == pytest.approx(0.3 * (7 / 4) / (7 / 4 + 3))


def test_the_same_scores_say_nothing_of_any_layer() -> None:
    assert np.abs(layer_values([(0, 1), (2, 3)], [0.2, 0.2], OPERATIONS)).max() == 0


def test_scores_that_are_twice_as_far_apart_have_values_that_are(rng: random.Random) -> None:
    networks = [rng.choice(SPACE) for _ in range(6)]
    scores = [rng.random() for _ in networks]
    once, twice = (layer_values(networks, [7 + by * score for score in scores], OPERATIONS) for by in (1, 2))
    assert twice == pytest.approx(2 * once)


@pytest.fixture
def rng() -> random.Random:
    return random.Random(1)


def test_what_layers_are_worth_is_found_from_enough_networks(rng: random.Random) -> None:
    draw = np.random.default_rng(0).normal
    family = np.array([0, 0, 1, 2])  # of each operation
    truth = draw(size=(3, 3))[:, family] + 0.3 * draw(size=4)  # a family has another value in each layer
    networks = rng.sample(SPACE, 48)
    values = layer_values(networks, [predicted(truth, network) for network in networks], OPERATIONS)
    unseen = [network for network in SPACE if network not in networks]
    found, true = (np.array([predicted(of, network) for network in unseen]) for of in (values, truth))
    assert np.corrcoef(found, true)[0, 1] > 0.9


def test_a_family_that_helps_is_worth_more_in_every_layer_even_where_it_was_never_seen() -> None:
    values = layer_values([(0, 0, 2), (0, 2, 2), (2, 2, 2)], [0.3, 0.2, 0.1], OPERATIONS)
    assert (values[:, 0] > values[:, 2]).all()
    assert (values[:, 1] > values[:, 2]).all()  # the other member of the family was not trained at all


@pytest.mark.parametrize("with_empty", [True, False])
def test_networks_come_by_their_prediction_and_within_the_budget_empty_layers_last(with_empty: bool) -> None:
    values = np.random.default_rng(2).normal(size=(3, 3))
    operations = TABLE.operations if with_empty else ("transformer_h2", "tcn_d1_2", "ffn")
    budget = Budget(3, 3, TABLE, {"parameters": 124})
    listed = list(best_predicted(values, operations, budget))
    scores = [predicted(values, network) for network in listed]
    assert scores == sorted(scores, reverse=True)
    names = [tuple(operations[op] for op in network) for network in listed]
    assert len(names) == len(set(names))
    assert set(names) == {
        empty_last([operations[op] for op in network])
        for network in itertools.product(range(3), repeat=3)
        if budget.fits(network)
    }
    assert len(names) < (15 if with_empty else 27)


def test_a_budget_of_fewer_layers_than_there_are_leaves_the_networks_that_are_shallow() -> None:
    budget = Budget(3, 4, TABLE, {"parameters": 113})  # of 13: one layer that is not empty, or two
    listed = list(best_predicted(np.random.default_rng(2).normal(size=(4, 3)), TABLE.operations, budget))
    expected = {
        empty_last([TABLE.operations[op] for op in network])
        for network in itertools.product(range(3), repeat=4)
        if budget.fits(network)
    }
    assert {tuple(TABLE.operations[op] for op in network) for network in listed} == expected
    assert max(4 - names.count("skip") for names in expected) < 4


def test_a_space_of_empty_layers_has_one_network() -> None:
    assert list(best_predicted(np.zeros((3, 1)), ["skip"], Budget(1, 3))) == [(0, 0, 0)]


def test_empty_layers_go_behind_the_others_which_keep_their_order() -> None:
    assert empty_last(["skip", "b", "skip", "a"]) == ("b", "a", "skip", "skip")
