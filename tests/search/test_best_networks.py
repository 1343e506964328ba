from __future__ import annotations

import itertools

import numpy as np
import pytest

from recbole_nasr.search import best_networks as module
from recbole_nasr.search.best_networks import best_networks
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable

from .test_budget import TABLE

PARTS = [[(0, 1), (1, 0), (1, 1), (2, 0), (2, 2)], [(0,), (1,), (2,)]]  # the first two cost the same
SCORES = [np.array([0.1, 0.12, 0.5, 0.2, 0.9]), np.array([0.3, 0.45, 0.0])]


def listed(budget: Budget) -> dict[tuple[int, ...], float]:
    found = list(best_networks(PARTS, SCORES, budget))
    assert [score for score, _ in found] == sorted(score for score, _ in found)
    assert len({indices for _, indices in found}) == len(found)
    return {indices: score for score, indices in found}


@pytest.mark.parametrize("limits", [{}, {"parameters": 115}, {"parameters": 118, "flops": 67}, {"latency_ms": 11.5}])
def test_every_network_within_the_budget_comes_once_in_the_order_of_its_added_score(limits: dict[str, float]) -> None:
    budget = Budget(3, 3, TABLE, limits)
    expected = {
        (a, b): SCORES[0][a] + SCORES[1][b]
        for a, b in itertools.product(range(5), range(3))
        if budget.fits((*PARTS[0][a], *PARTS[1][b]))
    }
    assert 0 < len(expected) < 15 or not limits
    assert listed(budget) == {indices: pytest.approx(score) for indices, score in expected.items()}


def test_more_are_found_than_are_looked_for_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST", 2)
    monkeypatch.setattr(module, "GROWTH", 2)
    assert len(listed(Budget(3, 3, TABLE, {"parameters": 118}))) > 4


def deep(limit: float) -> tuple[list[list[tuple[int]]], list[np.ndarray], Budget]:
    """Sixteen layers, of which the better operation is the dearer one."""
    costs = np.array([[9.0, 0, 0], [8.9, 0, 0], [2.0, 0, 0], [1.9, 0, 0]])
    table = CostTable(("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4"), costs, np.zeros(3), "cpu")
    scores = np.random.default_rng(0).normal(size=(16, 4)) * 0.1 - costs[:, 0]
    return [[(op,) for op in range(4)]] * 16, list(scores), Budget(4, 16, table, {"parameters": limit})


def test_the_best_of_a_large_space_is_found_where_the_budget_forbids_what_scores_prefer() -> None:
    parts, scores, budget = deep(16 * 5)  # half-way between the cheapest network and the dearest
    score, indices = next(best_networks(parts, scores, budget))
    assert budget.fits(indices)
    # No network with one or two layers changed is better and within the budget.
    for first, second in itertools.combinations(range(16), 2):
        for op, other in itertools.product(range(4), repeat=2):
            changed = [*indices]
            changed[first], changed[second] = op, other
            total = sum(own[op] for own, op in zip(scores, changed, strict=True))
            assert total >= score - 1e-9 or not budget.fits(tuple(changed))


def test_the_best_of_blocks_of_many_paths_are_those_that_trying_all_finds() -> None:
    draw = np.random.default_rng(1)
    blocks = [[tuple(path) for path in draw.integers(3, size=(1024, 8)).tolist()] for _ in range(2)]
    table = CostTable(("transformer_h2", "tcn_d1_2", "skip"), draw.random((3, 3)) + 1, np.zeros(3), "cpu")
    limits = {"parameters": 24.0, "latency_ms": 27.0}
    budget = Budget(3, 16, table, limits)
    scores = [draw.normal(size=1024) for _ in blocks]
    found = list(itertools.islice(best_networks(blocks, scores, budget), 5))
    assert 0 < budget.can_end(budget.costs_of(blocks[0]), 8).mean() < 1
    every = scores[0][:, None] + scores[1][None]
    fits = budget.can_end(budget.costs_of(blocks[0])[:, None] + budget.costs_of(blocks[1])[None], 0)
    assert [score for score, _ in found] == pytest.approx(np.sort(every[fits])[:5].tolist())


@pytest.mark.parametrize("limited", [False, True])
def test_the_first_of_very_many_are_found_by_comparing_few(limited: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, scores, budget = deep(16 * 2.5)
    compared = []

    def can_end(self: Budget, spent: np.ndarray, n_left: int) -> np.ndarray:
        compared.append(len(spent))
        return possible(self, spent, n_left)

    possible = Budget.can_end
    monkeypatch.setattr(Budget, "can_end", can_end)
    within = budget if limited else Budget(4, 16)
    compared.clear()
    assert len(list(itertools.islice(best_networks(parts, scores, within), 10))) == 10
    assert sum(compared) < (100_000 if limited else 1_500)  # of 4^16 networks
