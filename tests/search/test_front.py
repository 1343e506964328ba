from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, search
from recbole_nasr.search.costs import COSTS, CostTable
from recbole_nasr.search.front import MOST_POINTS, search_fronts, thinned, undominated
from recbole_nasr.search.shortlist import network_of
from recbole_nasr.space import SearchSpace

from .conftest import N_ITEMS


def test_a_front_has_what_nothing_undercuts_in_both() -> None:
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 2.5), (3.0, 1.0), (4.0, 1.5)]
    assert undominated(points) == [1, 2, 0]
    assert undominated([]) == []


@pytest.mark.parametrize("n_points", [MOST_POINTS, MOST_POINTS + 1, 7 * MOST_POINTS])
def test_a_front_of_any_length_is_kept_from_end_to_end_and_is_no_longer_than_the_limit(n_points: int) -> None:
    kept = thinned(list(range(n_points)))
    steps = np.diff(kept)
    assert (kept[0], kept[-1], len(kept)) == (0, n_points - 1, MOST_POINTS)
    assert 1 <= steps.min() <= steps.max() <= -(-n_points // MOST_POINTS) + 1


def test_the_front_over_blocks_is_that_of_all_networks_one_by_one(
    make_sequences: Callable[..., SearchSequences],
) -> None:
    space = SearchSpace(("transformer_h2", "tcn_d1_2", "skip"), (2, 1))
    sequences = make_sequences(12)
    settings = SearchSettings(epochs=1, batch_size=8, holdout_ratio=0.3)
    layer_settings = LayerSettings(hidden_size=8)
    problem = SearchProblem(
        sequences=sequences, space=space, n_items=N_ITEMS, layer_settings=layer_settings, settings=settings, seed=1
    )
    blocks = [replace(block, selected=1) for block in search(problem).blocks]
    costs = np.array([[10.0, 3.0, 2.0], [7.0, 5.0, 4.0], [1.0, 9.0, 1.0]])
    table = CostTable(space.operations, costs, np.array([100.0, 50.0, 5.0]), "cpu")
    found = search_fronts(blocks, space, table)
    every = []
    for indices in itertools.product(*(range(len(block.paths)) for block in blocks)):
        excess = sum(block.scores[i] - block.scores[block.selected] for block, i in zip(blocks, indices, strict=True))
        every.append((network_of(blocks, indices, space), float(excess)))
    for cost in COSTS:
        expected = undominated((table.of(network.layers)[cost], excess) for network, excess in every)
        front = [point for point in found if point.cost == cost]
        assert [point.costs[cost] for point in front] == [table.of(every[i][0].layers)[cost] for i in expected]
        assert [point.excess for point in front] == [pytest.approx(every[i][1]) for i in expected]
    assert {point.cost for point in found} == set(COSTS)
