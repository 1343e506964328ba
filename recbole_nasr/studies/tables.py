"""The numbers of a study: one row per run, and means over seeds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_nasr.studies.plan import value_text
from recbole_nasr.studies.record import ResultRecord


@dataclass(frozen=True)
class FinishedRun:
    """One run of a study that has a result.

    Args:
        label: Its row.
        dataset: Name of the data set.
        point: What the study varies.
        record: What it gave.
        reused: Whether it was made by an earlier study.
    """

    label: str
    dataset: str
    point: Mapping[str, Any]
    record: ResultRecord
    reused: bool = False

    @property
    def row(self) -> str:
        """Name of the row: label and point, without the seed."""
        return row_name(self.label, self.point)

    @property
    def is_random(self) -> bool:
        """Whether its network was drawn at random from a search space."""
        return bool(self.record.settings.get("architecture") == "random")


@dataclass(frozen=True)
class Row:
    """Runs that differ in their seed alone.

    Args:
        name: Label and point.
        dataset: Name of the data set.
        runs: In the order of the seeds.
    """

    name: str
    dataset: str
    runs: tuple[FinishedRun, ...]

    @property
    def metrics(self) -> list[str]:
        """Its test metrics; rows may have been given different ones."""
        return list(self.runs[0].record.test)

    def name_without(self, key: str) -> str:
        """Return its name without ``key``, which is the same for all rows that differ in that alone."""
        run = self.runs[0]
        return row_name(run.label, {name: value for name, value in run.point.items() if name != key})

    def mean_sd(self, part: str, metric: str) -> tuple[float, float]:
        """Return mean and standard deviation over seeds of ``valid`` or ``test``; nan for the latter with one seed."""
        return mean_sd([getattr(run.record, part)[metric] for run in self.runs])

    def of_networks(self, metric: str) -> list[float]:
        """Return the test metric of each network, a mean over its trainings; of each training if there is one network.

        The trainings of a network that a search found say nothing about what another search would find.
        """
        values: dict[str, list[float]] = {}
        for run in self.runs:
            values.setdefault(run.record.architecture, []).append(run.record.test[metric])
        several = [float(np.mean(trainings)) for trainings in values.values()]
        return several if len(several) > 1 else next(iter(values.values()))


def row_name(label: str, point: Mapping[str, Any]) -> str:
    """Return the name of a row, such as ``SASRec-1, n_layers=8``."""
    return ", ".join([label, *(f"{key}={value_text(value)}" for key, value in point.items())])


def mean_sd(values: Sequence[float]) -> tuple[float, float]:
    """Return mean and sample standard deviation, which is nan for a single value.

    Example:
        >>> mean_sd([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan


def rows_of(runs: Sequence[FinishedRun]) -> list[Row]:
    """Gather the runs that differ in their seed alone, in the order of the study."""
    groups: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        groups.setdefault((run.dataset, run.row), []).append(run)
    return [
        Row(name, dataset, tuple(sorted(group, key=lambda run: run.record.seed)))
        for (dataset, name), group in groups.items()
    ]


def metrics_of(rows: Sequence[Row]) -> list[str]:
    """Return every test metric of any of the rows."""
    return list(dict.fromkeys(name for row in rows for name in row.metrics))


def searches(runs: Sequence[FinishedRun]) -> list[Row]:
    """Gather the runs that have searched; further trainings of what they found, and all other rows, are left out."""
    return rows_of([run for run in runs if "search" in run.record.seconds])


_STAGES = ("search", "verification", "training", "test")  # the second trains candidates, where a search has any


def tidy(study: str, runs: Sequence[FinishedRun]) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows of the table with one row per run, numbers unrounded."""
    points = list(dict.fromkeys(key for run in runs for key in run.point))
    metrics = list(dict.fromkeys(name for run in runs for name in run.record.test))
    stages = [stage for stage in _STAGES if stage != "verification" or any(stage in run.record.seconds for run in runs)]
    header = ["study", "row", "model", "dataset", "seed", "architecture", *points]
    header += [f"{part}_{name}" for part in ("valid", "test") for name in metrics]
    header += [f"{stage}_seconds" for stage in stages]
    header += ["step_seconds", "epochs", "best_epoch", "parameters", "device", "reused", "key", "run"]
    table = []
    for run in runs:
        record = run.record
        line: list[Any] = [study, run.label, record.model, run.dataset, record.seed, record.architecture]
        values = [run.point.get(key, "") for key in points]
        line += [value if isinstance(value, float) else value_text(value) for value in values]
        line += [part.get(name) for part in (record.valid, record.test) for name in metrics]
        line += [record.seconds.get(stage, 0.0) for stage in stages]
        line += [record.step_seconds, record.epochs, record.best_epoch, record.n_parameters]
        table.append([*line, record.device_name, int(run.reused), record.key, record.run])
    return header, table
