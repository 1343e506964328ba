"""How far a ranking of paths can be trusted: its gaps, its noise, and how much of it a trivial rule explains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from recbole_nasr.ops.registry import family_of

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the selection report says about one ranking, beside its ties; ``None`` where it cannot be told.

    Args:
        spread: Standard deviation of the scores over paths.
        median_gap: Score of the median path minus that of the best.
        median_gap_standard_error: Paired standard error of it over persons.
        p_second: Two-sided p-value of the paired t-test, over persons, of best against second. It takes no account of
            the best having been picked as such among many.
        p_median: The same of best against the median path.
        tau_halves: Kendall's τ between the rankings of two halves of the held-out persons.
        tau_views: Mean Kendall's τ between the rankings of different sets of views of the same sequences.
        view_noise: Standard deviation of a score over sets of views, common shifts aside, scaled to all sequences and
            pairs that a score is made of; to be held against ``spread``.
        predictors: Kendall's τ between how good a path is and how much it has of something trivial; 1 says that the
            ranking only prefers more of it. Constant ones are left out.
    """

    spread: float
    median_gap: float
    median_gap_standard_error: float
    p_second: float | None
    p_median: float | None
    tau_halves: float | None
    tau_views: float | None
    view_noise: float | None
    predictors: dict[str, float]

    def strongest_predictor(self) -> tuple[str, float] | None:
        """Return the trivial rule that agrees most with the ranking, or its opposite, with its τ."""
        return max(self.predictors.items(), key=lambda item: abs(item[1]), default=None)

    def content(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return asdict(self)


def kendall_tau(first: Array, second: Array) -> float | None:
    """Return Kendall's τ-b, or ``None`` where one of the two is constant."""
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(stats.kendalltau(first, second).statistic)


def paired_p(gap: float, standard_error: float, n_persons: int) -> float | None:
    """Return the two-sided p-value of a paired t-test over persons, or ``None`` where nothing varies."""
    if standard_error == 0:
        return None
    return float(2 * stats.t.sf(abs(gap) / standard_error, n_persons - 1))


def tau_of_halves(values: Array, group: Array) -> float | None:
    """Return τ between the scores of every other person's sequences and those of the rest.

    Args:
        values: ``(P, N)`` of ``P`` paths on ``N`` sequences.
        group: ``(N,)``, whose sequence each is.
    """
    _, person = np.unique(group, return_inverse=True)
    half = person % 2 == 0
    if half.all():
        return None
    return kendall_tau(values[:, half].mean(axis=1), values[:, ~half].mean(axis=1))


def view_agreement(views: Array, scale: float) -> tuple[float | None, float | None]:
    """Return the mean τ over pairs of view sets, and the noise of a score.

    Args:
        views: ``(V, P)`` scores of ``P`` paths from ``V`` sets of views.
        scale: What one set's noise is multiplied with to become that of a score.
    """
    if len(views) < 2 or views.shape[1] < 2:
        return None, None
    taus = [kendall_tau(first, second) for first, second in combinations(views, 2)]
    known = [tau for tau in taus if tau is not None]
    centred = views - views.mean(axis=1, keepdims=True)
    noise = math.sqrt(float(centred.var(axis=0, ddof=1).mean())) * scale
    return (float(np.mean(known)) if known else None), noise


def trivial_predictors(
    paths: Sequence[tuple[str, ...]], flops: Sequence[int], parameters: Sequence[int]
) -> dict[str, Array]:
    """Return what each path has of every operation, of every family of several, and its parameters and FLOPs."""
    operations = sorted({name for path in paths for name in path})
    families: dict[str, list[str]] = {}
    for name in operations:
        families.setdefault(family_of(name), []).append(name)
    groups = {name: [name] for name in operations}
    groups |= {family: names for family, names in families.items() if len(names) > 1}
    counts = {
        f"share of {group}": np.array([sum(name in names for name in path) for path in paths])
        for group, names in groups.items()
    }
    return {**counts, "parameters": np.array(parameters), "FLOPs": np.array(flops)}


def agreement(scores: Array, predictors: Mapping[str, Array]) -> dict[str, float]:
    """Return τ between ``-scores``, which are better when lower, and every predictor that is not constant."""
    taus = {name: kendall_tau(-scores, values) for name, values in predictors.items()}
    return {name: tau for name, tau in taus.items() if tau is not None}
