"""What ranks the networks of the study `fidelity`: search signals, trivial rules, short trainings, and ceilings."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_nasr.ops.registry import family_of
from recbole_nasr.runs.results import more_is_better
from recbole_nasr.space.strata import Sampled
from recbole_nasr.studies.fidelity_statistics import Array
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.signals import SignalRecord

_DIGITS = 12  # means closer than this are ties; without rounding the last bit would break them

PARTS = ("valid", "test")
SEARCH, TRIVIAL, SHORT, CEILING = "search", "trivial", "short training", "ceiling"


@dataclass(frozen=True)
class TrainedNetwork:
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


def results_of(networks: Sequence[TrainedNetwork], part: str, metric: str, seed: int) -> Array:
    """Return a metric of the training of every network with ``seed``, ``(n,)``; its negative where less is better."""
    sign = 1 if more_is_better(metric) else -1
    return sign * np.array([getattr(network.runs[seed], part)[metric] for network in networks])


def mean_results(networks: Sequence[TrainedNetwork], part: str, metric: str, seeds: Sequence[int]) -> Array:
    """Return the mean of every network over ``seeds``, ``(n,)``; equal means are equal to the last bit."""
    stacked = np.stack([results_of(networks, part, metric, seed) for seed in seeds], axis=1)
    return np.asarray(np.round(stacked.mean(axis=1), _DIGITS))


def search_signals(networks: Sequence[TrainedNetwork], search: Mapping[str, Sequence[SignalRecord]]) -> list[Signal]:
    """Return the signals whose scores searches have given, by their names."""
    names = [str(network.sampled.architecture) for network in networks]
    found = []
    for label, records in search.items():
        scores = {record.seed: -np.array([record.scores[name] for name in names]) for record in records}
        seconds = float(np.mean([record.seconds for record in records])) if records else math.nan
        found.append(Signal(label, SEARCH, scores, seconds=seconds))
    return found


def trivial_signals(networks: Sequence[TrainedNetwork]) -> list[Signal]:
    """Return the rules that look at no data: parameters, FLOPs, and how much of each family a network has."""
    layers = [network.sampled.architecture.layers for network in networks]
    families = sorted({family_of(name) for path in layers for name in path})
    # Of two families the share of one says that of the other.
    shown = families[:1] if len(families) == 2 else families
    rules: dict[str, Callable[[TrainedNetwork], float]] = {
        "parameters": lambda network: network.parameters,
        "FLOPs": lambda network: network.flops,
    }
    values = {name: np.array([rule(network) for network in networks], float) for name, rule in rules.items()}
    for family in shown:
        values[f"share of {family}"] = np.array([np.mean([family_of(n) == family for n in path]) for path in layers])
    return [Signal(name, TRIVIAL, {0: scores}) for name, scores in values.items()]


def short_signals(networks: Sequence[TrainedNetwork], seeds: Sequence[int], epochs: Sequence[int]) -> list[Signal]:
    """Return the validation after each of ``epochs`` that some training went beyond and all have a score up to."""
    found = []
    longest = max(run.curve[-1][0] if run.curve else 0 for network in networks for run in network.runs.values())
    for epoch in (epoch for epoch in epochs if epoch < longest):
        scores = {seed: np.array([_score_at(network.runs[seed], epoch) for network in networks]) for seed in seeds}
        if not any(np.isnan(values).any() for values in scores.values()):
            found.append(Signal(f"validation after {epoch} epoch{'s' * (epoch > 1)}", SHORT, scores, own=True))
    return found


def ceiling_signals(networks: Sequence[TrainedNetwork], seeds: Sequence[int], metric: str) -> list[Signal]:
    """Return what other trainings of the networks say, by ``metric``.

    Called ceilings, but no bounds: a training has noise of its own, and a signal without any may agree better.
    """
    valid, test = ({seed: results_of(networks, part, metric, seed) for seed in seeds} for part in PARTS)
    return [
        Signal("another training, validation", CEILING, valid, own=True),
        Signal("another training, test", CEILING, test, own=True, parts=("test",)),
        Signal("its own validation", CEILING, {0: mean_results(networks, "valid", metric, seeds)}, parts=("test",)),
    ]


def _score_at(run: ResultRecord, epoch: int) -> float:
    """Return the last validation score up to ``epoch``; nan where there is none."""
    scores = [score for number, score in run.curve if number <= epoch]
    return scores[-1] if scores else math.nan
