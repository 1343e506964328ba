"""Ties, repeats and duplicates in histories that are sorted by user and time."""

from __future__ import annotations

import numpy as np
import pandas as pd

from recbole_nasr.data.table import Column, Interactions


def tied_with_previous(histories: Interactions) -> Column:
    """Return which interactions have the same time as the previous one of the same user."""
    if not len(histories):
        return np.zeros(0, bool)
    same = (histories.time[1:] == histories.time[:-1]) & (histories.user[1:] == histories.user[:-1])
    return np.concatenate(([False], same))


def repeated_share(histories: Interactions) -> float:
    """Return the share of interactions with an item that the user has interacted with before, 0..1."""
    pairs = histories.user.astype(np.int64) * len(histories.items) + histories.item
    pairs.sort()
    return float(np.count_nonzero(pairs[1:] == pairs[:-1]) / len(pairs))


def n_duplicates(histories: Interactions, tied: Column) -> int:
    """Return how many interactions repeat user, item and time of an earlier one; ``tied`` as returned above."""
    moment = np.cumsum(~tied)
    rows = np.flatnonzero(tied | np.append(tied[1:], False))  # others cannot have one
    return int(pd.DataFrame({"moment": moment[rows], "item": histories.item[rows]}).duplicated().sum())
