"""Choose a path from its scores, and say how sure the choice is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """The outcome of :func:`select_path`; fields as in :class:`~recbole_nasr.search.result.BlockRanking`.

    ``order`` has all indices, best first.
    """

    order: tuple[int, ...]
    selected: int
    ties: tuple[int, ...]
    scores: Matrix
    standard_errors: Matrix
    paired_errors: Matrix
    gap: float
    gap_standard_error: float


def standard_error(values: Matrix) -> Matrix:
    """Return the standard error of the mean over the last axis."""
    return np.asarray(values.std(axis=-1, ddof=1) / np.sqrt(values.shape[-1]))


def select_path(
    distances: Matrix,
    paths: Sequence[Sequence[object]],
    flops: Sequence[int],
    *,
    tie_standard_errors: float,
    tie_break: str,
    allowed: Sequence[bool] | None = None,
) -> Selection:
    """Choose a path from the mean scores (Eq. 7: distances), and find those it is tied with.

    Two paths are compared on the same sequences, so the standard error of their difference is the paired one.

    Args:
        distances: ``(P, N)``, of ``P`` paths on ``N >= 2`` sequences.
        paths: The paths, as operation indices; anything that sorts.
        flops: Cost of each path.
        tie_standard_errors: A path is tied with the best when its mean exceeds the best by no more than this many
            paired standard errors; 0 leaves exact ties only.
        tie_break: ``score`` chooses the lowest mean distance, ``flops`` the cheapest path of the tie. What is still
            equal goes to the fewest FLOPs, then to lexicographic order.
        allowed: Which paths may be chosen, at least one; all of them if not given. The best, its second, its ties and
            the paired errors are then those of the paths that may be; the others stand last in the order.
    """
    scores = distances.mean(axis=1)
    free = np.ones(len(paths), dtype=bool) if allowed is None else np.asarray(allowed, dtype=bool)
    order = sorted(range(len(paths)), key=lambda index: (not free[index], scores[index], flops[index], paths[index]))
    best = order[0]
    excess = scores - scores[best]
    paired = standard_error(distances - distances[best])
    ties = np.flatnonzero(free & (excess <= tie_standard_errors * paired))
    cheapest = min(ties.tolist(), key=lambda index: (flops[index], paths[index]))
    second = order[1] if free.sum() > 1 else best
    return Selection(
        order=tuple(order),
        selected=best if tie_break == "score" else int(cheapest),
        ties=tuple(int(index) for index in ties),
        scores=scores,
        standard_errors=standard_error(distances),
        paired_errors=paired,
        gap=float(excess[second]),
        gap_standard_error=float(paired[second]),
    )
