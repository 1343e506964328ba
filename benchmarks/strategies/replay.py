"""What searches that train networks would have chosen, replayed on the recorded trainings of a study `fidelity`.

    python benchmarks/strategies/replay.py docs/results/fidelity-ml --records=docs/results/runs --output=FILE.json

The strategies are those of the package, with the networks of the study in place of the whole space and recorded curves
in place of trainings. Random networks are drawn from the random ones of the study; the pure ones are those it has. Each
chooses by the validation of one seed; what it chose is judged by the trainings of the other seeds. A table has means
over seeds and draws of the random networks, and the epochs that were trained for the choice.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_nasr.machine import versions
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import COSTS, CostTable
from recbole_nasr.search.predictor import Values
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.space import Path as Layers
from recbole_nasr.space.strata import RANDOM, function_of
from recbole_nasr.trainer.candidates import Trained, Trainings
from recbole_nasr.trainer.contest import Contest
from recbole_nasr.trainer.strategies import STRATEGIES, BesidePure, Predicted, Strategy

METRIC = "ndcg@20"
N_DRAWS = 100
N_RANDOM = 2
"""Random networks that `predictor` trains beside the pure ones before its first prediction; its preset has four."""


@dataclass(frozen=True)
class Recorded:
    """The networks of a study and their trainings.

    Args:
        space: The smallest that holds all networks.
        runs: Records by layers and seed.
        drawn: Layers of the networks that were drawn at random.
    """

    space: SearchSpace
    runs: dict[tuple[str, ...], dict[int, dict[str, Any]]]
    drawn: list[tuple[str, ...]]

    @property
    def seeds(self) -> list[int]:
        """Seeds of the trainings."""
        return sorted(next(iter(self.runs.values())))

    def truth(self, layers: tuple[str, ...], part: str, without: int) -> float:
        """Return the mean metric of a network over all seeds but one."""
        return float(np.mean([self.runs[layers][seed][part][METRIC] for seed in self.seeds if seed != without]))


class OfSample(Budget):
    """Stands for a limit on costs: a whole network is within it if it is in a sample."""

    def __init__(self, recorded: Recorded) -> None:
        space = recorded.space
        super().__init__(len(space.operations), space.n_layers)
        self.networks = {*map(space.path_of, recorded.runs)}
        self._drawn = sorted(map(space.path_of, recorded.drawn))

    def fits(self, layers: Layers) -> bool:
        """Return whether a whole network is in the sample."""
        return tuple(layers) in self.networks

    def draw(self, rng: random.Random) -> Layers:
        """Draw one of the random networks of the sample."""
        return rng.choice(self._drawn)


class Replayed(Trainings):
    """Stands for trainings: the validations that were recorded with one seed."""

    def __init__(self, recorded: Recorded, seed: int) -> None:
        super().__init__(
            {"epochs": 200, "eval_step": 1, "valid_metric": METRIC, "valid_metric_bigger": True},
            None,
            None,
            lambda _: 0.0,
        )
        self._recorded, self._seed = recorded, seed

    def seconds_per_epoch(self, candidate: Candidate) -> float:  # noqa: ARG002 - as the trainings have it
        """Return nothing that means anything: no time passes."""
        return 0.0

    def train(self, candidate: Candidate, goes_on: Callable[[int, float], bool]) -> Trained:
        """Go through the recorded epochs until they end or ``goes_on`` returns false."""
        curve = self._recorded.runs[candidate.architecture.layers][self._seed]["curve"]
        scores: dict[int, float] = {}
        for epoch, score in curve:
            scores[epoch] = score
            if not goes_on(epoch, max(scores.values())):
                break
        best = max(scores.values())
        return Trained(
            candidate=candidate,
            score=best,
            best_epoch=next(epoch for epoch, score in scores.items() if score == best),
            epochs=max(scores),
            scores=scores,
            stopped=len(scores) < len(curve),
            seconds=0.0,
            costs=dict.fromkeys(COSTS, 0.0),
        )


class PredictedOfSample(Predicted):
    """Takes the best prediction among the networks of the sample, whatever the place of their empty layers."""

    budget: OfSample

    def _ordered(self, values: Values) -> Iterator[Architecture]:
        own = {function_of(network): network for network in map(self.space.network, self.budget.networks)}
        found = (function_of(network) for network in super()._ordered(values))
        return (own[function] for function in found if function in own)


class Pure(BesidePure):
    """Trains the pure networks and takes the best, as one would without any search."""

    def candidates(self, found: SearchResult | None, trained: Sequence[Trained]) -> list[Candidate]:  # noqa: ARG002 - as the others have it
        """Return the pure networks of the sample."""
        return self._pure()


KINDS: dict[str, type[Strategy]] = {**STRATEGIES, "predictor": PredictedOfSample}


def main() -> None:
    """Print a table for each study, write ``--output``."""
    asked = _arguments()
    logging.getLogger("recbole_nasr").setLevel(logging.WARNING)
    rows = []
    for page in asked.pages:
        found = replay(read(page, asked.records), asked.draws)
        _print(page.name, found)
        rows += [{"study": page.name, **row} for row in found]
    if asked.output:
        document = {"metric": METRIC, "draws": asked.draws, "versions": versions(), "rows": rows}
        asked.output.write_text(json.dumps(document, indent=2) + "\n")


def read(page: Path, records: Path) -> Recorded:
    """Return the networks of the study with this page that have a record from every seed."""
    with (page / "runs.csv").open() as file:
        listed = [row for row in csv.DictReader(file) if row["network"] and row["model"] == "NASR"]
    with (page / "networks.csv").open() as file:
        strata = {Architecture.parse(row["architecture"]).layers: row["stratum"] for row in csv.DictReader(file)}
    runs: dict[tuple[str, ...], dict[int, dict[str, Any]]] = {}
    for row in listed:
        file = records / row["dataset"] / f"NASR-{row['key']}-{row['seed']}.json"
        record = json.loads(file.read_text(encoding="utf-8"))
        runs.setdefault(Architecture.parse(row["architecture"]).layers, {})[int(row["seed"])] = record
    seeds = {int(row["seed"]) for row in listed}
    whole = {layers: own for layers, own in runs.items() if own.keys() == seeds}
    operations = tuple(sorted({name for layers in whole for name in layers}))
    n_layers = len(next(iter(whole)))
    drawn = [layers for layers in whole if strata[layers] == RANDOM]
    return Recorded(SearchSpace(operations, (n_layers,)), whole, drawn)


def replay(recorded: Recorded, n_draws: int) -> list[dict[str, Any]]:
    """Return one row per strategy: how many networks and epochs it trained, and what its choice is worth."""
    n_pure = sum(len(set(layers)) == 1 for layers in recorded.runs)
    plans: dict[str, tuple[type[Strategy], StrategySettings]] = {
        "one at random": (STRATEGIES["random"], StrategySettings(strategy="random", networks=1)),
        "pure networks": (Pure, StrategySettings(strategy="predictor")),
    }
    for n in (4, 8, 12, 16):
        for name in ("random", "halving", "predictor"):
            possible = (
                n <= len(recorded.drawn) if name != "predictor" else n_pure + N_RANDOM < n < len(recorded.runs) - 4
            )
            if possible:
                settings = StrategySettings(strategy=name, networks=n, verify_random=N_RANDOM)
                plans[f"{name}, {n}"] = (KINDS[name], settings)
    rows = []
    for name, (kind, settings) in plans.items():
        chosen = [_chosen(recorded, kind, settings, seed, draw) for draw in range(n_draws) for seed in recorded.seeds]
        means = {key: float(np.mean([one[key] for one in chosen])) for key in chosen[0]}
        rows.append({"strategy": name, **means})
    base = rows[0]
    for row in rows:
        for part in ("valid", "test"):
            row[f"{part} gain"] = row[part] / base[part] - 1
    return rows


def _chosen(
    recorded: Recorded, kind: type[Strategy], settings: StrategySettings, seed: int, draw: int
) -> dict[str, float]:
    """Let a strategy choose by the trainings with ``seed``; return what the others say of its choice."""
    n_operations = len(recorded.space.operations)
    table = CostTable(recorded.space.operations, np.zeros((n_operations, len(COSTS))), np.zeros(len(COSTS)), "cpu")
    strategy = kind(settings, recorded.space, table, {}, draw)
    strategy.budget = OfSample(recorded)
    contest = Contest(settings, Replayed(recorded, seed))
    found = contest.run(strategy.candidates(None, contest.trained), strategy.expected)
    layers = found.winner.candidate.architecture.layers
    return {
        "networks": float(len(found.trained)),
        "epochs": float(found.epochs),
        **{part: recorded.truth(layers, part, without=seed) for part in ("valid", "test")},
    }


def _print(study: str, rows: list[dict[str, Any]]) -> None:
    print(f"\n{study}\n")
    print(f"| strategy | networks | epochs | valid {METRIC} | over random | test {METRIC} | over random |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for row in rows:
        cells = [row["strategy"], f"{row['networks']:.0f}", f"{row['epochs']:.0f}"]
        for part in ("valid", "test"):
            cells += [f"{row[part]:.4f}", f"{row[f'{part} gain']:+.1%}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", type=Path, nargs="+", help="folders of pages of the study `fidelity`")
    parser.add_argument("--records", type=Path, default=Path("docs/results/runs"), help="folder of records")
    parser.add_argument("--draws", type=int, default=N_DRAWS, help="of the random networks, with each seed")
    parser.add_argument("--output", type=Path, help="JSON file to write")
    return parser.parse_args()


if __name__ == "__main__":
    main()
