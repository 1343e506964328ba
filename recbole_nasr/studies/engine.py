"""Optuna runs a study: a queue of trials that any number of processes and machines take from.

The points of a grid are put into Optuna's queue, in order; GridSampler alone may hand one point to two processes, and
counts a failed trial as done. A trial is taken under a file lock, because SQLite has no row locks; on a database server
a run that two machines have queued at once is recognised and left to the earlier trial.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_nasr.errors import NASRError, StoppedError
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.storage import study_lock
from recbole_nasr.studies.trials import (
    Follower,
    Following,
    began_at,
    cell_of,
    choice,
    is_dead,
    this_process,
    was_killed,
)

_LOG = logging.getLogger("recbole_nasr")

LARGEST_SEED = 2**31 - 1
KILLED_OFTEN = 5
"""A run whose process was killed so often without getting any further is not tried again.

Most likely it does not fit into memory.
"""

_ALIVE = (TrialState.WAITING, TrialState.RUNNING)
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class Record(Protocol):
    """What the engine stores of a finished run."""

    @property
    def key(self) -> str:
        """Hash of data and settings."""
        ...

    @property
    def seed(self) -> int:
        """Of the run."""
        ...

    @property
    def model(self) -> str:
        """Name of the model."""
        ...

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        ...

    @property
    def architecture(self) -> str:
        """The network, as text; may be empty."""
        ...

    @property
    def run(self) -> str:
        """Folder of the run; may be empty."""
        ...

    @property
    def objective(self) -> float:
        """What a sampler maximises; means nothing where all runs are fixed beforehand."""
        ...


class RunCell(Protocol):
    """Carries out one run, or finds its record; calls ``on_validation`` after each validated epoch."""

    def __call__(self, cell: Cell, architecture: str, on_validation: Follower) -> tuple[Record, bool]:
        """Return the record, and whether it existed before."""
        ...


class _Elsewhere(Exception):  # noqa: N818 - no error: the trial is simply not ours to run
    """Another trial has this run, or none is left."""


@dataclass
class Engine:
    """One process that works on a study until nothing is left for it to do.

    Args:
        asked: The command.
        study: The study in its storage.
        cells: All runs; for `tune`, empty.
        run_cell: Makes one run.
        draw: For `tune`: makes a run from what a trial draws.
    """

    asked: StudyRequest
    study: optuna.Study
    cells: Sequence[Cell]
    run_cell: RunCell
    draw: Callable[[Trial], Cell] | None = None

    def __post_init__(self) -> None:
        self._by_key = {cell.key: cell for cell in self.cells}
        self._lock = study_lock(self.asked)
        budget = self.asked.time_budget
        self._end = time.monotonic() + (float("inf") if budget is None else budget)
        self._started = 0

    def run(self) -> None:
        """Take trials until none is left, or the budget is spent.

        Raises:
            KeyboardInterrupt: As it came; the interrupted trial will be run again.
        """
        retry = self.asked.retry_failed
        while self._within_budget():
            self._lock.acquire()
            try:
                self._reclaim()
                self._fill_queue(retry=retry)
                retry = False
                if not self._anything_left():
                    return
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    self.study.optimize(self._objective, n_trials=1, catch=(Exception,))
            finally:
                self._lock.release(force=True)
            self._started += 1

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have a result, in their order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]

    def failures(self) -> list[tuple[str, str]]:
        """Return the name and the reason of every run that has failed, is not tried again, and has no result."""
        trials = self.study.get_trials(deepcopy=False)
        done = {cell_of(trial) for trial in trials if trial.state in _DONE}
        return [(cell, reason) for cell, reason in self._given_up(trials).items() if cell not in done]

    def _given_up(self, trials: Sequence[FrozenTrial]) -> dict[str, str]:
        """Return why each run is not tried again: its error, or that it was killed too often in one place."""
        failed = [trial for trial in trials if trial.state == TrialState.FAIL and "elsewhere" not in trial.user_attrs]
        reasons = {cell_of(trial): trial.user_attrs["error"] for trial in failed if "error" in trial.user_attrs}
        killed = Counter(
            (cell_of(trial), began_at(trial))
            for trial in failed
            if "error" not in trial.user_attrs and was_killed(trial)
        )
        often = {
            cell: f"its process was killed {n} times without getting any further"
            for (cell, _), n in killed.items()
            if n >= KILLED_OFTEN
        }
        return {**often, **reasons}

    def unfinished(self) -> int:
        """Return how many runs wait, run elsewhere, or have not been queued or drawn yet."""
        trials = self.study.get_trials(deepcopy=False)
        if self.draw is not None:
            return sum(trial.state in _ALIVE for trial in trials) + self._left_to_draw(trials)
        over = {cell_of(trial) for trial in trials if trial.state in _DONE}
        return len(self._by_key.keys() - over - self._given_up(trials).keys())

    def _within_budget(self) -> bool:
        if time.monotonic() >= self._end:
            _LOG.info("The time budget is spent; repeat the command to continue.")
            return False
        return self.draw is not None or self.asked.n_trials is None or self._started < self.asked.n_trials

    def _anything_left(self) -> bool:
        trials = self.study.get_trials(deepcopy=False)
        return any(trial.state == TrialState.WAITING for trial in trials) or self._left_to_draw(trials) > 0

    def _left_to_draw(self, trials: Sequence[FrozenTrial]) -> int:
        """Return how many trials of `tune` are still to be drawn; killed and interrupted ones do not count."""
        if self.draw is None:
            return 0
        wanted = self.asked.n_trials or self.asked.definition.n_trials
        drawn = sum(trial.state in (*_ALIVE, *_DONE) or "error" in trial.user_attrs for trial in trials)
        return max(0, wanted - drawn)

    def _reclaim(self) -> None:
        """Mark trials as failed whose process on this machine has ended; Optuna's heartbeat finds those elsewhere."""
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_dead(trial.user_attrs.get("process")):
                _LOG.info("Trial %d was killed while it ran; it is run again.", trial.number)
                self.study.tell(trial.number, state=TrialState.FAIL)

    def _fill_queue(self, *, retry: bool) -> None:
        """Queue every run that has no trial, or whose trial was killed or interrupted."""
        trials = self.study.get_trials(deepcopy=False)
        taken = {cell_of(trial) for trial in trials if trial.state in (*_ALIVE, *_DONE)}
        given_up = set() if retry else set(self._given_up(trials))
        if self.draw is not None:
            for trial in trials:
                if trial.state == TrialState.FAIL and cell_of(trial) and cell_of(trial) not in taken | given_up:
                    taken.add(cell_of(trial))
                    self.study.enqueue_trial(trial.params, user_attrs={"cell": cell_of(trial)})
            return
        for key, cell in self._by_key.items():
            if key not in taken | given_up and (not cell.needs or self._architecture(cell.needs)):
                self.study.enqueue_trial(self._parameters(cell), user_attrs={"cell": key})

    def _parameters(self, cell: Cell) -> dict[str, Any]:
        point = {key: choice(value) for key, value in cell.point.items()}
        return {"row": cell.label, "dataset": cell.dataset, **point, "seed": cell.seed}

    def _architecture(self, key: str) -> str:
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
            if cell_of(trial) == key:
                return str(trial.user_attrs["architecture"])
        return ""

    def _objective(self, trial: Trial) -> float:
        trial.set_user_attr("process", this_process())
        try:
            cell = self._claimed(trial)
        finally:
            self._lock.release(force=True)
        _LOG.info("trial %d: %s", trial.number, cell.key)
        follower = Following(trial, prunes=self.draw is not None)
        try:
            record, reused = self.run_cell(cell, self._architecture(cell.needs) if cell.needs else "", follower)
        except StoppedError as error:
            trial.set_user_attr("stopped", str(error))
            raise optuna.TrialPruned(str(error)) from error
        except Exception as error:
            reason = str(error) if isinstance(error, NASRError) else f"{type(error).__name__}: {error}"
            trial.set_user_attr("error", reason)
            _LOG.info("trial %d failed: %s", trial.number, " ".join(reason.split()))
            raise
        except KeyboardInterrupt:
            trial.set_user_attr("interrupted", value=True)
            raise
        for name in ("key", "seed", "model", "dataset", "architecture", "run"):
            trial.set_user_attr(name, getattr(record, name))
        trial.set_user_attr("row", cell.label)
        trial.set_user_attr("reused", reused)
        return record.objective

    def _claimed(self, trial: Trial) -> Cell:
        """Return the run of a trial that was just taken, and set its parameters in Optuna."""
        if self.draw is not None:
            cell = self.draw(trial)
            trial.set_user_attr("cell", cell.key)
            return cell
        key = trial.user_attrs.get("cell", "")
        if key not in self._by_key:
            trial.set_user_attr("elsewhere", "Another process took the last run, or asks for seeds of its own.")
            raise _Elsewhere
        for other in self.study.get_trials(deepcopy=False):
            if other.number < trial.number and cell_of(other) == key and other.state in (*_ALIVE, *_DONE):
                trial.set_user_attr("elsewhere", f"Trial {other.number} has this run.")
                raise _Elsewhere
        cell = self._by_key[key]
        definition = self.asked.definition
        trial.suggest_categorical("row", [run.label for run in definition.runs])
        trial.suggest_categorical("dataset", list(self.asked.datasets))
        for name, values in definition.varied.items():
            trial.suggest_categorical(name, [choice(value) for value in values])
        trial.suggest_int("seed", 0, LARGEST_SEED)
        return cell
