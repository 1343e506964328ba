"""One run of a study: an ordinary run in a folder of its own, and its record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna.trial import Trial

from recbole_nasr.configuration.files import settings_text
from recbole_nasr.errors import ConfigError, NASRError, did_you_mean
from recbole_nasr.keeping import Keeper
from recbole_nasr.runs import checking
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.identity import run_key
from recbole_nasr.runs.pipeline import run_model
from recbole_nasr.runs.results import RunResult
from recbole_nasr.runs.unfinished import RunPlace, opened_run
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.ranges import checked_range
from recbole_nasr.studies.record import ResultRecord, find_record, result_key
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.storage import trial_sampler
from recbole_nasr.studies.trials import Follower, choice, points_before


@dataclass(frozen=True)
class OpenedRun:
    """The folder of a run that no other process has.

    Args:
        folder: Where it writes.
        settings_file: Its complete settings.
        keeper: Saves the state of the run, and has the one to go on from.
        key: From :func:`recbole_nasr.runs.identity.run_key`, to be found by.
    """

    folder: RunFolder
    settings_file: Path
    keeper: Keeper
    key: str


@dataclass(frozen=True)
class Runner:
    """Carries out the runs of a study in this process, one after the other.

    RecBole changes process-wide state; :mod:`recbole_nasr.compat.isolation` puts it back after every run.

    Args:
        asked: The command.
        command: Its words, to write down.
        on_result: Called with every run that was made, such as to write its report.
    """

    asked: StudyRequest
    command: Sequence[str]
    on_result: Callable[[RunResult], None]

    def __call__(self, cell: Cell, architecture: str, on_validation: Follower) -> tuple[ResultRecord, bool]:
        """Carry out the run, unless there is the record of an equal one, of this or any other study.

        Args:
            cell: What to run.
            architecture: Of the run that it needs; else empty.
            on_validation: Called with where the run continues, and with each validated epoch.

        Returns:
            The record of the run, and whether it was there already.

        Raises:
            NASRError: If the settings cannot be used, or the run stops.
        """
        given = cell.given(architecture)
        effective = checking.check_run(cell.model, cell.dataset, given)
        key = result_key(cell.model, cell.dataset, effective)
        found = find_record(cell.model, key, cell.seed, self.record_folders(cell.dataset))
        if found is not None:
            return found, True
        curve: list[list[float]] = []

        def watch(epoch: int, score: float) -> None:
            curve.append([epoch + 1, score])
            on_validation(epoch, score)

        with self.opened(cell, effective, given, on_validation) as run:
            result = run_model(
                cell.model,
                cell.dataset,
                [run.settings_file],
                run.folder,
                command=self.command,
                on_validation=watch,
                on_result=self.on_result,
                keeper=run.keeper,
                key=run.key,
            )
        key = result_key(cell.model, cell.dataset, effective)  # the run may have downloaded its data
        record = ResultRecord.of_run(key, effective, result, curve)
        record.save(self.record_folders(cell.dataset)[0])
        return record, False

    @contextmanager
    def opened(
        self, cell: Cell, effective: Mapping[str, Any], given: Mapping[str, Any], follower: Follower, kind: str = ""
    ) -> Iterator[OpenedRun]:
        """Open a new folder for a run, or that of the same run where it was interrupted; write the settings there.

        Args:
            cell: What to run.
            effective: Every value in force.
            given: Complete settings of the run.
            follower: Told which saved state the run goes on from.
            kind: What tells the run from others with the same settings and label.
        """
        request = self.asked.request
        name = f"{self.asked.name}-{re.sub(r'[^A-Za-z0-9.]+', '-', cell.label).strip('-')}"
        key_name = f"{name} {kind}" if kind else name
        key = run_key(cell.model, cell.dataset, effective, name=key_name, n_processes=1)
        place = RunPlace(request.runs_dir, cell.dataset, cell.model, name)
        with opened_run(place, key, fresh=request.fresh, interval=request.checkpoint_interval) as (folder, keeper):
            follower.begins(keeper.describe())
            text = settings_text({"model": cell.model, "dataset": cell.dataset, **given})
            yield OpenedRun(folder, folder.write_text("settings.yaml", text), keeper, key)

    def record_folders(self, dataset: str) -> list[Path]:
        """Return where records of runs on ``dataset`` are: the first is written to."""
        own = self.asked.request.runs_dir / dataset / "runs"
        return [own, *([self.asked.results] if self.asked.results else [])]


@dataclass(frozen=True)
class Draw:
    """Makes runs of `tune` from what Optuna's sampler draws.

    Args:
        asked: The command.
        base: Settings of the model before anything is drawn.
        space: What is drawn; only keys that the model knows.
    """

    asked: StudyRequest
    base: dict[str, Any]
    space: dict[str, Any]

    def __call__(self, trial: Trial) -> Cell:
        """Return the run of ``trial``."""
        trial.study.sampler = trial_sampler(self.asked, points_before(trial))
        (run,) = self.asked.definition.runs
        point = {key: self._drawn(trial, key, values) for key, values in self.space.items()}
        return Cell(
            run.label, run.model, self.asked.request.dataset, {**self.base, **point}, self.asked.seeds[0], point
        )

    @staticmethod
    def _drawn(trial: Trial, key: str, values: Any) -> Any:
        if isinstance(values, list):
            texts = [choice(value) for value in values]
            return values[texts.index(trial.suggest_categorical(key, texts))]
        suggest = trial.suggest_int if all(isinstance(values[end], int) for end in ("low", "high")) else None
        return (suggest or trial.suggest_float)(key, values["low"], values["high"], log=values["log"])


def tuned_space(asked: StudyRequest, settings: dict[str, Any]) -> dict[str, Any]:
    """Return what `tune` draws: the keys of its space that the model has, but for those the user has set.

    Of the shipped space the values that the model refuses are left out, such as fewer layers than blocks.

    Args:
        asked: The command.
        settings: Of the model, before anything is drawn.

    Raises:
        ConfigError: If the user's own space names a key that the model does not have, or holds no range, or if nothing
            is left to draw: all trials would be one.
    """
    definition = asked.definition
    (run,) = definition.runs
    known = checking.check_run(run.model, asked.request.dataset, settings)
    for key in definition.space:
        if asked.own_space and key not in known:
            msg = f"`--space` has {key!r}, which is not a key of {run.model}.{did_you_mean(key, known)}"
            raise ConfigError(msg)
    free = known.keys() - {key for part in asked.request.settings_of(run.model) for key in part}
    ranges = {key: checked_range(key, values, known.get(key)) for key, values in definition.space.items()}
    drawn = {key: values for key, values in ranges.items() if key in free}
    if not asked.own_space:
        drawn = {key: values for key, values in _accepted(asked, settings, drawn).items() if values}
    if not drawn:
        msg = (
            f"The study {definition.name} draws keys that {run.model} has and that are not set, but of "
            f"{', '.join(definition.space)} there is none; name others with --space."
        )
        raise ConfigError(msg)
    return drawn


def _accepted(asked: StudyRequest, settings: Mapping[str, Any], space: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``space`` without the choices that no run could start with."""
    (run,) = asked.definition.runs

    def starts(key: str, value: Any) -> bool:
        try:
            checking.check_run(run.model, asked.request.dataset, {**settings, key: value})
        except NASRError:
            return False
        return True

    return {
        key: [value for value in values if starts(key, value)] if isinstance(values, list) else values
        for key, values in space.items()
    }
