"""Optuna runs a study: each process takes trials from the queue until nothing is left for it to do.

A trial is taken under a file lock, because SQLite has no row locks.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import optuna
from optuna.exceptions import ExperimentalWarning, UpdateFinishedTrialError
from optuna.trial import Trial

from recbole_nasr.errors import NASRError, NumericalError, StoppedError, is_finite
from recbole_nasr.keeping.stopping import outside_steps, within_steps
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.queue import TrialQueue
from recbole_nasr.studies.storage import study_lock
from recbole_nasr.studies.trials import Follower, Following, this_process

_LOG = logging.getLogger("recbole_nasr")


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


@dataclass
class Engine:
    """One process that works on a study.

    Args:
        queue: What there is to run.
        run_cell: Makes one run.
    """

    queue: TrialQueue
    run_cell: RunCell

    def __post_init__(self) -> None:
        self._asked = self.queue.asked
        self._lock = study_lock(self._asked)
        budget = self._asked.time_budget
        self._end = time.monotonic() + (float("inf") if budget is None else budget)
        self._started = 0

    def run(self) -> None:
        """Take trials until none is left, or the budget is spent.

        Raises:
            KeyboardInterrupt: As it came; the interrupted trial will be run again.
        """
        retry = self._asked.retry_failed
        while self._within_budget():
            self._lock.acquire()
            try:
                self.queue.reclaim()
                self.queue.fill(retry=retry)
                retry = False
                if not self.queue.anything_left():
                    return
                with warnings.catch_warnings(), within_steps():  # of Optuna, which must not be left half done
                    warnings.simplefilter("ignore", ExperimentalWarning)
                    self._take_one()
            finally:
                self._lock.release(force=True)

    def _take_one(self) -> None:
        """Let Optuna take a trial and make its run."""
        self._number = -1
        try:
            self.queue.study.optimize(self._objective, n_trials=1, catch=(Exception,))
        except (ValueError, UpdateFinishedTrialError):
            if not self.queue.is_over(self._number):
                raise
            # A machine that slept, or a database out of reach: this process gave no sign of life for too long.
            _LOG.warning(
                "Another process took trial %d for lost and queued its run again; the result of this one is used.",
                self._number,
            )

    def _within_budget(self) -> bool:
        if time.monotonic() >= self._end:
            _LOG.info("The time budget is spent; repeat the command to continue.")
            return False
        limit = None if self.queue.draws else self._asked.n_trials  # of a study that draws, it is the size
        return limit is None or self._started < limit

    def _objective(self, trial: Trial) -> float:
        """Make the run of a ``trial`` that was just taken, and store with it what came of it."""
        self._number = trial.number
        trial.set_user_attr("process", this_process())
        try:
            cell = self.queue.claim(trial)
        finally:
            self._lock.release(force=True)
        _LOG.info("trial %d: %s", trial.number, cell.key)
        self._started += 1
        with _reason_kept(trial):
            record, reused = self._carried_out(trial, cell)
            self._started -= reused  # a record was found, and nothing was run
            _store(trial, cell, record, reused=reused)
            return _score(record)

    def _carried_out(self, trial: Trial, cell: Cell) -> tuple[Record, bool]:
        """Return what the run leaves; where it leaves nothing, store why."""
        follower = Following(trial, prunes=self.queue.draws)
        try:
            with outside_steps():
                return self.run_cell(cell, self.queue.needed_architecture(cell), follower)
        except StoppedError as error:
            trial.set_user_attr("stopped", str(error))
            raise optuna.TrialPruned(str(error)) from error
        except KeyboardInterrupt:
            trial.set_user_attr("interrupted", value=True)
            raise


@contextmanager
def _reason_kept(trial: Trial) -> Iterator[None]:
    """Store with ``trial`` why it fails: without a reason it would count as killed."""
    try:
        yield
    except optuna.TrialPruned:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, NASRError) else f"{type(error).__name__}: {error}"
        trial.set_user_attr("error", reason)
        _LOG.info("trial %d failed: %s", trial.number, " ".join(reason.split()))
        raise


def _store(trial: Trial, cell: Cell, record: Record, *, reused: bool) -> None:
    for name in ("key", "seed", "model", "dataset", "architecture", "run"):
        trial.set_user_attr(name, getattr(record, name))
    trial.set_user_attr("row", cell.label)
    trial.set_user_attr("reused", reused)


def _score(record: Record) -> float:
    """Return what the run is compared by; of a trial without a number Optuna keeps no reason.

    Raises:
        NumericalError: If it is not finite.
    """
    score = record.objective
    if not is_finite(score):
        msg = f"The validation score of a run must be finite, but is {score}; see its run folder {record.run}."
        raise NumericalError(msg)
    return score
