"""The commands that are interrupted, their data, and everything that such a command finds."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_nasr.checkpoints.reading import load_checkpoint

COMMON = (
    "--dataset=made",
    "--data_path=data",
    "--device=cpu",
    "--n_layers=2",
    "--hidden_size=32",
    "--epochs=3",
    "--eval_step=1",
    "--stopping_step=9",
    "--train_batch_size=64",
)
STUDY = """\
title: Two networks
paper: none
claim: none
runs:
    Attention: {model: NASR, settings: {architecture: sasrec-1}}
    Convolution: {model: NASR, settings: {architecture: nextitnet-1}}
"""
SIGNALS = """\
title: Two signals
paper: none
claim: none
runs:
    By block: {model: NASRSearch}
    Whole: {model: NASRSearch, settings: {search_preset: next_item_whole}}
    network: {model: NASR}
settings: {candidate_ops: [transformer_h4, tcn_d1_2], search_epochs: 3, search_holdout_ratio: 0.2}
seeds: [1]
search_seeds: [1]
n_architectures: 2
"""
_MEASURED = ("seconds", "latency", "run")  # differ from run to run by their nature


@dataclass(frozen=True)
class Case:
    """A command, and the places in which it is to be hit.

    Args:
        words: The command.
        places: See :data:`places.PLACES`.
    """

    words: Sequence[str]
    places: tuple[str, ...]


CASES = {
    "search": Case(
        (
            "--model=NASRSearch",
            *COMMON,
            "--n_blocks=2",
            "--search_epochs=2",
            "--search_holdout_ratio=0.2",
            "--search_verify=2",
            "--search_verify_ties=0",
            "--search_verify_random=1",
        ),
        (
            *("elsewhere", "block training", "ranking", "between blocks"),
            *("candidates", "retraining", "validation", "test", "report"),
        ),
    ),
    "comparison": Case(
        ("--model=SASRec,NASR", *COMMON, "--n_blocks=1", "--inner_size=32"),
        ("RecBole's own model", "retraining"),
    ),
    "study": Case(("--study=two.yaml", *COMMON, "--n_blocks=1", "--seeds=[1]"), ("retraining", "page of a study")),
    "signals": Case(
        ("--study=signals.yaml", *COMMON, "--n_blocks=2"),
        ("block training", "ranking", "between blocks", "retraining"),
    ),
}
"""``saving`` is hit in all of them."""


def write_inputs(folder: Path, n_users: int = 150, n_items: int = 200, seed: int = 5) -> None:
    """Write a study, and sequences in which an item is mostly followed by its neighbour."""
    rng = random.Random(seed)  # noqa: S311
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(n_users):
        item = rng.randrange(n_items)
        for step in range(rng.randint(10, 25)):
            item = (item + 1) % n_items if rng.random() < 0.7 else rng.randrange(n_items)
            lines.append(f"u{user}\ti{item}\t{step}")
    (folder / "data" / "made").mkdir(parents=True)
    (folder / "data" / "made" / "made.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "signals.yaml").write_text(SIGNALS, encoding="utf-8")
    (folder / "two.yaml").write_text(STUDY, encoding="utf-8")


def run_folders(runs: Path) -> list[Path]:
    """Return the folders of all runs of a model below ``runs``, in the order of their models and beginnings."""
    found = [path.parent for path in runs.glob("made/*/run.json")]
    return sorted(found, key=lambda folder: (folder.name[16:], folder.name))


def outcome(runs: Path) -> list[dict[str, Any]]:
    """Return all that the runs below ``runs`` have found: every run, score, metric, rank and weight."""
    return [_of_run(folder) for folder in run_folders(runs)]


def _of_run(folder: Path) -> dict[str, Any]:
    if (folder / "scores.csv").is_file():  # of the networks that a signal was asked about
        return {"name": folder.name[16:], "scores": (folder / "scores.csv").read_text()}
    texts = sorted([*folder.glob("ranking/*.csv"), *folder.glob("architecture.json")])
    candidates = folder / "candidates.csv"
    return {
        "name": folder.name[16:],
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "ranks": gzip.decompress((folder / "ranks.csv.gz").read_bytes()).decode(),
        "texts": {path.name: path.read_text() for path in texts},
        "candidates": _unmeasured(candidates) if candidates.is_file() else [],
        "weights": [w.tolist() for w in load_checkpoint(folder / "model.pth")["state_dict"].values()],
    }


def _unmeasured(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [{key: cell for key, cell in row.items() if not any(word in key for word in _MEASURED)} for row in rows]
