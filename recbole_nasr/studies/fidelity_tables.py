"""What the study `fidelity` has found: networks with their trainings, signals with their scores, and the measures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_nasr.model.settings import layer_settings
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.space.strata import Sampled
from recbole_nasr.studies.fidelity_predictions import LEAST_LEFT, SIZES, prediction_taus
from recbole_nasr.studies.fidelity_signals import (
    PARTS,
    TRIVIAL,
    Signal,
    TrainedNetwork,
    ceiling_signals,
    mean_results,
    results_of,
    search_signals,
    short_signals,
    trivial_signals,
)
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
        networks: Those with a training from every seed, in the order of the sample.
        search: Scores of the search signals, by name.
        early_epochs: Epochs whose validation score is asked, too.
    """

    seeds: tuple[int, ...]
    networks: tuple[TrainedNetwork, ...]
    search: dict[str, list[SignalRecord]]
    early_epochs: tuple[int, ...]
    _found: dict[str, list[Fidelity]] = field(default_factory=dict)
    _predicted: dict[str, dict[int, dict[str, Measure]]] = field(default_factory=dict)

    @property
    def metrics(self) -> list[str]:
        """Metrics of the trainings, the one that stopped them first."""
        record = next(iter(self.networks[0].runs.values()))
        return list(dict.fromkeys([record.valid_metric, *record.test]))

    def truth(self, part: str, metric: str, without: int | None = None) -> Array:
        """Return the mean of every network over the seeds, one left out where a signal comes from it."""
        return mean_results(self.networks, part, metric, [seed for seed in self.seeds if seed != without])

    def signals(self) -> list[Signal]:
        """Return all signals but those that cannot be told from a constant, or need a second training seed."""
        found = [
            *search_signals(self.networks, self.search),
            *trivial_signals(self.networks),
            *short_signals(self.networks, self.seeds, self.early_epochs),
            *ceiling_signals(self.networks, self.seeds, self.metrics[0]),
        ]
        return [
            signal
            for signal in found
            if any(np.ptp(scores) > 0 for scores in signal.scores.values()) and not (signal.own and len(self.seeds) < 2)
        ]

    def fidelity(self, metric: str) -> list[Fidelity]:
        """Return how every signal ranks the networks by ``metric``, on each part it can be held against."""
        if metric not in self._found:
            rows, signals = resamples(len(self.networks)), self.signals()
            self._found[metric] = [
                self._one(signal, part, metric, signals, rows) for signal in signals for part in signal.parts
            ]
        return self._found[metric]

    def predictions(self, metric: str) -> dict[int, dict[str, Measure]]:
        """Return τ of what so many networks' trainings with one seed predict for the others, by their number and part.

        What was predicted for is judged by the trainings from other seeds, so two are needed; see
        :func:`~recbole_nasr.studies.fidelity_predictions.prediction_taus`.
        """
        if len(self.seeds) < 2:
            return {}
        if metric not in self._predicted:
            architectures = [network.sampled.architecture for network in self.networks]
            scores = {seed: results_of(self.networks, "valid", metric, seed) for seed in self.seeds}
            truths = {part: {seed: self.truth(part, metric, without=seed) for seed in self.seeds} for part in PARTS}
            sizes = [size for size in SIZES if size <= len(architectures) - LEAST_LEFT]
            self._predicted[metric] = {size: prediction_taus(architectures, scores, truths, size) for size in sizes}
        return self._predicted[metric]

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
        truths = [truth for _, truth in pairs] if signal.own else [self.truth(part, metric)]
        rules = {
            rule.name: [(scores, truth) for scores in rule.scores.values() for truth in truths]
            for rule in signals
            if rule.kind == TRIVIAL
        }
        more = excess(pairs, rules, rows) if rules and signal.kind != TRIVIAL else None
        return Fidelity(signal, part, metric, measures(pairs, rows), more, between_seeds(signal.scores))


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
    networks = []
    for sampled in sample:
        own = by_network.get(str(sampled.architecture), {})
        if own.keys() >= set(seeds):
            settings = own[seeds[0]].settings
            length = int(settings["MAX_ITEM_LIST_LENGTH"])
            common = layer_settings(settings)
            flops = sum(operation_flops(name, common, length) for name in sampled.architecture.layers)
            networks.append(TrainedNetwork(sampled, flops, {seed: own[seed] for seed in seeds}))
    return FidelityTable(seeds, tuple(networks), search, early_epochs)
