"""The paper's protocol (§4.1.1): filter, sort, cut every history into windows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.table import Column, Interactions, by_appearance, starts_of_runs


@dataclass(frozen=True)
class Sequences:
    """The sequences that become users of RecBole: windows of the histories, or whole histories.

    Attributes:
        histories: Interactions without rare items and users, stably sorted by user and time.
        row: ``(T,)`` row of ``histories`` of every item, for the concatenated sequences.
        length: ``(N,)`` number of items of every sequence.
        window: ``(N,)`` number of the sequence within its user, from 0, dropped windows included.
        dropped: Number of interactions dropped by each step, in the order of the steps.
    """

    histories: Interactions
    row: Column
    length: Column
    window: Column
    dropped: dict[str, int]

    @property
    def start(self) -> Column:
        """``(N,)`` index in ``row`` of every sequence's first item."""
        return np.cumsum(self.length) - self.length

    @property
    def item(self) -> Column:
        """``(T,)`` code of every item."""
        return self.histories.item[self.row]

    @property
    def position(self) -> Column:
        """``(T,)`` position of every item within its sequence, from 0."""
        return _ranges(self.length)

    @property
    def user(self) -> Column:
        """``(N,)`` code of the person every sequence belongs to."""
        return self.histories.user[self.row[self.start]]


def cut_sequences(raw: Interactions, options: PrepareOptions) -> Sequences:
    """Apply the protocol to raw interactions.

    Items are filtered first and users second: applied once in this order, the filters give the numbers of sequences,
    actions and items of MovieLens 100K in the README. Interactions of one user with equal times keep the order of the
    file. Window numbers count dropped windows, so that names do not depend on the shortest length.

    Args:
        raw: The interactions as they were read.
        options: Thresholds and window sizes.
    """
    kept, dropped = _without_rare(raw, options)
    # Users keep the order in which they first appear, so that the result does not depend on how names sort.
    histories = kept.take(np.lexsort((kept.time, by_appearance(kept.user)[0])))
    row, length, window = _windows(histories.user, options)
    fits = length >= options.min_window_length
    row, length, window = row[np.repeat(fits, length)], length[fits], window[fits]
    left = _n_covered(row, len(histories))
    dropped["in no window"] = len(histories) - left
    if options.max_end_gap is not None and options.sequence_unit == "window":
        end = np.cumsum(length) - 1
        close = histories.time[row[end]] - histories.time[row[end - 1]] <= options.max_end_gap
        row, length, window = row[np.repeat(close, length)], length[close], window[close]
        dropped["windows with a late end"] = left - _n_covered(row, len(histories))
    return Sequences(histories, row, length, window, dropped)


def _without_rare(raw: Interactions, options: PrepareOptions) -> tuple[Interactions, dict[str, int]]:
    keep = np.ones(len(raw), bool)
    dropped = {"rare items": 0, "rare users": 0}
    filters = (
        ("rare items", raw.item, options.min_item_interactions),
        ("rare users", raw.user, options.min_user_interactions),
    )
    while True:
        before = sum(dropped.values())
        for step, codes, least in filters:
            rare = keep & (np.bincount(codes[keep], minlength=1 + codes.max(initial=0)) < least)[codes]
            dropped[step] += int(np.count_nonzero(rare))
            keep &= ~rare
        if not options.filter_until_stable or sum(dropped.values()) == before:
            return raw.take(keep), dropped


def _windows(user: Column, options: PrepareOptions) -> tuple[Column, Column, Column]:
    """Return rows, lengths and numbers of all windows of the sorted ``user`` column, including short ones."""
    starts = starts_of_runs(user)
    sizes = np.diff(np.append(starts, len(user)))
    if options.sequence_unit == "user":
        return np.arange(len(user)), sizes, np.zeros_like(sizes)
    place = _ranges(sizes)
    parts = []
    # An interaction is in several windows only where the stride is shorter than the window.
    for back in range(-(-options.window_length // options.window_stride)):
        window = place // options.window_stride - back
        inside = (window >= 0) & (place - window * options.window_stride < options.window_length)
        parts.append((np.flatnonzero(inside), window[inside]))
    row, window = (np.concatenate(column) for column in zip(*parts, strict=True))
    owner = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[row]
    if len(parts) > 1:
        order = np.lexsort((row, window, owner))
        row, window, owner = row[order], window[order], owner[order]
    first = np.union1d(starts_of_runs(owner), starts_of_runs(window))
    return row, np.diff(np.append(first, len(row))), window[first]


def _ranges(sizes: Column) -> Column:
    """Count from 0 within every run of the given sizes."""
    return np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def _n_covered(rows: Column, size: int) -> int:
    covered = np.zeros(size, bool)
    covered[rows] = True
    return int(np.count_nonzero(covered))
