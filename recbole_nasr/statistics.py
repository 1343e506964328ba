"""Is one model better than another? Paired tests and intervals from the ranks of single test cases.

Of each case the ranks of all models are known, so models are compared case by case: what makes a case easy or hard
for all of them cancels. Only NumPy and SciPy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from recbole_nasr.errors import ConfigError, DataError

Values = npt.NDArray[np.float64]

CONFIDENCE = 0.95
"""Of every interval."""

SIGNIFICANT = 0.05
"""A difference is clear if its p-value, adjusted for all comparisons shown together, is below this."""

_DIGITS = 12  # differences closer than this are ties; without rounding the last bit would break them
_FEW = 13  # cases, of which all 8192 patterns of signs are tried; SciPy's own limit
_DRAWS_AT_ONCE = 4_000_000  # numbers, 32 MB
_METRIC = re.compile(r"(ndcg|recall|hit|mrr)@([1-9]\d*)")


@dataclass(frozen=True)
class Comparison:
    """What a comparison of ``a`` with ``b`` on the same cases gives.

    Args:
        mean_difference: Mean of ``a - b``; positive when ``a`` is better.
        interval: Lower and upper end of its bootstrap interval, at :data:`CONFIDENCE`.
        p_value: Of the two-sided Wilcoxon signed-rank test, not corrected for other comparisons; 1 if no case differs.
        side: Whom the signed ranks of that test favour: 1 for ``a``, -1 for ``b``, 0 for neither. The mean may favour
            the other one, where many small differences stand against a few large ones.
    """

    mean_difference: float
    interval: tuple[float, float]
    p_value: float
    side: int

    def better(self, p_value: float) -> int:
        """Return who is clearly better, as for ``side``: 0 unless a significant test and the interval both say so.

        The test supposes that differences are symmetric around their mean. Those of a ranking metric seldom are, so it
        can reject for models with equal means; the interval of the mean supposes no shape, but is for one comparison.

        Args:
            p_value: Corrected for the other comparisons.
        """
        nearest = min(self.side * end for end in self.interval)  # end of the interval, away from 0 on that side
        return self.side if p_value < SIGNIFICANT and nearest > 0 else 0


def is_metric_per_case(name: str) -> bool:
    """Return whether :func:`metric_per_case` knows the metric.

    Example:
        >>> is_metric_per_case("NDCG@10"), is_metric_per_case("averagepopularity@10")
        (True, False)
    """
    return _METRIC.fullmatch(name.lower()) is not None


def metric_per_case(ranks: npt.ArrayLike, name: str) -> Values:
    """Return the metric of every case with one target.

    Args:
        ranks: ``(N,)`` ranks of the targets, 1 being best.
        name: ``ndcg@K``, ``recall@K``, ``hit@K`` (the same as recall with one target) or ``mrr@K``.

    Returns:
        ``(N,)``; 0 where the rank is above K, else ``1 / log2(rank + 1)``, 1, 1 or ``1 / rank``.

    Raises:
        ConfigError: If there is no such metric.
        DataError: If a rank is below 1.

    Example:
        >>> metric_per_case([1, 3, 11], "ndcg@10")
        array([1. , 0.5, 0. ])
    """
    found = _METRIC.fullmatch(name.lower())
    if found is None:
        msg = f"A metric per case is ndcg@K, recall@K, hit@K or mrr@K with K of at least 1, but is {name!r}."
        raise ConfigError(msg)
    places = np.asarray(ranks, dtype=np.float64)
    if places.size and not places.min() >= 1:
        msg = f"Ranks count from 1, but one is {places.min():g}."
        raise DataError(msg)
    kind, cut = found[1], int(found[2])
    gain = {"ndcg": 1 / np.log2(places + 1), "mrr": 1 / places}.get(kind, np.ones_like(places))
    return np.where(places <= cut, gain, 0.0)


def paired_comparison(a: npt.ArrayLike, b: npt.ArrayLike, *, n_bootstrap: int = 10_000, seed: int = 0) -> Comparison:
    """Compare two models on the same cases.

    Args:
        a: ``(N,)`` metric of each case under the first model.
        b: ``(N,)`` the same cases under the second, in the same order.
        n_bootstrap: Resamples of the cases.
        seed: Of the resampling.

    Raises:
        DataError: If there are no cases, their numbers differ, or a value is not finite.
    """
    first, second = _checked(a), _checked(b)
    if first.shape != second.shape:
        msg = f"Models are compared on the same cases, but one has {len(first)} and the other {len(second)}."
        raise DataError(msg)
    differences = np.round(first - second, _DIGITS)
    mean, interval = mean_and_interval(differences, seed, n_bootstrap=n_bootstrap)
    known = differences[differences != 0]  # cases without a difference say nothing about its sign (Wilcoxon's own way)
    signed_ranks = np.sign(known) * stats.rankdata(np.abs(known))
    side = int(np.sign(signed_ranks.sum()))
    return Comparison(mean, interval, _signed_rank_p_value(signed_ranks), side)


def difference_of_means(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Return the two-sided p-value of Welch's t-test: do the means differ of what ``a (N,)`` and ``b (M,)`` came from?

    The numbers are not paired and may have unequal spread.

    Returns:
        ``nan`` where it says nothing: if a side has fewer than two numbers, or no number differs from its mean.

    Raises:
        DataError: If a side has no number, or one is not finite.
    """
    first, second = _checked(a), _checked(b)
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return float("nan")
    return float(stats.ttest_ind(first, second, equal_var=False).pvalue)


def _signed_rank_p_value(signed_ranks: Values) -> float:
    """Return the p-value of Wilcoxon's signed-rank test: exact for few cases, whether or not differences are equal."""
    if len(signed_ranks) < 2:
        return 1.0  # either sign is as extreme as the other
    if len(signed_ranks) > _FEW:
        return float(stats.wilcoxon(signed_ranks).pvalue)  # the ranks of ranks are the ranks

    def total(patterns: Values, axis: int) -> Values:
        return patterns.sum(axis)

    # SciPy's test would try the same patterns of signs, but one after another, which takes seconds.
    found = stats.permutation_test(
        (signed_ranks,), total, permutation_type="samples", vectorized=True, n_resamples=2**_FEW
    )
    return float(found.pvalue)


def mean_and_interval(
    values: npt.ArrayLike, seed: int, *, n_bootstrap: int = 10_000
) -> tuple[float, tuple[float, float]]:
    """Return the mean of ``values (N,)`` and its percentile bootstrap interval at :data:`CONFIDENCE`.

    A metric takes few distinct values, so a resample is drawn as how often each of them occurs: the same distribution
    as drawing single cases, at a cost that does not grow with ``N``.

    Raises:
        DataError: If there are no values, or one is not finite.
    """
    array = _checked(values)
    distinct, counts = np.unique(array, return_counts=True)
    if len(distinct) == 1:
        return float(distinct[0]), (float(distinct[0]), float(distinct[0]))
    generator = np.random.default_rng(seed)
    chunk = max(1, _DRAWS_AT_ONCE // len(distinct))
    sizes = [min(chunk, n_bootstrap - start) for start in range(0, n_bootstrap, chunk)]
    means = np.concatenate(
        [generator.multinomial(len(array), counts / len(array), size) @ distinct / len(array) for size in sizes]
    )
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(array.mean()), (float(low), float(high))


def holm(p_values: Sequence[float] | npt.ArrayLike) -> Values:
    """Return Holm's adjusted p-values, in the order given: compare each with the level for the whole family.

    The smallest of ``m`` is multiplied by ``m``, the next by ``m - 1`` and so on; none is below an earlier one, or
    above 1.

    Raises:
        DataError: If one is not in ``[0, 1]``.

    Example:
        >>> holm([0.01, 0.04, 0.03]).round(4).tolist()
        [0.03, 0.06, 0.06]
    """
    given = np.asarray(p_values, dtype=np.float64)
    if given.size and not ((given >= 0) & (given <= 1)).all():
        msg = f"p-values lie between 0 and 1, but are {given.tolist()}."
        raise DataError(msg)
    order = np.argsort(given, kind="stable")
    scaled = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return adjusted


def _checked(values: npt.ArrayLike) -> Values:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not len(array) or not np.isfinite(array).all():
        msg = f"Statistics need at least one case and finite values, but got {len(array)} values."
        raise DataError(msg)
    return array
