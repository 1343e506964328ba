"""The networks worth considering: no other is both better and cheaper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from recbole_nasr.search.costs import COSTS, CostTable
from recbole_nasr.search.result import BlockRanking
from recbole_nasr.search.shortlist import network_of
from recbole_nasr.space import Architecture, SearchSpace

MOST_POINTS = 1000
"""Of a front; without a limit it could grow with every block by as many times as a block has paths."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class FrontPoint:
    """One network of a front.

    Args:
        cost: The kind of cost that the front is drawn against.
        architecture: The network.
        excess: Its score minus that of the network that the search chose; lower is better.
        costs: All its costs.
    """

    cost: str
    architecture: Architecture
    excess: float
    costs: dict[str, float]


def undominated(points: Iterable[tuple[float, float]]) -> list[int]:
    """Return the indices of those ``(cost, score)`` that nothing undercuts in both, cheapest first; lower is better."""
    listed = list(points)
    kept: list[int] = []
    for index in sorted(range(len(listed)), key=listed.__getitem__):
        if not kept or listed[index][1] < listed[kept[-1]][1]:
            kept.append(index)
    return kept


def thinned(front: list[_T]) -> list[_T]:
    """Return at most `MOST_POINTS` of a front, evenly along it and with both ends."""
    if len(front) <= MOST_POINTS:
        return front
    return [front[round(place * (len(front) - 1) / (MOST_POINTS - 1))] for place in range(MOST_POINTS)]


def search_fronts(blocks: Sequence[BlockRanking], space: SearchSpace, table: CostTable) -> list[FrontPoint]:
    """Return the front of score against each kind of cost, over all networks that the ranked paths make.

    Scores and costs are taken to add up over blocks, as in :func:`~recbole_nasr.search.shortlist.whole_networks`, so
    that the front of the first blocks and that of the next give that of both. Of a front of more than `MOST_POINTS`
    networks, as very many blocks with costs that are measured have, as many stand for the others, after every block.
    """
    found = []
    costs = [[table.of(path) for path in block.paths] for block in blocks]
    for cost in COSTS:
        front: list[tuple[float, float, tuple[int, ...]]] = [(0.0, 0.0, ())]
        for block, of_paths in zip(blocks, costs, strict=True):
            # What every network costs besides its layers is in every step and changes no front.
            steps = [
                (own[cost], float(score - block.scores[block.selected]))
                for own, score in zip(of_paths, block.scores, strict=True)
            ]
            kept = undominated(steps)
            longer = [
                (spent + steps[index][0], excess + steps[index][1], (*way, index))
                for spent, excess, way in front
                for index in kept
            ]
            front = thinned([longer[index] for index in undominated((spent, excess) for spent, excess, _ in longer)])
        for _, excess, way in front:
            network = network_of(blocks, way, space)
            found.append(FrontPoint(cost, network, excess, table.of(network.layers)))
    return found
