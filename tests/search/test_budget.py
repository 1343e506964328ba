from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_nasr.errors import ConfigError
from recbole_nasr.nets import HybridNet
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, search
from recbole_nasr.search.blockwise import BlockwiseSearch
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable, measure_costs, n_parameters, network_latency_ms
from recbole_nasr.search.selection import select_path
from recbole_nasr.space import Architecture, SearchSpace

from .conftest import N_ITEMS

EVOLVED = {"scope": "whole", "objective": "next_item", "choice": "evolution"}
TABLE = CostTable(  # parameters, FLOPs, milliseconds
    ("transformer_h2", "tcn_d1_2", "skip"),
    np.array([[10.0, 3.0, 2.0], [7.0, 5.0, 4.0], [1.0, 9.0, 1.0]]),
    np.array([100.0, 50.0, 5.0]),
    "cpu",
)


def fitting(limits: dict[str, float], n_layers: int = 3) -> set[tuple[int, ...]]:
    """All networks within the limits, counted one by one."""
    names = ("parameters", "flops", "latency_ms")
    found = set()
    for path in itertools.product(range(3), repeat=n_layers):
        cost = TABLE.fixed + sum(TABLE.per_layer[op] for op in path)
        if all(cost[names.index(name)] <= limit for name, limit in limits.items()):
            found.add(path)
    return found


@pytest.mark.parametrize(
    "limits", [{}, {"parameters": 115}, {"flops": 65}, {"parameters": 119, "flops": 67}, {"latency_ms": 10}]
)
def test_a_beginning_fits_exactly_if_a_network_within_the_limits_begins_so(limits: dict[str, float]) -> None:
    budget = Budget(3, 3, TABLE, limits)
    networks = fitting(limits)
    for length in range(4):
        for layers in itertools.product(range(3), repeat=length):
            assert budget.fits(layers) == any(network[:length] == layers for network in networks)


def test_drawn_networks_are_within_the_limits_and_all_of_those_come_up() -> None:
    limits = {"parameters": 119.0, "flops": 67.0}
    budget, rng = Budget(3, 3, TABLE, limits), random.Random(0)
    assert {budget.draw(rng) for _ in range(500)} == fitting(limits)


def test_what_a_budget_allows_once_is_drawn_in_every_layer_equally_often() -> None:
    budget, rng = Budget(3, 3, TABLE, {"parameters": 112}), random.Random(0)  # one layer that is no skip
    counts = Counter(layer for _ in range(900) for layer, op in enumerate(budget.draw(rng)) if op != 2)
    # All three are skips with probability 1/27: a layer is expected 289 times, with a standard deviation of 14.
    assert all(220 < counts[layer] < 360 for layer in range(3))


def test_without_limits_every_network_is_drawn_equally_often() -> None:
    budget, rng = Budget(2, 2), random.Random(0)
    counts = Counter(budget.draw(rng) for _ in range(4000))
    assert len(counts) == 4
    assert all(900 < n < 1100 for n in counts.values())  # standard deviation 27


def test_the_cheapest_possible_network_is_named_when_no_network_fits() -> None:
    with pytest.raises(ConfigError, match=r"`max_parameters` must be at least 103, .*skip in all 3 layers.* is 102"):
        Budget(3, 3, TABLE, {"parameters": 102})
    with pytest.raises(ConfigError, match=r"at least 8\.000.*measured on cpu"):
        Budget(3, 3, TABLE, {"latency_ms": 7.9})
    assert Budget(3, 3, TABLE, {"parameters": 103}).fits((2, 2, 2))
    with pytest.raises(ConfigError, match=r"at least 10000103, .* is 1234567;"):
        Budget(3, 3, replace(TABLE, fixed=np.array([10.0**7 + 100, 50, 5])), {"parameters": 1234567})


def test_the_least_latency_that_is_named_can_be_met() -> None:
    slower = replace(TABLE, fixed=np.array([100.0, 50.0, 5.0004]))
    with pytest.raises(ConfigError, match=r"at least 8\.001, .* is 8\.0002;"):
        Budget(3, 3, slower, {"latency_ms": 8.0002})
    assert Budget(3, 3, slower, {"latency_ms": 8.001}).fits((2, 2, 2))


def test_limits_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="together"):
        Budget(3, 3, TABLE, {"parameters": 103, "flops": 59})


def test_a_sample_without_a_way_on_gets_one() -> None:
    budget = Budget(3, 3, TABLE, {"parameters": 112})  # of 12 for three layers: no transformer but with two skips
    assert budget.with_way_on([(0, 0), (1, 1)], (2,)) == [(0, 0), (0, 2), (1, 1)]
    assert budget.with_way_on([(2, 2)], (0,)) == [(2, 2)]


def test_a_latency_is_that_of_plain_operations_which_serve_a_network_though_it_trains_with_compiled_ones() -> None:
    network = HybridNet(Architecture.parse("tcn_d1_2,skip"), n_items=12, max_length=5)

    def compiled(*_: object) -> None:
        pytest.fail("The layers of a budget are measured as they are; so is the whole network.")

    network.layers[0]._compiled_call_impl = compiled
    assert network_latency_ms(network, 5) > 0
    assert network.layers[0]._compiled_call_impl is compiled  # training goes on with it


def test_costs_are_those_of_the_network_built() -> None:
    settings = LayerSettings(hidden_size=8)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    table = measure_costs(("transformer_h2", "tcn_d1_2"), settings=settings, n_items=12, max_length=5)
    assert torch.equal(torch.get_rng_state(), before)
    layers = ("tcn_d1_2", "transformer_h2", "tcn_d1_2")
    costs = table.of(layers)
    network = HybridNet(Architecture((layers,)), n_items=12, max_length=5, settings=settings)
    assert costs["parameters"] == n_parameters(network)
    flops = [operation_flops(name, settings, 5) for name in layers]
    assert costs["flops"] == sum(flops) + 2 * 8 * 11
    assert costs["latency_ms"] > table.of(layers[:1])["latency_ms"] > 0


def problem_of(
    sequences: SearchSequences, layers: tuple[int, ...] = (2, 1), limit: float = 112, **settings: Any
) -> SearchProblem:
    """Parameters of 112 are three skips, or two and one other layer; a limit of 103 leaves a single network."""
    return SearchProblem(
        sequences=sequences,
        space=SearchSpace(("transformer_h2", "tcn_d1_2", "skip"), layers),
        n_items=N_ITEMS,
        layer_settings=LayerSettings(hidden_size=8),
        settings=SearchSettings(epochs=1, batch_size=8, holdout_ratio=0.3, **settings),
        seed=1,
        budget=Budget(3, 3, TABLE, {"parameters": limit}),
    )


@pytest.mark.parametrize(
    ("settings", "limit"),
    [
        ({}, 112),
        ({"beam": 3, "max_enumerated_paths": 2}, 112),
        ({"scope": "whole", "objective": "next_item"}, 103),
        ({**EVOLVED, "evolution_networks": 9, "evolution_population": 4}, 112),
    ],
    ids=["block by block", "beam and sample", "whole", "evolution"],
)
def test_every_search_stays_within_the_budget(
    settings: dict[str, Any], limit: float, make_sequences: Callable[..., SearchSequences]
) -> None:
    problem = problem_of(make_sequences(12), limit=limit, **settings)
    found = search(problem)
    for architecture in (found.architecture, *found.kept):
        assert problem.budget_in_force.fits(problem.space.path_of(architecture.layers))
    for block in found.blocks:
        assert block.selected not in block.over_budget
        assert not set(block.over_budget) & {*block.ties, block.best}
        free = np.sort(np.delete(block.scores, block.over_budget))
        assert block.evidence.median_gap == pytest.approx(free[len(free) // 2] - free[0])
        if not settings:  # the paper's choice
            assert block.selected == block.best


def test_behind_each_choice_of_a_beam_those_paths_are_over_budget_that_it_leaves_no_room_for(
    make_sequences: Callable[..., SearchSequences],
) -> None:
    search_run = BlockwiseSearch(problem_of(make_sequences(12), (1, 1, 1), beam=9))
    search_run.run()
    assert len(search_run.choices) == 7  # all that the budget allows
    for choice in search_run.choices:
        for index, block in enumerate(choice.rankings):
            before = tuple(op for path in choice.prefix[:index] for op in path)
            allowed = [search_run.budget.fits((*before, op)) for op in range(3)]
            assert block.over_budget == tuple(op for op in range(3) if not allowed[op])


def test_paths_over_budget_take_no_part_in_best_second_and_ties() -> None:
    distances = np.array([[1.0, 1.0], [2.0, 2.0], [2.5, 2.5], [9.0, 9.0]])
    paths = [(0,), (1,), (2,), (3,)]
    allowed = [False, True, True, False]
    found = select_path(
        distances, np.arange(2), paths, [1] * 4, tie_standard_errors=2, tie_break="score", allowed=allowed
    )
    assert (found.selected, found.ties, found.gap) == (1, (1,), 0.5)
    assert set(found.order[:2]) == {1, 2}
    allowed = [False, True, False, False]
    alone = select_path(
        distances, np.arange(2), paths, [1] * 4, tie_standard_errors=2, tie_break="score", allowed=allowed
    )
    assert (alone.selected, alone.ties, alone.gap) == (1, (1,), 0.0)
