"""Whether the order of the items is informative: a first-order Markov model on the true and on a shuffled order."""

from __future__ import annotations

import numpy as np

from recbole_nasr.data.compact import Compact
from recbole_nasr.data.splits import TEST, TRAIN
from recbole_nasr.data.table import Column

TOP = 10
"""A case is a hit if the model has the true item among its first ten."""

_SEED = 2020


def order_signal(compact: Compact) -> dict[str, float]:
    """Evaluate a model that ranks the next item by how often it follows the last one in training.

    Ties, including items that never follow it, are ranked by frequency in training: the limit of a smoothed model as
    the smoothing vanishes. For comparison the items of every sequence are shuffled across all parts.

    Args:
        compact: The sequences.

    Returns:
        Share of test cases with a hit for the ``true`` and the ``shuffled`` order, 0..1; ``cases``, their number.
    """
    owner = np.repeat(np.arange(len(compact.length), dtype=np.int32), compact.length)
    items, part = np.asarray(compact.item), compact.part
    chance = np.random.default_rng(_SEED).random(len(items), dtype=np.float32)
    shuffled = items[np.lexsort((chance, owner))]
    follows = np.flatnonzero(owner[1:] == owner[:-1]) + 1
    train, test = follows[part[follows] == TRAIN], follows[part[follows] == TEST]
    hits = {name: _hit_share(order, train, test) for name, order in (("true", items), ("shuffled", shuffled))}
    return {**hits, "cases": len(test)}


def _hit_share(items: Column, train: Column, test: Column) -> float:
    size = int(items.max()) + 1
    popularity = np.bincount(items[train], minlength=size)
    place = np.empty(size, np.int64)  # 0 for the most popular item
    place[np.argsort(-popularity, kind="stable")] = np.arange(size)
    pairs, count = np.unique(items[train - 1].astype(np.int64) * size + items[train], return_counts=True)
    before, after = np.divmod(pairs, size)
    order = np.lexsort((place[after], -count, before))
    first = np.searchsorted(before, np.arange(size + 1))  # pairs are sorted: the successors of an item are one run
    rank = np.empty(len(pairs), np.int64)
    rank[order] = np.arange(len(pairs)) - first[before[order]]

    last, target = items[test - 1].astype(np.int64), items[test]
    found = np.searchsorted(pairs, last * size + target).clip(max=len(pairs) - 1)
    seen = pairs[found] == last * size + target
    known = (first[last + 1] - first[last])[~seen]
    ahead = known + place[target[~seen]]  # all successors, and the more popular items, less what is both
    for step in range(TOP):
        successor = after[order[(first[last[~seen]] + step).clip(max=len(pairs) - 1)]]
        ahead -= (step < known) & (place[successor] < place[target[~seen]])
    hits = np.count_nonzero(rank[found[seen]] < TOP) + np.count_nonzero((ahead < TOP) & (known < TOP))
    return hits / max(len(test), 1)
