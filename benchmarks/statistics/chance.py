"""What chance the word "clear" of the pages leaves open: other trainings of a network, and models that are equal.

    python benchmarks/statistics/chance.py trainings docs/results/fidelity-amazon-beauty
    python benchmarks/statistics/chance.py simulation

The comparisons of a page resample test cases alone; its p (networks) is about other networks. `trainings` compares two
trainings of each network with each other, as a page compares two rows. `simulation` compares models that are equal.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recbole_nasr.statistics import SIGNIFICANT, holm, metric_per_case, paired_comparison
from recbole_nasr.studies.record import find_record

METRIC = "ndcg@20"
N_BOOTSTRAP = 2000
RUNS = ((3, 3, 3, 3), (10, 2, 3, 15), (10, 5, 5, 15), (15, 10, 5, 5))
"""Runs of the rows of a simulated page, the reference first."""

N_CASES, N_PAGES = 3000, 250

Values = npt.NDArray[np.float64]


def differ(page: Path, records: Path) -> list[bool]:
    """Return for each network of the page, trained twice or more, whether its first two trainings differ clearly."""
    networks: dict[str, list[Values]] = defaultdict(list)
    for run in _runs(page):
        record = find_record(run["model"], run["key"], int(run["seed"]), [records / run["dataset"]])
        if record is not None and (ranks := record.ranks()) is not None:
            networks[run["architecture"]].append(metric_per_case(ranks["rank"], METRIC))
    pairs = [trainings[:2] for trainings in networks.values() if len(trainings) > 1]
    found = [paired_comparison(one, other, n_bootstrap=N_BOOTSTRAP) for one, other in pairs]
    return [one.better(one.p_value) != 0 for one in found]


def simulated(n_runs: Sequence[int], n_pages: int = N_PAGES, seed: int = 1) -> dict[str, float]:
    """Return how often models that are equal are told apart, on pages with so many runs of each row.

    A case is easy or hard for all models alike; whether a run has its target among the first 20, and where, is chance.

    Returns:
        Shares of the comparisons that the signed-rank test alone finds (uncorrected), and that are clear; and of the
        pages with a clear one.
    """
    generator = np.random.default_rng(seed)
    tests, clear, pages = [], [], []
    for _ in range(n_pages):
        easy = generator.beta(0.35, 1.4, N_CASES)
        rows = []
        for n in n_runs:
            ranks = np.where(generator.random((n, N_CASES)) < easy, generator.integers(1, 21, (n, N_CASES)), 21)
            rows.append(metric_per_case(ranks, METRIC).mean(axis=0))
        found = [paired_comparison(rows[0], row, n_bootstrap=500) for row in rows[1:]]
        adjusted = holm([one.p_value for one in found])
        own = [one.better(float(p)) != 0 for one, p in zip(found, adjusted, strict=True)]
        tests += [one.p_value < SIGNIFICANT for one in found]
        clear += own
        pages.append(any(own))
    return {"test alone": float(np.mean(tests)), "clear": float(np.mean(clear)), "page": float(np.mean(pages))}


def _runs(page: Path) -> list[dict[str, str]]:
    with (page / "runs.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("trainings", "simulation"))
    parser.add_argument("pages", type=Path, nargs="*", help="folders of pages")
    parser.add_argument("--records", type=Path, default=Path("docs/results/runs"), help="folder of records")
    asked = parser.parse_args()
    if asked.what == "simulation":
        for n_runs in RUNS:
            print(n_runs, {name: round(share, 3) for name, share in simulated(n_runs).items()}, flush=True)
    for page in asked.pages:
        print(page.name)
        clear = differ(page, asked.records)
        print(f"  {sum(clear)} of {len(clear)} networks: two trainings differ clearly")


if __name__ == "__main__":
    main()
