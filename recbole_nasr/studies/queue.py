"""The queue of a study: which runs have a result, wait, run somewhere, or are given up.

The points of a grid are put into Optuna's queue, in order; GridSampler alone may hand one point to two processes, and
counts a failed trial as done. On a database server a run that two machines have queued at once is recognised and left
to the earlier trial.
"""

from __future__ import annotations

import logging
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.trial import FrozenTrial, Trial, TrialState

from recbole_nasr.errors import LARGEST_INTEGER
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.trials import REPEATED, began_at, cell_of, choice, is_dead, was_killed

_LOG = logging.getLogger("recbole_nasr")

KILLED_OFTEN = 5
"""A run whose process was killed so often without getting any further is not tried again.

Most likely it does not fit into memory.
"""

_ALIVE = (TrialState.WAITING, TrialState.RUNNING)
_DONE = (TrialState.COMPLETE, TrialState.PRUNED)


class _Elsewhere(Exception):  # noqa: N818 - no error: the trial is simply not ours to run
    """Another trial has this run, or none is left."""


@dataclass
class TrialQueue:
    """The trials of a study, as a queue of runs that several processes may take from.

    Args:
        asked: The command.
        study: The study in its storage.
        cells: All runs; for `tune`, empty.
        draw: For `tune`: makes a run from what a trial draws.
    """

    asked: StudyRequest
    study: optuna.Study
    cells: Sequence[Cell]
    draw: Callable[[Trial], Cell] | None = None

    def __post_init__(self) -> None:
        self._by_key = {cell.key: cell for cell in self.cells}

    @property
    def draws(self) -> bool:
        """Whether runs are drawn by a sampler, and not fixed beforehand."""
        return self.draw is not None

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have a result, in their order."""
        return [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]

    def is_over(self, number: int) -> bool:
        """Return whether the trial ``number`` has ended, in whatever way."""
        trials = self.study.get_trials(deepcopy=False)
        return any(trial.number == number and trial.state not in _ALIVE for trial in trials)

    def failures(self) -> list[tuple[str, str]]:
        """Return the name and the reason of every run that has no result and will have none unless asked for again."""
        trials = self.study.get_trials(deepcopy=False)
        done = {cell_of(trial) for trial in trials if trial.state in _DONE}
        given_up = {**self._given_up(trials), **self._stranded(trials)}.items()
        return [(cell or "a point that cannot be drawn", reason) for cell, reason in given_up if cell not in done]

    def unfinished(self) -> int:
        """Return how many runs wait, run elsewhere, or have not been queued or drawn yet."""
        trials = self.study.get_trials(deepcopy=False)
        if self.draw is not None:
            return sum(trial.state in _ALIVE for trial in trials) + self._left_to_draw(trials)
        over = {cell_of(trial) for trial in trials if trial.state in _DONE}
        return len(self._by_key.keys() - over - self._given_up(trials).keys() - self._stranded(trials).keys())

    def anything_left(self) -> bool:
        """Return whether a trial waits, or is still to be drawn."""
        trials = self.study.get_trials(deepcopy=False)
        return any(trial.state == TrialState.WAITING for trial in trials) or self._left_to_draw(trials) > 0

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

    def _stranded(self, trials: Sequence[FrozenTrial]) -> dict[str, str]:
        """Return why each run waits in vain whose architecture was to come from one that is given up."""
        tried = {cell_of(trial) for trial in trials if trial.state in (*_ALIVE, *_DONE)}
        lost = self._given_up(trials).keys() - tried
        return {cell.key: f"it needs what {cell.needs} was to find" for cell in self.cells if cell.needs in lost}

    def _left_to_draw(self, trials: Sequence[FrozenTrial]) -> int:
        """Return how many trials of `tune` are still to be drawn; killed and interrupted ones do not count."""
        if self.draw is None:
            return 0
        wanted = self.asked.n_trials or self.asked.definition.n_trials
        drawn = sum(trial.state in (*_ALIVE, *_DONE) or "error" in trial.user_attrs for trial in trials)
        return max(0, wanted - drawn)

    def reclaim(self) -> None:
        """Mark trials as failed whose process has ended: on this machine at once, elsewhere by Optuna's heartbeat.

        Optuna itself looks before it takes a trial, which it never does where the lost one is the last.
        """
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            optuna.storages.fail_stale_trials(self.study)
        for trial in self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if is_dead(trial.user_attrs.get("process")):
                _LOG.info("Trial %d was killed while it ran; it is run again.", trial.number)
                self.study.tell(trial.number, state=TrialState.FAIL)

    def fill(self, *, retry: bool) -> None:
        """Queue every run that has no trial, or whose trial was killed or interrupted.

        Args:
            retry: Queue those that are given up too.
        """
        trials = self.study.get_trials(deepcopy=False)
        taken = {cell_of(trial) for trial in trials if trial.state in (*_ALIVE, *_DONE)}
        passed_over = taken if retry else taken | self._given_up(trials).keys()
        if self.draw is not None:
            self._queue_drawn_again(trials, passed_over)
            return
        for key, cell in self._by_key.items():
            if key not in passed_over and (not cell.needs or self.needed_architecture(cell)):
                self.study.enqueue_trial(self._parameters(cell), user_attrs={"cell": key})

    def _queue_drawn_again(self, trials: Sequence[FrozenTrial], passed_over: set[str]) -> None:
        """Queue once more what failed trials have drawn; what is new is drawn when it is taken."""
        queued = set(passed_over)
        for trial in trials:
            key = cell_of(trial)
            if trial.state == TrialState.FAIL and key and key not in queued:
                queued.add(key)
                self.study.enqueue_trial(trial.params, user_attrs={"cell": key, **REPEATED})

    def _parameters(self, cell: Cell) -> dict[str, Any]:
        point = {key: choice(value) for key, value in cell.point.items()}
        return {"row": cell.label, "dataset": cell.dataset, **point, "seed": cell.seed}

    def needed_architecture(self, cell: Cell) -> str:
        """Return the architecture of the run that ``cell`` needs; empty if it needs none, or one without a result."""
        if cell.needs:
            for trial in self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
                if cell_of(trial) == cell.needs:
                    return str(trial.user_attrs["architecture"])
        return ""

    def claim(self, trial: Trial) -> Cell:
        """Return the run of a ``trial`` that was just taken, and set its parameters in Optuna.

        Raises:
            Exception: If the trial is not to be run: another has this run, it is none of these runs, or its point
                cannot be drawn.
        """
        if self.draw is not None:
            try:
                cell = self.draw(trial)
            except Exception as error:  # without a reason it would count as killed, and be drawn again for ever
                trial.set_user_attr("error", f"{type(error).__name__}: {error}")
                raise
            trial.set_user_attr("cell", cell.key)
            return cell
        key = trial.user_attrs.get("cell", "")
        reason = self._why_elsewhere(trial.number, key)
        if reason:
            trial.set_user_attr("elsewhere", reason)
            raise _Elsewhere
        self._set_point(trial)
        return self._by_key[key]

    def _why_elsewhere(self, number: int, key: str) -> str:
        """Return why trial ``number`` is not to make the run ``key``; empty if it is."""
        if key not in self._by_key:
            return "Another process took the last run, or asks for seeds of its own."
        for other in self.study.get_trials(deepcopy=False):
            if other.number < number and cell_of(other) == key and other.state in (*_ALIVE, *_DONE):
                return f"Trial {other.number} has this run."
        return ""

    def _set_point(self, trial: Trial) -> None:
        """Have Optuna take the parameters that were queued with ``trial``, each from all values it has in the study."""
        definition = self.asked.definition
        trial.suggest_categorical("row", [run.label for run in definition.runs])
        trial.suggest_categorical("dataset", list(self.asked.datasets))
        for name, values in definition.varied.items():
            trial.suggest_categorical(name, [choice(value) for value in values])
        trial.suggest_int("seed", 0, LARGEST_INTEGER)
