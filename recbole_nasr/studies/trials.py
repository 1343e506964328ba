"""What is noted with a trial of Optuna: which run it is, and which process has it."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import Any

import psutil
from optuna.trial import FrozenTrial


def choice(value: Any) -> Any:
    """Return a value of a grid as Optuna can keep it."""
    return "+".join(value) if isinstance(value, list) else value


def cell_of(trial: FrozenTrial) -> str:
    """Return the key of the run that ``trial`` is for."""
    return str(trial.user_attrs.get("cell", ""))


def was_killed(trial: FrozenTrial) -> bool:
    """Return whether a failed ``trial`` ran without anybody stopping it, so that its process must have ended."""
    return "process" in trial.user_attrs and "interrupted" not in trial.user_attrs


def this_process() -> dict[str, Any]:
    """Return what tells this process from all others: machine, number and time of its start."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "started": psutil.Process().create_time()}


def is_dead(process: dict[str, Any] | None) -> bool:
    """Return whether a process of this machine has ended; its number may have gone to another one since."""
    if process is None or process["host"] != socket.gethostname():
        return False
    with suppress(psutil.NoSuchProcess):
        return abs(float(psutil.Process(process["pid"]).create_time()) - float(process["started"])) > 1
    return True
