"""What a missing item costs: the cases of a finished run, predicted from histories that end some items earlier.

    python benchmarks/known/missing_items.py RUN --data=FOLDER/ml-1m-seq.inter --output=FILE.json

``ml-1m-seq`` lacks the one or two items before the last of every user. Its test items are therefore not the next ones,
as those of validation are. This says how much of the distance between the two parts that explains: it predicts the
validation item from histories that end 0, 1 and 2 items too early. Items of the history are left out of the ranking.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from atomic_file import histories

import recbole_nasr
from recbole_nasr.machine import device_name, versions
from recbole_nasr.statistics import mean_and_interval, metric_per_case

METRICS = ("ndcg@10", "ndcg@20", "recall@10", "recall@20")
CUT = 20
PARTS = {"validation": -2, "test": -1}
"""Place of the target in the history of a user."""


def main() -> None:
    """Print a table, write ``--output``."""
    asked = _arguments()
    recommender = recbole_nasr.load(asked.run, device="cpu")
    known = list(histories(asked.data).values())
    rows = []
    for part, place in PARTS.items():
        for missing in range(asked.most + 1):
            ranks = _ranks(recommender, known, place, missing)
            found = {metric: mean_and_interval(metric_per_case(ranks, metric), seed=0) for metric in METRICS}
            rows.append(
                {"part": part, "missing": missing, **{name: list(map(_plain, one)) for name, one in found.items()}}
            )
            sys.stdout.write(
                f"{part}, {missing} missing: " + ", ".join(f"{m} {found[m][0]:.4f}" for m in METRICS) + "\n"
            )
    content = {
        "run": _about(asked.run),
        "cases": len(known),
        "rows": rows,
        "processor": device_name(torch.device("cpu")),
        "versions": versions(),
    }
    if asked.output:
        asked.output.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of a finished run")
    parser.add_argument("--data", type=Path, required=True, help="its atomic file")
    parser.add_argument("--most", type=int, default=2, help="largest number of missing items")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def _ranks(recommender: Any, whole: Sequence[list[str]], place: int, missing: int) -> npt.NDArray[np.int64]:
    """Return the rank of the item at ``place`` of every whole history, or the first rank past the cut."""
    given = [items[: place - missing] for items in whole]
    targets = np.array([items[place] for items in whole])
    best = recommender.recommend(given, k=CUT, exclude_seen=True, as_numpy=True).items
    hit = best.astype(str) == targets[:, None]
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, CUT + 1)


def _plain(value: Any) -> Any:
    return [float(end) for end in value] if isinstance(value, tuple) else float(value)


def _about(run: Path) -> dict[str, Any]:
    """Return what the run says of itself, without its place on this machine."""
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    facts = json.loads((run / "run.json").read_text(encoding="utf-8"))
    return {"metrics": metrics, "seconds": facts["seconds"]}


if __name__ == "__main__":
    main()
