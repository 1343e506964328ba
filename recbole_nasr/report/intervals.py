"""The uncertainty of a comparison: intervals and paired differences from the saved rank of every test case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recbole_nasr.errors import NASRError
from recbole_nasr.report.table import Interval
from recbole_nasr.runs.results import RunResult, load_ranks
from recbole_nasr.statistics import (
    CONFIDENCE,
    Comparison,
    holm,
    is_metric_per_case,
    mean_and_interval,
    metric_per_case,
    paired_comparison,
)

SEED = 0
"""Seed of all resampling."""


@dataclass(frozen=True)
class Difference:
    """The difference of the first run of a comparison from another one, on the same test cases.

    Args:
        name: Name of the other run.
        metric: The metric compared.
        found: The difference, its interval and its p-value.
        p_adjusted: Holm's p-value for all differences shown together.
    """

    name: str
    metric: str
    found: Comparison
    p_adjusted: float

    @property
    def verdict(self) -> str:
        """Which of the two is better, if that is clear."""
        return {1: "better", -1: "worse"}.get(self.found.better(self.p_adjusted), "no clear difference")


def metric_intervals(result: RunResult) -> dict[str, Interval]:
    """Return the bootstrap interval of every test metric that is defined per case; none without saved ranks."""
    try:
        ranks = load_ranks(result.folder.path)["rank"].to_numpy()
    except NASRError:  # sampled evaluation has none
        return {}
    names = [name for name in result.test if is_metric_per_case(name)]
    return {name: mean_and_interval(metric_per_case(ranks, name), SEED)[1] for name in names}


def differences(results: Sequence[RunResult]) -> list[Difference]:
    """Compare the first run with each of the others, by NDCG@20 or the metric nearest to it.

    Returns:
        One difference for each other run; none if the runs have no metric per case in common, or were not tested on
        the same cases in the same way.
    """
    first, others = results[0], results[1:]
    try:
        metric = max(filter(is_metric_per_case, first.test), key=_importance, default="")
        values = _on_same_cases(results, metric) if metric else None
    except NASRError:
        return []
    if values is None or any(result.masks_history != first.masks_history for result in others):
        return []
    found = [paired_comparison(values[0], other, seed=SEED) for other in values[1:]]
    adjusted = holm([one.p_value for one in found])
    return [
        Difference(other.name, metric, one, float(p)) for other, one, p in zip(others, found, adjusted, strict=True)
    ]


def _importance(metric: str) -> tuple[bool, bool, int]:
    name, _, cut = metric.partition("@")
    return name == "ndcg", cut == "20", int(cut)


def _on_same_cases(results: Sequence[RunResult], metric: str) -> list[npt.NDArray[np.float64]] | None:
    tables = [load_ranks(result.folder.path) for result in results]
    cases = tables[0][["sequence", "target"]]
    if not all(cases.equals(table[["sequence", "target"]]) for table in tables[1:]):
        return None
    return [metric_per_case(table["rank"].to_numpy(), metric) for table in tables]


def differences_text(found: Sequence[Difference], first: str) -> str:
    """Return the differences as aligned lines."""
    metric = found[0].metric.upper()
    width = max(len(one.name) for one in found)
    lines = [f"{first} against each other one, {metric}, on the same test cases"]
    for one in found:
        low, high = one.found.interval
        lines.append(
            f"  {one.name:<{width}}  {one.found.mean_difference:+.4f} [{low:+.4f}, {high:+.4f}]  "
            f"p {one.p_adjusted:.3f}  {one.verdict}"
        )
    lines.append(
        f"Intervals: {CONFIDENCE:.0%}, bootstrap over the test cases. p: Wilcoxon, after Holm.\n"
        "This is the noise of the test cases; another seed moves a result too."
    )
    return "\n".join(lines)
