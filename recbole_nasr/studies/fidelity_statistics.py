"""How far a signal ranks networks as their trainings do: rank correlations, regret, and bootstrap intervals.

Every statistic takes rows of equal samples of networks and gives one number per row, so that thousands of resamples
take one call; SciPy has no such form of Kendall's τ. With one row they give SciPy's numbers. τ of resamples, of which a
page has some hundred thousand, has a way of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from recbole_nasr.statistics import CONFIDENCE

Array = npt.NDArray[np.float64]
Pairs = Sequence[tuple[Array, Array]]
"""What a signal says and what the trainings gave, ``(n,)`` each, once for each seed; higher is better in both."""

N_BOOTSTRAP = 2000
TOP = 4
"""The top quarter is the best ``ceil(n / TOP)`` networks by the truth."""

_AT_ONCE = 4_000_000  # numbers, 32 MB


@dataclass(frozen=True)
class Measure:
    """One statistic of one signal.

    Args:
        value: Mean over seeds; nan where a side is constant.
        low: Lower end of the bootstrap interval over networks.
        high: Upper end.
    """

    value: float
    low: float = math.nan
    high: float = math.nan


def tau(signal: Array, truth: Array) -> Array:
    """Return Kendall's τ-b of each row of ``signal (B, n)`` and ``truth (B, n)``; nan where one is constant."""
    n_rows, n = signal.shape
    size = max(1, _AT_ONCE // (n * n))
    found = []
    for start in range(0, n_rows, size):
        x, y = (_signs(side[start : start + size]) for side in (signal, truth))
        ties = np.sqrt((x * x).sum(axis=(1, 2)) * (y * y).sum(axis=(1, 2)))
        found.append(_ratio((x * y).sum(axis=(1, 2)), ties))
    return np.concatenate(found)


def _signs(values: Array) -> Array:
    signs: Array = np.sign(values[:, :, None] - values[:, None, :])
    return signs


def _ratio(above: Array, below: Array) -> Array:
    return np.divide(above, below, out=np.full_like(above, np.nan), where=below > 0)


def tau_of_samples(signal: Array, truth: Array, rows: npt.NDArray[np.int64]) -> Array:
    """Return :func:`tau` of every sample of networks in ``rows (B, n)``; ``signal`` and ``truth`` are ``(n,)``.

    A sample that has network i ``c[i]`` times has each pair (i, j) ``c[i] * c[j]`` times, so that all samples are two
    products of matrices, and the same whole numbers are added up.
    """
    counts = np.zeros(rows.shape)
    np.add.at(counts, (np.arange(len(rows))[:, None], rows), 1)
    x, y = (_signs(side[None])[0] for side in (signal, truth))

    def over_pairs(values: Array) -> Array:
        summed: Array = ((counts @ values) * counts).sum(axis=1)
        return summed

    return _ratio(over_pairs(x * y), np.sqrt(over_pairs(x * x) * over_pairs(y * y)))


def rho(signal: Array, truth: Array) -> Array:
    """Return Spearman's rank correlation of each row; nan where one is constant."""
    x, y = (stats.rankdata(side, axis=1) for side in (signal, truth))
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    return _ratio((x * y).sum(axis=1), np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1)))


def top_tau(signal: Array, truth: Array) -> Array:
    """Return τ-b among the quarter of each row that is best by ``truth``: can the signal tell good from best?"""
    n_top = math.ceil(truth.shape[1] / TOP)
    best = np.argsort(-truth, axis=1, kind="stable")[:, :n_top]
    return tau(np.take_along_axis(signal, best, axis=1), np.take_along_axis(truth, best, axis=1))


def regret(signal: Array, truth: Array) -> Array:
    """Return how far the network that the signal puts first stays behind the best; the mean over those it ties."""
    first = signal == signal.max(axis=1, keepdims=True)
    regrets: Array = truth.max(axis=1) - (truth * first).sum(axis=1) / first.sum(axis=1)
    return regrets


STATISTICS: dict[str, Callable[[Array, Array], Array]] = {
    "tau": tau,
    "rho": rho,
    "top tau": top_tau,
    "regret": regret,
}


def resamples(n: int, n_bootstrap: int = N_BOOTSTRAP) -> npt.NDArray[np.int64]:
    """Return ``(B, n)`` indices of networks drawn with replacement."""
    return np.random.default_rng(0).integers(n, size=(n_bootstrap, n))


def of_rows(statistic: Callable[[Array, Array], Array], pairs: Pairs, rows: npt.NDArray[np.int64]) -> Array:
    """Return the mean over ``pairs`` of a statistic of every sample of networks in ``rows (B, n)``, as ``(B,)``."""
    if statistic is tau:
        stacked = np.stack([tau_of_samples(signal, truth, rows) for signal, truth in pairs])
    else:
        stacked = np.stack([statistic(signal[rows], truth[rows]) for signal, truth in pairs])
    mean: Array = stacked.mean(axis=0)
    return mean


def interval(values: Array) -> tuple[float, float]:
    """Return the percentile interval of bootstrap ``values``; resamples without an answer (nan) are left out."""
    known = values[~np.isnan(values)]
    if not known.size:
        return math.nan, math.nan
    low, high = np.quantile(known, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def measures(pairs: Pairs, rows: npt.NDArray[np.int64]) -> dict[str, Measure]:
    """Return every statistic of a signal, with its interval over the resamples ``rows (B, n)`` of the networks."""
    everyone = np.arange(len(pairs[0][0]))[None]
    found = {}
    for name, statistic in STATISTICS.items():
        value = float(of_rows(statistic, pairs, everyone)[0])
        found[name] = Measure(value, *interval(of_rows(statistic, pairs, rows)))
    return found


def excess(pairs: Pairs, rules: Mapping[str, Pairs], rows: npt.NDArray[np.int64]) -> Measure:
    """Return τ of a signal minus that of the trivial rule that does best, whichever way round it is used.

    The best rule is found in each resample anew; it is chosen with the truth in hand, which no user could, so this is
    hard on the signal.
    """
    everyone = np.arange(len(pairs[0][0]))[None]

    def difference(sample: npt.NDArray[np.int64]) -> Array:
        best = np.stack([np.abs(of_rows(tau, rule, sample)) for rule in rules.values()])
        known: Array = of_rows(tau, pairs, sample) - np.nan_to_num(best).max(axis=0)
        return known

    return Measure(float(difference(everyone)[0]), *interval(difference(rows)))


def between_seeds(scores: Mapping[int, Array]) -> float:
    """Return the mean τ between the scores from any two seeds; nan with one."""
    sides = list(scores.values())
    pairs = [(a, b) for place, a in enumerate(sides) for b in sides[place + 1 :]]
    return float(np.mean([tau(a[None], b[None])[0] for a, b in pairs])) if pairs else math.nan
