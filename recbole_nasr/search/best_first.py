"""Choices of one entry from each of several lists, in the order of their sums."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence


def best_first(scores: Sequence[Sequence[float]]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield the sum and the indices of every choice of one score from each list, the smallest sum first.

    Nothing is added up before it is asked for, so the first few of very many choices cost little.
    """
    orders = [sorted(range(len(own)), key=own.__getitem__) for own in scores]

    def total(places: tuple[int, ...]) -> float:
        return float(sum(own[order[place]] for own, order, place in zip(scores, orders, places, strict=True)))

    start = (0,) * len(scores)
    queue, seen = [(total(start), start)], {start}
    while queue:
        score, places = heapq.heappop(queue)
        yield score, tuple(order[place] for order, place in zip(orders, places, strict=True))
        for number, order in enumerate(orders):
            following = (*places[:number], places[number] + 1, *places[number + 1 :])
            if following[number] < len(order) and following not in seen:
                seen.add(following)
                heapq.heappush(queue, (total(following), following))
