"""What is stored with a trial of Optuna: which run it is, and which process is working on it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, Trial

from recbole_nasr.errors import StoppedError

_BEGAN = "began at"

REPEATED = {"repeated": True}
"""What is stored with a trial of `tune` whose point was drawn for one that was killed, interrupted or has failed."""


class Follower(Protocol):
    """Observes a run for its trial."""

    def begins(self, state: str) -> None:
        """Note the saved state that the run continues from, in words; empty if it starts."""

    def __call__(self, epoch: int, score: float) -> None:
        """Take the index and the score of a validated epoch; may raise `StoppedError` to end the run."""


@dataclass(frozen=True)
class Following:
    """Tells Optuna how a trial goes.

    Args:
        trial: Of the run.
        prunes: Whether the run ends once it has fallen behind.
    """

    trial: Trial
    prunes: bool

    def begins(self, state: str) -> None:
        """Note where the run continues, for :func:`began_at`."""
        self.trial.set_user_attr(_BEGAN, state)

    def __call__(self, epoch: int, score: float) -> None:
        """Report a validated epoch.

        Raises:
            StoppedError: If the run has fallen behind.
        """
        try:
            self.trial.report(score, epoch)
        except UpdateFinishedTrialError:  # another process takes this one for lost; the run is finished all the same
            return
        if self.prunes and self.trial.should_prune():
            msg = f"Stopped after epoch {epoch + 1}: its validation score {score:.4f} is behind those of others."
            raise StoppedError(msg)


def began_at(trial: FrozenTrial) -> str:
    """Return the saved state that the run of ``trial`` continued from; empty if it started, or has not begun yet."""
    return str(trial.user_attrs.get(_BEGAN, ""))


def choice(value: Any) -> Any:
    """Return a value of a grid or a space as Optuna can keep and draw it: a list or a table as text."""
    if isinstance(value, list):
        return "+".join(map(str, value))
    return str(value) if isinstance(value, dict) else value


def cell_of(trial: FrozenTrial) -> str:
    """Return the key of the run that ``trial`` is for."""
    return str(trial.user_attrs.get("cell", ""))


def points_before(trial: Trial) -> int:
    """Return how many points of `tune` were drawn before that of ``trial``; one that is tried again counts once."""
    trials = trial.study.get_trials(deepcopy=False)
    return sum(other.number < trial.number and not REPEATED.keys() <= other.user_attrs.keys() for other in trials)


def was_killed(trial: FrozenTrial) -> bool:
    """Return whether a failed ``trial`` was running and not interrupted, so that its process must have been killed."""
    return "process" in trial.user_attrs and "interrupted" not in trial.user_attrs


def this_process() -> dict[str, Any]:
    """Return what identifies this process: machine, process id and start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_dead(process: dict[str, Any] | None) -> bool:
    """Return whether a process of this machine has ended; its id may have been reused since."""
    if process is None or process["host"] != socket.gethostname():
        return False
    with suppress(psutil.NoSuchProcess):
        found = psutil.Process(process["pid"])
        # Killed, and not waited for: a container's process 1 may never do that.
        if found.status() == psutil.STATUS_ZOMBIE:
            return True
        return abs(float(found.create_time()) - float(process["started"])) > 1
    return True
