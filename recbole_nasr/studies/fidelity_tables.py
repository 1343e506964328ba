"""What the study `fidelity` has found: networks with their trainings, signals with their scores, and the measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_nasr.model.settings import layer_settings
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.space.strata import Sampled, family_of
from recbole_nasr.studies.fidelity_predictions import LEAST_LEFT, SIZES, prediction_tau
from recbole_nasr.studies.fidelity_statistics import (
    Array,
    Measure,
    Pairs,
    between_seeds,
    excess,
    measures,
    regret,
    resamples,
)
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.signals import SignalRecord

_DIGITS = 12  # means closer than this are ties; without rounding the last bit would break them

PARTS = ("valid", "test")
SEARCH, TRIVIAL, SHORT, CEILING = "search", "trivial", "short training", "ceiling"


@dataclass(frozen=True)
class Candidate:
    """One network that was trained with every seed.

    Args:
        sampled: The network and its stratum.
        flops: Forward FLOPs of its layers on one sequence of full length.
        runs: Its trainings, by seed.
    """

    sampled: Sampled
    flops: int
    runs: dict[int, ResultRecord]

    @property
    def parameters(self) -> int:
        """Trainable numbers."""
        return next(iter(self.runs.values())).n_parameters

    def mean(self, part: str, metric: str) -> float:
        """Return the mean over seeds of a metric on ``valid`` or ``test``."""
        return float(np.mean([getattr(run, part)[metric] for run in self.runs.values()]))


@dataclass(frozen=True)
class Signal:
    """Something that ranks the networks.

    Args:
        name: For people.
        kind: ``search``, ``trivial``, ``short training`` or ``ceiling``.
        scores: ``(n,)`` by seed, higher is better.
        own: Whether the scores of a seed come out of that seed's trainings, which then are no judge of them.
        parts: What it can be held against.
        seconds: Mean wall time to make it; nan where it comes for nothing.
    """

    name: str
    kind: str
    scores: dict[int, Array]
    own: bool = False
    parts: tuple[str, ...] = PARTS
    seconds: float = math.nan


@dataclass(frozen=True)
class Fidelity:
    """How well one signal ranks the networks by one metric of one part.

    Args:
        signal: The signal.
        part: ``valid`` or ``test``.
        metric: Such as ``ndcg@20``.
        measures: Value and interval of ``tau``, ``rho``, ``top tau`` and ``regret``.
        excess: τ minus that of the best trivial rule; ``None`` for the rules themselves.
        between_seeds: τ between the signal's own seeds; nan with one.
    """

    signal: Signal
    part: str
    metric: str
    measures: dict[str, Measure]
    excess: Measure | None
    between_seeds: float


@dataclass
class FidelityTable:
    """Everything the page, the figure and the CSVs are made of.

    Args:
        seeds: Of the trainings.
        candidates: Networks with a training from every seed, in the order of the sample.
        search: Scores of the search signals, by name.
        early_epochs: Epochs whose validation score is asked, too.
    """

    seeds: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    search: dict[str, list[SignalRecord]]
    early_epochs: tuple[int, ...]
    _found: dict[str, list[Fidelity]] = field(default_factory=dict)
    _predicted: dict[tuple[str, str], dict[int, Measure]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """Metrics of the trainings, the one that stopped them first."""
        record = next(iter(self.candidates[0].runs.values()))
        return list(dict.fromkeys([record.valid_metric, *record.test]))

    def truth(self, part: str, metric: str, without: int | None = None) -> Array:
        """Return the mean of every network over the seeds, one left out where a signal comes from it."""
        seeds = [seed for seed in self.seeds if seed != without]
        means = np.array([[getattr(c.runs[s], part)[metric] for s in seeds] for c in self.candidates]).mean(axis=1)
        return np.asarray(np.round(means, _DIGITS))

    def signals(self) -> list[Signal]:
        """Return all signals but those that cannot be told from a constant, or need a second training seed."""
        found = [*self._search(), *self._trivial(), *self._short(), *self._ceilings()]
        return [
            signal
            for signal in found
            if any(np.ptp(scores) > 0 for scores in signal.scores.values()) and not (signal.own and len(self.seeds) < 2)
        ]

    def fidelity(self, metric: str) -> list[Fidelity]:
        """Return how every signal ranks the networks by ``metric``, on each part it can be held against."""
        if metric not in self._found:
            rows, signals = resamples(len(self.candidates)), self.signals()
            self._found[metric] = [
                self._one(signal, part, metric, signals, rows) for signal in signals for part in signal.parts
            ]
        return self._found[metric]

    def predictions(self, part: str, metric: str) -> dict[int, Measure]:
        """Return τ of what so many networks' trainings with one seed predict for the others, by their number.

        What was predicted for is judged by the trainings from other seeds, so two are needed; see
        :func:`~recbole_nasr.studies.fidelity_predictions.prediction_tau`.
        """
        if len(self.seeds) < 2:
            return {}
        key = (part, metric)
        if key not in self._predicted:
            networks = [candidate.sampled.architecture for candidate in self.candidates]
            scores = {s: np.array([c.runs[s].valid[metric] for c in self.candidates]) for s in self.seeds}
            truths = {s: self.truth(part, metric, without=s) for s in self.seeds}
            sizes = [size for size in SIZES if size <= len(networks) - LEAST_LEFT]
            self._predicted[key] = {size: prediction_tau(networks, scores, truths, size) for size in sizes}
        return self._predicted[key]

    def random_regret(self, part: str, metric: str) -> float:
        """Return what a network drawn at random from the sample stays behind the best, on average."""
        truth = self.truth(part, metric)[None]
        return float(regret(np.zeros_like(truth), truth)[0])

    def pairs(self, signal: Signal, part: str, metric: str) -> Pairs:
        """Return the scores of ``signal`` beside the truth that may judge them, seed by seed."""
        return [
            (scores, self.truth(part, metric, without=seed if signal.own else None))
            for seed, scores in signal.scores.items()
        ]

    def _one(self, signal: Signal, part: str, metric: str, signals: Sequence[Signal], rows: Any) -> Fidelity:
        pairs = self.pairs(signal, part, metric)
        rules = {rule.name: self.pairs(rule, part, metric) for rule in signals if rule.kind == TRIVIAL}
        more = excess(pairs, rules, rows) if rules and signal.kind != TRIVIAL else None
        return Fidelity(signal, part, metric, measures(pairs, rows), more, between_seeds(signal.scores))

    def _search(self) -> list[Signal]:
        names = [str(candidate.sampled.architecture) for candidate in self.candidates]
        found = []
        for label, records in self.search.items():
            scores = {record.seed: -np.array([record.scores[name] for name in names]) for record in records}
            seconds = float(np.mean([record.seconds for record in records])) if records else math.nan
            found.append(Signal(label, SEARCH, scores, seconds=seconds))
        return found

    def _trivial(self) -> list[Signal]:
        layers = [candidate.sampled.architecture.layers for candidate in self.candidates]
        families = sorted({family_of(name) for path in layers for name in path})
        # Of two families the share of one says that of the other.
        shown = families[:1] if len(families) == 2 else families
        rules: dict[str, Callable[[Candidate], float]] = {
            "parameters": lambda candidate: candidate.parameters,
            "FLOPs": lambda candidate: candidate.flops,
        }
        values = {name: np.array([rule(c) for c in self.candidates], float) for name, rule in rules.items()}
        for family in shown:
            values[f"share of {family}"] = np.array(
                [np.mean([family_of(n) == family for n in path]) for path in layers]
            )
        return [Signal(name, TRIVIAL, {0: scores}) for name, scores in values.items()]

    def _short(self) -> list[Signal]:
        found = []
        longest = max(run.curve[-1][0] if run.curve else 0 for c in self.candidates for run in c.runs.values())
        for epoch in (epoch for epoch in self.early_epochs if epoch < longest):
            scores = {seed: np.array([_score_at(c.runs[seed], epoch) for c in self.candidates]) for seed in self.seeds}
            if not any(np.isnan(values).any() for values in scores.values()):
                found.append(Signal(f"validation after {epoch} epoch{'s' * (epoch > 1)}", SHORT, scores, own=True))
        return found

    def _ceilings(self) -> list[Signal]:
        metric = self.metrics[0]
        by_seed = {
            part: {s: np.array([getattr(c.runs[s], part)[metric] for c in self.candidates]) for s in self.seeds}
            for part in PARTS
        }
        return [
            Signal("another training, validation", CEILING, by_seed["valid"], own=True),
            Signal("another training, test", CEILING, by_seed["test"], own=True, parts=("test",)),
            Signal("its own validation", CEILING, {0: self.truth("valid", metric)}, parts=("test",)),
        ]


def _score_at(run: ResultRecord, epoch: int) -> float:
    """Return the last validation score up to ``epoch``; nan where there is none."""
    scores = [score for number, score in run.curve if number <= epoch]
    return scores[-1] if scores else math.nan


def build_table(
    sample: Sequence[Sampled],
    seeds: tuple[int, ...],
    runs: Sequence[ResultRecord],
    search: dict[str, list[SignalRecord]],
    early_epochs: tuple[int, ...],
) -> FidelityTable:
    """Put trainings and signals together; networks that lack a training from one of the seeds are left out.

    Args:
        sample: All networks of the study.
        seeds: Of the trainings.
        runs: Those that have finished.
        search: Scores of the search signals, by name.
        early_epochs: Epochs whose validation score is asked, too.
    """
    by_network: dict[str, dict[int, ResultRecord]] = {}
    for run in runs:
        by_network.setdefault(run.architecture, {})[run.seed] = run
    candidates = []
    for sampled in sample:
        own = by_network.get(str(sampled.architecture), {})
        if own.keys() >= set(seeds):
            settings = own[seeds[0]].settings
            length = int(settings["MAX_ITEM_LIST_LENGTH"])
            common = layer_settings(settings)
            flops = sum(operation_flops(name, common, length) for name in sampled.architecture.layers)
            candidates.append(Candidate(sampled, flops, {seed: own[seed] for seed in seeds}))
    return FidelityTable(seeds, tuple(candidates), search, early_epochs)
