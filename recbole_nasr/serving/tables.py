"""``--list`` and ``--compare``: finished runs side by side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_nasr.alignment import aligned
from recbole_nasr.errors import ConfigError, DataError, did_you_mean
from recbole_nasr.progress import plural
from recbole_nasr.report.intervals import SEED
from recbole_nasr.runs.results import load_ranks
from recbole_nasr.serving.evaluations import evaluations, letter
from recbole_nasr.serving.same_data import check_same_data
from recbole_nasr.serving.saved import SavedRun, find_run, saved_runs
from recbole_nasr.statistics import CONFIDENCE, holm, mean_and_interval, metric_per_case, paired_comparison

METRICS = ("ndcg@10", "ndcg@20", "recall@10", "recall@20")
"""What runs are compared by."""

_MOST_LISTED_METRICS = 4


def runs_text(runs_dir: Path, dataset: str = "") -> str:
    """Return a table of all runs, newest first, data set by data set; those tested in different ways are marked.

    Args:
        runs_dir: Folder of all run folders.
        dataset: The one data set to list; all when empty.

    Raises:
        ConfigError: If there is no run.
    """
    runs = [run for run in saved_runs(runs_dir) if dataset in ("", run.folder.parent.name)]
    if not runs:
        where = runs_dir / dataset if dataset else runs_dir
        near = did_you_mean(dataset, {run.folder.parent.name for run in saved_runs(runs_dir)}) if dataset else ""
        msg = (
            f"There is no run in {str(where)!r}; name the folder of all runs with --runs_dir, or make a run "
            f"first.{near}"
        )
        raise ConfigError(msg)
    parts = []
    for name in dict.fromkeys(run.folder.parent.name for run in runs):
        own = [run for run in runs if run.folder.parent.name == name]
        tests = [run.metrics.get("test", {}) for run in own]
        metrics = list(dict.fromkeys(metric for test in tests for metric in test))[:_MOST_LISTED_METRICS]
        letters, legend = evaluations(own)
        header = ["run", "model", "status", "seed", "parameters", *metrics, *(["test"] if letters else [])]
        rows = [[*_listed(run, metrics), *letters[place : place + 1]] for place, run in enumerate(own)]
        table = aligned([header, *rows], left=(0, 1, 2, 5 + len(metrics)))
        parts.append(f"{name} ({len(own)} {plural(len(own), 'run')})\n{table}" + f"\n{legend}" * bool(legend))
    return "\n\n".join(parts)


def name_of(run: SavedRun) -> str:
    """Return what a run is called: its label beside others, or its model."""
    return str(run.facts.get("label") or run.facts.get("model", "?"))


def _listed(run: SavedRun, metrics: Sequence[str]) -> list[str]:
    test = run.metrics.get("test", {})
    shown = [f"{test[name]:.4f}" if test.get(name) is not None else "-" for name in metrics]
    n_parameters = run.metrics.get("n_parameters")
    return [
        str(run.folder),
        name_of(run),
        str(run.facts.get("status", "?")),
        str(run.facts.get("seed", "-")),
        f"{n_parameters:,}" if isinstance(n_parameters, int) else "-",
        *shown,
    ]


def run_ranks(run: SavedRun) -> pd.DataFrame:
    """Read the test cases of a run, see :func:`recbole_nasr.runs.results.load_ranks`."""
    return load_ranks(run.folder, str(run.facts.get("status", "unknown")))


def same_cases(runs: Sequence[SavedRun]) -> list[Any]:
    """Return the ranks of each run, all in the order of the same cases.

    Raises:
        DataError: If the runs were tested on other cases, ranked other items, or had other data.
    """
    tables = [run_ranks(run) for run in runs]
    first = tables[0][["sequence", "target"]]
    for run, table in zip(runs[1:], tables[1:], strict=True):
        if not first.equals(table[["sequence", "target"]]):
            msg = (
                f"Runs are compared on the same test cases, but those of {run.folder} ({len(table):,}) are not those "
                f"of {runs[0].folder} ({len(first):,}): other data, preparation or split; "
                "compare runs of one data set, see --list."
            )
            raise DataError(msg)
    for what, values in (
        ("mask_history", [run.metrics.get("mask_history") for run in runs]),
        ("number of items", [run.metrics.get("data", {}).get("items") for run in runs]),
    ):
        if len(set(values)) > 1:
            msg = f"Runs are compared under the same ranking, but their {what} differs: {values}; run one again."
            raise DataError(msg)
    check_same_data(runs)
    return [table["rank"].to_numpy() for table in tables]


def comparison_text(names: Sequence[str]) -> str:
    """Compare runs pair by pair from their saved ranks, and return it as tables.

    Args:
        names: Folders of at least two runs.

    Raises:
        ConfigError: If there are fewer than two different runs.
        DataError: If they were not tested on the same cases.
    """
    runs = [find_run(name) for name in names]
    if len({run.folder.resolve() for run in runs}) != len(runs) or len(runs) < 2:
        got = ", ".join(names) or "none"
        msg = f"--compare needs at least two different runs, as in --compare RUN RUN, but got {got}."
        raise ConfigError(msg)
    ranks = same_cases(runs)
    labels = [letter(number) for number in range(len(runs))]
    values = {metric: [metric_per_case(own, metric) for own in ranks] for metric in METRICS}
    legend = "\n".join(f"{label}  {name_of(run)}  {run.folder}" for label, run in zip(labels, runs, strict=True))
    means = [["", *METRICS]]
    for number, label in enumerate(labels):
        means.append([label, *(_with_interval(*mean_and_interval(values[metric][number], SEED)) for metric in METRICS)])
    pairs = [(metric, first, second) for first, second in combinations(range(len(runs)), 2) for metric in METRICS]
    found = [paired_comparison(values[metric][a], values[metric][b], seed=SEED) for metric, a, b in pairs]
    adjusted = holm([one.p_value for one in found])
    rows = [["difference", "metric", "mean and interval", "p", "p (Holm)", ""]]
    for (metric, a, b), one, p in zip(pairs, found, adjusted, strict=True):
        side = one.better(float(p))
        verdict = f"{labels[a if side > 0 else b]} better" if side else "no clear difference"
        interval = _with_interval(one.mean_difference, one.interval, sign="+")
        rows.append([f"{labels[a]} - {labels[b]}", metric, interval, _p(one.p_value), _p(p), verdict])
    note = (
        f"{len(ranks[0]):,} test cases, the same for all. "
        f"Intervals: {CONFIDENCE:.0%}, percentile bootstrap over cases.\n"
        f"p: two-sided Wilcoxon signed-rank test; p (Holm): corrected for all {len(pairs)} comparisons shown.\n"
        "This is the noise of the test cases. Another seed moves a result too: compare several seeds before you decide."
    )
    return "\n\n".join([legend, aligned(means, left=(0,)), aligned(rows, left=(0, 1, 5)), note])


def _with_interval(mean: float, interval: tuple[float, float], sign: str = "") -> str:
    return f"{mean:{sign}.4f} [{interval[0]:{sign}.4f}, {interval[1]:{sign}.4f}]"


def _p(value: float) -> str:
    return f"{value:.1e}" if value < 1e-3 else f"{value:.3f}"
