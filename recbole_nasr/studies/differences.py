"""Paired comparisons between the rows of a study, on the same test cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recbole_nasr.statistics import (
    Comparison,
    Values,
    difference_of_means,
    holm,
    is_metric_per_case,
    metric_per_case,
    paired_comparison,
)
from recbole_nasr.studies.tables import Row

_N_BOOTSTRAP = 2000


@dataclass(frozen=True)
class Difference:
    """The reference minus another row, on the same test cases, each averaged over its seeds.

    Args:
        dataset: Name of the data set.
        reference: Name of the reference row.
        other: Name of the other row.
        metric: Such as ``ndcg@10``.
        n_sequences: Sequences compared.
        comparison: Mean difference, interval and p-value.
        p_holm: The p-value over all comparisons of the study.
        p_networks: Of Welch's t-test between the networks of both rows; see :meth:`Row.of_networks`. ``nan`` where a
            row has one run, or another metric.
    """

    dataset: str
    reference: str
    other: str
    metric: str
    n_sequences: int
    comparison: Comparison
    p_holm: float
    p_networks: float

    @property
    def significant(self) -> bool:
        """Whether it is, over all comparisons together, and the interval is on the side of the test."""
        return self.comparison.better(self.p_holm) != 0


def differences(rows: Sequence[Row], reference: str, compare: tuple[str, Any] | None = None) -> list[Difference]:
    """Compare rows on the same data set, metric by metric; Holm over all comparisons.

    Rows whose ranks are not on this machine are left out; see :meth:`ResultRecord.ranks`.

    Args:
        rows: Of one study.
        reference: Name of the row that is compared with every other; may be empty.
        compare: Key that the study varies, and a value of it: a row with that value is compared with those that have
            another, and are equal in all the rest.
    """
    pairs = [(ours, other) for ours in rows if ours.name == reference for other in rows if other is not ours]
    pairs += _pairs_by(rows, *compare) if compare else []
    pairs = [(ours, other) for ours, other in pairs if ours.dataset == other.dataset]
    ranks = _ranks_by_row([row for pair in pairs for row in pair])
    found: list[tuple[Row, Row, str, int, Comparison]] = []
    for ours, other in pairs:
        first, second = (ranks.get((row.dataset, row.name)) for row in (ours, other))
        if first is None or second is None or first.cases != second.cases:
            continue
        for metric in filter(is_metric_per_case, ours.metrics):
            sides = first.mean(metric), second.mean(metric)
            comparison = paired_comparison(*sides, n_bootstrap=_N_BOOTSTRAP, seed=0)
            found.append((ours, other, metric, len(sides[0]), comparison))
    adjusted = holm([comparison.p_value for *_, comparison in found])
    return [
        Difference(
            dataset=ours.dataset,
            reference=ours.name,
            other=other.name,
            metric=metric,
            n_sequences=n,
            comparison=comparison,
            p_holm=float(p),
            p_networks=_over_networks(ours, other, metric),
        )
        for (ours, other, metric, n, comparison), p in zip(found, adjusted, strict=True)
    ]


def _over_networks(first: Row, second: Row, metric: str) -> float:
    if metric not in second.metrics:
        return float("nan")  # rows may have been given different ones
    return difference_of_means(first.of_networks(metric), second.of_networks(metric))


def _pairs_by(rows: Sequence[Row], key: str, value: Any) -> list[tuple[Row, Row]]:
    """Return the rows that differ in ``key`` alone, the one that has ``value`` there standing first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row.dataset} {row.name_without(key)}", []).append(row)
    return [
        (first, other)
        for group in groups.values()
        for first in group
        for other in group
        if first.runs[0].point[key] == value and other is not first
    ]


@dataclass(frozen=True)
class _Ranks:
    """The ranks of a row on the same test cases with every seed.

    Args:
        cases: Number of the list of these cases; equal lists have one number.
        of_runs: ``(N,)`` for each run.
    """

    cases: int
    of_runs: tuple[npt.NDArray[np.int64], ...]

    def mean(self, metric: str) -> Values:
        """Return the metric of every case, averaged over seeds."""
        mean: Values = np.mean([metric_per_case(ranks, metric) for ranks in self.of_runs], axis=0)
        return mean


def _ranks_by_row(rows: Sequence[Row]) -> dict[tuple[str, str], _Ranks]:
    """Return the ranks of rows by data set and name, without those whose ranks are not here or of unequal cases.

    Each file is read once, and of equal lists of cases, whose names take more room than the ranks, one is held.
    """
    lists: list[pd.DataFrame] = []
    found = {}
    for (dataset, name), row in {(row.dataset, row.name): row for row in rows}.items():
        tables = [table for run in row.runs if (table := run.record.ranks()) is not None]
        numbers = {_number_of(table[["sequence", "target"]], lists) for table in tables}
        if len(tables) == len(row.runs) and len(numbers) == 1:
            found[dataset, name] = _Ranks(numbers.pop(), tuple(table["rank"].to_numpy() for table in tables))
    return found


def _number_of(cases: pd.DataFrame, lists: list[pd.DataFrame]) -> int:
    """Return the number of a list of cases among ``lists``, to which it is added if it is new."""
    known = next((number for number, other in enumerate(lists) if other.equals(cases)), len(lists))
    if known == len(lists):
        lists.append(cases)
    return known
