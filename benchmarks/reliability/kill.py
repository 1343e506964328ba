"""Kill -9 a run at random moments, start the same command until it ends, and compare with a run that was left alone.

    python benchmarks/reliability/kill.py --kills=24 --out=benchmarks/results/kill.json

Every life is a process of its own, forked from one that has imported everything, and killed from outside after a random
time. The data are synthetic. What is compared: metrics, rank of every test case, every score of the search, the
architecture, and every weight of the network, all to the last bit.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch

import recbole_nasr  # noqa: F401  (repairs RecBole before it is imported)
from recbole_nasr.checkpoint import load_checkpoint
from recbole_nasr.cli import main
from recbole_nasr.keeping import Keeper
from recbole_nasr.machine import environment

WORDS = (
    "--model=NASRSearch",
    "--dataset=made",
    "--data_path=data",
    "--device=cpu",
    "--n_layers=2",
    "--n_blocks=2",
    "--hidden_size=32",
    "--search_epochs=2",
    "--search_holdout_ratio=0.2",
    "--epochs=3",
    "--eval_step=1",
    "--stopping_step=9",
    "--train_batch_size=64",
)
STAGES = ("block training", "ranking", "between blocks", "retraining")


def write_data(folder: Path, n_users: int = 150, n_items: int = 200, seed: int = 5) -> None:
    """Write sequences in which an item is mostly followed by its neighbour."""
    rng = random.Random(seed)  # noqa: S311
    lines = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(n_users):
        item = rng.randrange(n_items)
        for step in range(rng.randint(10, 25)):
            item = (item + 1) % n_items if rng.random() < 0.7 else rng.randrange(n_items)
            lines.append(f"u{user}\ti{item}\t{step}")
    (folder / "made").mkdir(parents=True)
    (folder / "made" / "made.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")


def only_run(runs: str) -> Path:
    """Return the folder of the one run below ``runs``."""
    (folder,) = Path(runs, "made").glob("*-NASRSearch")
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run has found."""
    return {
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "ranks": gzip.decompress((folder / "ranks.csv.gz").read_bytes()).decode(),
        "scores": {path.name: path.read_text() for path in sorted((folder / "ranking").glob("*.csv"))},
        "architecture": (folder / "architecture.json").read_text(),
        "weights": [w.tolist() for w in load_checkpoint(folder / "model.pth")["state_dict"].values()],
    }


def start(words: list[str]) -> int:
    """Start a command in a process of its own; return its number."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            with Path("screen.txt").open("a") as screen, contextlib.redirect_stdout(screen):
                code = main(words)
        finally:
            os._exit(code)
    return child


def stage_of(folder: Path) -> tuple[str, str]:
    """Return the stage in which a run was killed, and what its last state says."""
    keeper = Keeper(folder / "resume")
    said = keeper.load()
    if said is None:
        return "before the first state", ""
    parts = keeper.found()
    if said.startswith("search: rank"):
        return "ranking", said
    if "block" in parts:
        return "block training", said
    if "epoch" in parts:
        return "retraining", said
    return ("between blocks", said) if said.startswith("search") else ("test" if said == "test" else "retraining", said)


def live(words: list[str], seconds: float) -> bool:
    """Let a command run for so long, then kill it; return whether it had to be killed."""
    child, end = start(words), time.monotonic() + seconds
    while time.monotonic() < end:
        if os.waitpid(child, os.WNOHANG)[0]:
            return False
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


def run(kills: int, seed: int, interval: float) -> dict[str, Any]:
    """Make the uninterrupted run and the killed ones in the current folder; return what is to be written down."""
    write_data(Path("data"))
    began = time.monotonic()
    os.waitpid(start([*WORDS, "--runs_dir=expected"]), 0)
    whole = time.monotonic() - began
    expected, facts = outcome(only_run("expected")), json.loads((only_run("expected") / "run.json").read_text())
    rng, points, runs, same = random.Random(seed), [], 0, []  # noqa: S311
    while len(points) < kills:
        words, runs = [*WORDS, f"--runs_dir=killed-{runs}", f"--checkpoint_interval={interval}"], runs + 1
        folder = words[-2].removeprefix("--runs_dir=")
        while len(points) < kills and live(words, seconds := rng.uniform(0.25, 0.6) * whole):
            stage, said = stage_of(only_run(folder)) if Path(folder, "made").is_dir() else ("before the run", "")
            points.append({"run": runs, "after_s": round(seconds, 2), "stage": stage, "state": said})
            sys.stdout.write(f"{len(points):3d}  run {runs}  after {seconds:6.2f} s  {stage}  {said}\n")
            sys.stdout.flush()
            if stage == "test":  # let it end, and kill another one from its start
                break
        os.waitpid(start(words), 0)
        same.append(outcome(only_run(folder)) == expected)
    total = sum(facts["seconds"].values())
    return {
        "kills": len(points),
        "stages": dict(Counter(point["stage"] for point in points)),
        "runs": runs,
        "runs_equal_to_the_last_bit": sum(same),
        "runs_lost": runs - sum(same),
        "uninterrupted_seconds": round(whole, 2),
        "checkpoint_interval_s": interval,
        "saving": {**facts["saving"], "share_of_stages": facts["saving"]["seconds"] / total},
        "points": points,
        "environment": environment(),
    }


def cli() -> None:
    """Read the command line, run, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=24)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--interval", type=float, default=0.2, help="seconds between saved states in the killed runs")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out = given.out.resolve()
    torch.set_num_threads(1)
    sys.argv = sys.argv[:1]
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        found = run(given.kills, given.seed, given.interval)
        os.chdir(out.parent)
    found["command"] = f"python benchmarks/reliability/kill.py --kills={given.kills} --seed={given.seed}"
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({key: value for key, value in found.items() if key != "points"}, indent=2) + "\n")
    if found["runs_lost"]:
        raise SystemExit(1)


if __name__ == "__main__":
    cli()
