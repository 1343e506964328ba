"""Choose a path from its scores, and say how sure the choice is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Matrix = npt.NDArray[np.float64]
Persons = npt.NDArray[np.int64]


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


def persons_of(group: npt.NDArray[np.int64]) -> Persons:
    """Return the persons of sequences as :func:`standard_error` takes them; with one, every sequence is a person."""
    _, person = np.unique(group, return_inverse=True)
    return person if person.max(initial=0) else np.arange(len(group))


def standard_error(values: Matrix, person: Persons) -> Matrix:
    """Return the standard error of the mean over the last axis.

    Persons are what was drawn: what several sequences of one have in common does not average out over them
    (cluster-robust errors, Liang and Zeger 1986). Where everyone has one sequence it is the usual one.

    Args:
        values: ``(..., N)``.
        person: ``(N,)`` whose value each is, numbers ``0..G - 1`` of ``G >= 2`` persons.
    """
    centred = values - values.mean(axis=-1, keepdims=True)
    order = np.argsort(person, kind="stable")
    _, starts = np.unique(person[order], return_index=True)
    of_person = np.add.reduceat(centred[..., order], starts, axis=-1)
    n_persons, n = len(starts), values.shape[-1]
    return np.asarray(np.sqrt((of_person**2).sum(axis=-1) * (n_persons / (n_persons - 1))) / n)


def select_path(
    distances: Matrix,
    person: Persons,
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
        person: ``(N,)`` whose sequence each is, as for :func:`standard_error`.
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
    paired = standard_error(distances - distances[best], person)
    ties = np.flatnonzero(free & (excess <= tie_standard_errors * paired))
    cheapest = min(ties.tolist(), key=lambda index: (flops[index], paths[index]))
    second = order[1] if free.sum() > 1 else best
    return Selection(
        order=tuple(order),
        selected=best if tie_break == "score" else int(cheapest),
        ties=tuple(int(index) for index in ties),
        scores=scores,
        standard_errors=standard_error(distances, person),
        paired_errors=paired,
        gap=float(excess[second]),
        gap_standard_error=float(paired[second]),
    )
