"""Padding left out of the work, where it is known where padding is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

READ_AT_ONCE = ("cpu",)
"""Kinds of devices whose values are read without a wait. Elsewhere padding is computed like anything else."""

CPU_ROWS = 128
"""Rows that a CPU passes through a network together: with more, what a layer puts out does not stay in its cache."""

FEWEST_ROWS_OF_PASS = 32
"""Rows of a pass below which a CPU is slower for each."""

WORTH_A_PASS = 1 / 12
"""The part of the positions of a pass that two passes have to save to be faster, about."""


def rows_with_targets(hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows of ``hidden (M, D)`` and ``targets (M,)`` that have a target, or all on a GPU."""
    if hidden.device.type not in READ_AT_ONCE:
        return hidden, targets
    real = (targets > 0).nonzero().squeeze(1)
    return hidden.index_select(0, real), targets[real]


def passes(length: Tensor, width: int, most: int | None = None) -> Iterator[tuple[Tensor | slice, int]]:
    """Say which right-padded rows to pass through a network together, and how wide they have to be.

    On a CPU rows of about one length pass together, and no wider than the longest of them, since all operations are
    causal. On a GPU they pass in their order and whole.

    Args:
        length: ``(B,)`` real positions of each row.
        width: Positions of a row.
        most: Rows that pass together at most; by default 128 on a CPU and all on a GPU.

    Yields:
        Rows, and how many of their first positions; every row once. They are a slice where the order stays.
    """
    if length.device.type not in READ_AT_ONCE:
        size = most or max(1, length.size(0))
        yield from ((slice(start, start + size), width) for start in range(0, length.size(0), size))
        return
    rising, order = length.sort(stable=True)
    lengths = rising.tolist()
    parts = list(_parts(lengths, 0, len(lengths), most or CPU_ROWS)) if lengths else []
    as_they_come = len(parts) == 1 or rising.equal(length)
    for part in parts:
        yield part if as_they_come else order[part], max(1, lengths[part.stop - 1])


def _parts(lengths: Sequence[int], start: int, stop: int, most: int) -> Iterator[slice]:
    """Halve the rows from ``start`` to ``stop``, shortest first, while they are too many or the shorter half gains."""
    middle = (start + stop) // 2
    saved = (lengths[stop - 1] - lengths[middle - 1]) / (2 * max(1, lengths[stop - 1]))
    if stop - start > most or (saved > WORTH_A_PASS and middle - start >= FEWEST_ROWS_OF_PASS):
        yield from _parts(lengths, start, middle, most)
        yield from _parts(lengths, middle, stop, most)
    else:
        yield slice(start, stop)
