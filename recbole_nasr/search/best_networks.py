"""The networks of the lowest scores within a budget, where scores add up over the parts of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import Costs
from recbole_nasr.space import Path

Indices = npt.NDArray[np.int64]

FIRST, GROWTH = 16, 8
"""Networks that are looked for at once: so many, and then so many times more."""

MOST, MOST_AT_ONCE = 20_000, 4_000_000
"""Networks that are found, and beginnings that are kept from part to part, at most; beginnings that are compared."""

_DIGITS = 9  # costs that differ less are equal: sums in another order


def best_networks(
    parts: Sequence[Sequence[Path]], scores: Sequence[npt.NDArray[np.float64]], budget: Budget
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield the added score of a network and the index of its path in every part, the lowest score first.

    Of all beginnings of a network that cost the same only the best can be part of the best networks, so the best few
    of each cost are kept and continued part by part. That is exact as long as no more than ``MOST`` are kept and no
    more than ``MOST_AT_ONCE`` compared; beyond that, those of the lowest scores are. A beginning that cannot be ended
    within the budget is dropped at once.

    Args:
        parts: The paths to choose from, for each block or layer of a network in order.
        scores: Of each of them, lower is better.
        budget: What a network may cost.
    """
    n_seen, n = 0, FIRST
    while True:
        found = _lowest(parts, scores, budget, n)
        yield from found[n_seen:]
        if len(found) < n or n >= MOST:
            return
        n_seen, n = len(found), min(n * GROWTH, MOST)


def _lowest(
    parts: Sequence[Sequence[Path]], scores: Sequence[npt.NDArray[np.float64]], budget: Budget, n: int
) -> list[tuple[float, tuple[int, ...]]]:
    totals, spent = np.zeros(1), budget.costs_of([()])
    ways: Indices = np.zeros((1, 0), dtype=np.int64)
    n_left = budget.n_layers
    for paths, own in zip(parts, scores, strict=True):
        n_left -= len(paths[0])
        costs = budget.costs_of(paths)
        useful = np.argsort(own, kind="stable")
        useful = useful[_first_of_each(costs[useful], n)]
        begun = slice(max(1, MOST_AT_ONCE // len(useful)))
        total = (totals[begun, None] + own[None, useful]).reshape(-1)
        cost = (spent[begun, None] + costs[None, useful]).reshape(len(total), costs.shape[1])
        possible = np.flatnonzero(budget.can_end(cost, n_left))
        order = possible[np.argsort(total[possible], kind="stable")]
        order = order[_first_of_each(cost[order], n)][:MOST]
        rows, chosen = np.divmod(order, len(useful))
        totals, spent = total[order], cost[order]
        ways = np.concatenate([ways[rows], useful[chosen][:, None]], axis=1)
    return [(float(total), tuple(way)) for total, way in zip(totals[:n], ways[:n].tolist(), strict=True)]


def _first_of_each(costs: Costs, n: int) -> Indices:
    """Return the rows of ``costs (N, C)`` that fewer than ``n`` equal ones precede, in order."""
    if not costs.shape[1]:
        return np.arange(min(n, len(costs)))
    scale = np.abs(costs).max(axis=0, initial=1e-300)
    _, kind = np.unique(np.round(costs / scale, _DIGITS), axis=0, return_inverse=True)
    order = np.argsort(kind.reshape(-1), kind="stable")
    sizes = np.bincount(kind.reshape(-1))
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[place < n])
