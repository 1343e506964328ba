"""Measure what saving costs a run, and how long Ctrl-C and SIGTERM take until the state is saved.

    python benchmarks/reliability/saving.py --out=benchmarks/results/saving.json --n_layers=4 --n_blocks=2

One search on MovieLens 100K with the default settings of saving, of which ``run.json`` says how long it saved and how
long each stage took; other words go to its command. Then the same search is sent a signal at a random moment of each
stage, and goes on from there to the next: measured is the time from the signal to the end of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from places import Whereabouts, hit, to_the_end

from recbole_nasr.machine import environment

WORDS = ("--model=NASRSearch", "--dataset=ml", "--device=cpu", "--data_path=data")
STAGES = ("block training", "ranking", "between blocks", "retraining", "validation", "test")
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def cost(words: list[str], where: Whereabouts) -> dict[str, Any]:
    """Make an undisturbed run; return the share of its time in which it saved."""
    to_the_end([*words, "--runs_dir=undisturbed"], where, Path("screen.txt"))
    (record,) = Path("undisturbed").glob("*/*/run.json")
    facts = json.loads(record.read_text(encoding="utf-8"))
    total = sum(facts["seconds"].values())
    state = facts["saving"]
    return {
        "seconds_of_each_stage": facts["seconds"],
        "seconds": total,
        "states": state["states"],
        "seconds_of_saving": state["seconds"],
        "share_of_saving": state["seconds"] / total,
    }


def stops(words: list[str], where: Whereabouts, typical: dict[str, float], rng: random.Random) -> list[dict[str, Any]]:
    """Stop a run once in every stage by each signal in turn, and return how long it took to end."""
    found = []
    for number in SIGNALS:
        runs = f"stopped-{number.name}"
        for stage in STAGES:
            seconds = rng.uniform(0, 0.9) * typical[stage]
            child = hit([*words, f"--runs_dir={runs}"], where, Path("screen.txt"), stage, seconds, number)
            if child is None:
                sys.stdout.write(f"{number.name}: the run was over before {stage} was hit\n")
                break
            asked = time.monotonic()
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            took = time.monotonic() - asked
            saved = any(Path(runs).glob("*/*/resume/state.pt"))
            found.append({"signal": number.name, "stage": stage, "seconds": took, "exit_code": code, "saved": saved})
            sys.stdout.write(f"{number.name:8s} {stage:15s} ended after {took:.2f} s with {code}\n")
            sys.stdout.flush()
    return found


def cli() -> None:
    """Read the command line, run, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    given, more = parser.parse_known_args()
    out, started = given.out.resolve(), Path.cwd()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    sys.argv = sys.argv[:1]
    words, where, load = [*WORDS, *more], Whereabouts(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        found = {"run": cost(words, where)}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        sys.stdout.flush()
        typical = {stage: where.visit_seconds(stage) for stage in STAGES}
        found["stops"] = stops(words, where, typical, random.Random(given.seed))  # noqa: S311
        os.chdir(started)
    found = {
        "command": " ".join(["python benchmarks/reliability/saving.py", f"--seed={given.seed}", *more]),
        "words": words,
        **found,
        "longest_stop_s": max(stop["seconds"] for stop in found["stops"]),
        "load_before_and_after": [load, os.getloadavg()[0]],
        "environment": environment(),
    }
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    cli()
