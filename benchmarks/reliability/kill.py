"""Kill -9 a run at random moments of every stage, start the same command until it ends, and compare the outcome.

    python benchmarks/reliability/kill.py --out=benchmarks/results/kill.json

Every life is a process of its own, forked from one that has imported everything, and killed from outside. The killer
follows where the process is (``places.py``) and strikes at a random moment within the stage it wants, so that every
stage is hit however fast or busy the machine is. What is written down is where the process died. The data are
synthetic. What is compared, to the last bit: metrics, rank of every test case, every score of the search and of its
candidates, the architecture, and every weight of the networks.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from commands import CASES, Case, outcome, run_folders, write_inputs
from places import Whereabouts, killed, to_the_end

from recbole_nasr.keeping import StateError, read_state
from recbole_nasr.machine import environment

MOST_MISSES = 40
"""Commands that ended before they were hit, after which the program gives up."""


SPREAD = ("block training", "candidates", "retraining", "RecBole's own model")
"""Hit anywhere in the first stay there or in a later one; the others in the first."""

NO_STATE = "no state yet"
STATES = "made/*/resume/state.pt"

REACTION_S = 0.005
"""The killer is late by about as much."""


class Campaign:
    """All kills of one command, over as many runs of it as that takes.

    Args:
        name: Of the case.
        case: The command.
        kills: How often it is killed in each of its places.
        rng: For the moments.
        interval: Seconds between saved states of every other killed run; the others save after each step.
        saved: Whether the run is hit only while there is a saved state of it to go on from.
    """

    def __init__(
        self, name: str, case: Case, kills: int, rng: random.Random, interval: float, *, saved: bool = False
    ) -> None:
        self.name, self.case, self.rng, self.interval, self.saved = name, case, rng, interval, saved
        self.places = _with_a_state(case.places) if saved else list(case.places)
        self.left = Counter(dict.fromkeys((*self.places, "saving"), kills))
        self.points: list[dict[str, Any]] = []
        self.where, self.screen = Whereabouts(), Path(f"screen-{name.replace(' ', '-')}.txt")
        self.typical: dict[str, float] = {}
        self.n_runs = self.n_equal = self.n_misses = self.n_folders = 0

    def carry_out(self) -> None:
        """Run the command undisturbed, then kill it until every place has had its share."""
        expected = Path(f"{self.name}-expected")
        to_the_end([*self.case.words, f"--runs_dir={expected}", "--checkpoint_interval=0.2"], self.where, self.screen)
        self.typical = {
            place: self.where.seconds(place) if place in SPREAD else self.where.visit_seconds(place)
            for place in self.left
        }
        self.n_folders = len(run_folders(expected))
        while +self.left and self.n_misses < MOST_MISSES:
            self.n_runs += 1
            runs = Path(f"{self.name}-{self.n_runs}")
            interval = self.interval if self.n_runs % 2 else 0.0  # every second run saves after every step
            words = [*self.case.words, f"--runs_dir={runs}", f"--checkpoint_interval={interval}"]
            if self._kill_once_everywhere(words, runs):
                to_the_end(words, self.where, self.screen)
            self.n_equal += _same(runs, expected)

    def _kill_once_everywhere(self, words: list[str], runs: Path) -> bool:
        """Kill a run in one place after the other; return whether it still has to be brought to its end."""
        places = list(self.places)  # in the order in which a run comes to them; it saves everywhere
        places.insert(self.rng.randrange(len(places)), "saving")
        for place in places:
            if self.left[place] <= 0:
                continue
            seconds = max(0.0, self.rng.uniform(0, 0.9) * self.typical[place] - REACTION_S)
            if not killed(words, self.where, self.screen, place, seconds, partial(self._may_be_hit, runs)):
                self.n_misses += 1
                return False
            self._write_down(place, runs)
        return True

    def _may_be_hit(self, runs: Path) -> bool:
        return not self.saved or any(runs.glob(STATES))

    def _write_down(self, aim: str, runs: Path) -> None:
        place = self.where.place
        self.left[place] -= 1
        states = sorted(runs.glob(STATES), key=lambda path: path.parent.parent.name)
        said = read_stage(states[-1]) if states else NO_STATE
        self.points.append({"case": self.name, "run": self.n_runs, "aim": aim, "place": place, "state": said})
        sys.stdout.write(f"{len(self.points):3d}  {self.name} {self.n_runs}  {place:20s}  {said}\n")
        sys.stdout.flush()

    def summary(self) -> dict[str, Any]:
        """Return what is to be written down."""
        return {
            "kills": len(self.points),
            "places": dict(Counter(point["place"] for point in self.points)),
            "runs": self.n_runs,
            "runs_equal_to_the_last_bit": self.n_equal,
            "runs_lost": self.n_runs - self.n_equal,
            "places_not_hit": sorted(place for place, left in self.left.items() if left > 0),
            "ended_before_they_were_hit": self.n_misses,
            "run_folders_of_each": self.n_folders,
        }


def _with_a_state(places: Sequence[str]) -> list[str]:
    """Return the places in which there can be a saved state: its start comes second, then it goes on from one."""
    found = [place for place in places if place not in ("elsewhere", "page of a study")]
    return [found[0], "elsewhere", *found[1:]]


def _same(runs: Path, expected: Path) -> bool:
    try:
        return outcome(runs) == outcome(expected)
    except FileNotFoundError as error:  # a run that was given up
        sys.stdout.write(f"lost: {error}\n")
        return False


def read_stage(path: Path) -> str:
    """Return what a state says of its stage."""
    try:
        return str(read_state(path)["stage"]) or "the start"
    except StateError as error:
        return str(error)


def cli() -> None:
    """Read the command line, run, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--kills", type=int, default=3, help="kills in each place of a search; one fewer in the others")
    parser.add_argument("--saved", type=int, default=2, help="further kills in each place once a state was saved")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--interval", type=float, default=0.2, help="seconds between saved states in every other killed run"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    out, started = given.out.resolve(), Path.cwd()
    torch.set_num_threads(1)
    sys.argv = sys.argv[:1]
    load = os.getloadavg()[0]
    campaigns = []
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        write_inputs(Path())
        for number, name in enumerate(given.cases):
            rng = random.Random(given.seed + number)  # noqa: S311
            kills = max(1, given.kills - (name != "search"))
            campaigns.append(Campaign(name, CASES[name], kills, rng, given.interval))
            campaigns[-1].carry_out()
            if given.saved:
                made = Campaign(f"{name} with a state", CASES[name], given.saved, rng, given.interval, saved=True)
                campaigns.append(made)
                campaigns[-1].carry_out()
        os.chdir(started)
    options = f"--kills={given.kills} --saved={given.saved} --seed={given.seed}"
    found = {
        "command": f"python benchmarks/reliability/kill.py {options}",
        "cases": {campaign.name: campaign.summary() for campaign in campaigns},
        "kills_before_anything_was_saved": sum(
            point["state"] == NO_STATE for campaign in campaigns for point in campaign.points
        ),
        "kills": sum(len(campaign.points) for campaign in campaigns),
        "checkpoint_interval_s": given.interval,
        "load_before_and_after": [load, os.getloadavg()[0]],
        "points": [point for campaign in campaigns for point in campaign.points],
        "environment": environment(),
    }
    out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    sys.stdout.write(json.dumps({key: value for key, value in found.items() if key != "points"}, indent=2) + "\n")
    if any(campaign.n_runs > campaign.n_equal or +campaign.left for campaign in campaigns):
        raise SystemExit(1)


if __name__ == "__main__":
    cli()
