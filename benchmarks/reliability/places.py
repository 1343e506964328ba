"""Where a process is at this moment, told through shared memory, so that it can be hit exactly there from outside."""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from recbole.trainer import Trainer
from tqdm import tqdm

from recbole_nasr.commands import cli, study
from recbole_nasr.commands.cli import main
from recbole_nasr.keeping import Keeper
from recbole_nasr.runs import pipeline
from recbole_nasr.search.blockwise import BlockwiseSearch
from recbole_nasr.search.objective import Objective
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.trainer.candidates import Trainings
from recbole_nasr.trainer.retraining import NASRTrainer

SEAMS: tuple[tuple[Any, str, str], ...] = (
    (BlockTrainer, "train", "block training"),
    (Objective, "score_within_memory", "ranking"),
    (BlockwiseSearch, "run", "between blocks"),  # what is neither of the two
    (Trainings, "train", "candidates"),  # with its validations
    (Trainings, "seconds_per_epoch", "candidates"),
    (NASRTrainer, "_train_epoch", "retraining"),
    (Trainer, "_train_epoch", "RecBole's own model"),
    (Trainer, "_valid_epoch", "validation"),
    (pipeline, "_test", "test"),
    (pipeline, "save_result", "report"),
    (cli, "save_report", "report"),
    (study, "save_report", "report"),
    (study, "_conclude", "page of a study"),
    (Keeper, "save", "saving"),
)
"""A function of the program, and the place a process is in while it is called; the innermost counts.

``elsewhere`` is what is none of them: the start, the data, the folder of a run.
"""

PLACES = ("elsewhere", *dict.fromkeys(place for _, _, place in SEAMS))
_POLL_S = 0.0005


class Whereabouts:
    """A table shared with the processes that are forked from this one; the latest of them writes it.

    Attributes:
        values: Present place, when it was entered, then the seconds spent in every place, then the visits to it.
    """

    def __init__(self) -> None:
        self.values = np.frombuffer(mmap.mmap(-1, 4096), dtype=np.float64)

    @property
    def place(self) -> str:
        """Where the process is, or was when it died."""
        return PLACES[int(self.values[0])]

    def seconds(self, place: str) -> float:
        """Return how long the process has been in ``place`` so far."""
        number = PLACES.index(place)
        present = time.monotonic() - self.values[1] if self.place == place else 0.0
        return float(self.values[2 + number] + present)

    def visit_seconds(self, place: str) -> float:
        """Return the mean length of a stay in ``place`` so far."""
        number = PLACES.index(place)
        return float(self.values[2 + number] / max(1.0, self.values[2 + len(PLACES) + number]))

    def clear(self) -> None:
        """Forget an earlier process."""
        self.values[:] = 0.0
        self.values[1] = time.monotonic()

    @contextmanager
    def at(self, place: str) -> Iterator[None]:
        """Be in ``place`` for the length of the block."""
        before = self.place
        if before == "candidates" and place != "saving":  # each is trained and validated like the final network
            place = before
        self._go(place)
        try:
            yield
        finally:
            self._go(before)

    def _go(self, place: str) -> None:
        now = time.monotonic()
        present = int(self.values[0])
        self.values[2 + present] += now - self.values[1]
        self.values[2 + len(PLACES) + present] += 1
        self.values[0], self.values[1] = PLACES.index(place), now

    def follow(self) -> None:
        """Let this process write the table from now on."""
        self.clear()
        for owner, name, place in SEAMS:
            setattr(owner, name, self._noting(getattr(owner, name), place))

    def _noting(self, function: Callable[..., Any], place: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.at(place):
                return function(*args, **kwargs)

        return call


def start(words: Sequence[str], where: Whereabouts, screen: Path) -> int:
    """Start a command in a process of its own, which tells ``where`` it is; return its number."""
    where.clear()
    child = os.fork()
    if child == 0:
        code = 99
        tqdm.set_lock(threading.RLock())  # that of tqdm is shared with processes that are killed while they hold it
        try:
            with screen.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
                try:
                    where.follow()
                    code = main(words)
                except BaseException:  # what os._exit would otherwise keep to itself
                    traceback.print_exc()
        finally:
            os._exit(code)
    return child


def to_the_end(words: Sequence[str], where: Whereabouts, screen: Path) -> None:
    """Run a command to its end.

    Raises:
        RuntimeError: If it fails.
    """
    code = os.waitstatus_to_exitcode(os.waitpid(start(words, where, screen), 0)[1])
    if code:
        msg = f"The command ended with {code}:\n{screen.read_text()[-2000:]}"
        raise RuntimeError(msg)


def hit(
    words: Sequence[str],
    where: Whereabouts,
    screen: Path,
    place: str,
    seconds: float,
    number: int,
    ready: Callable[[], bool] = lambda: True,
) -> int | None:
    """Start a command, and send it a signal once it has been in ``place`` for so long, while it is there.

    Args:
        words: The command.
        where: Where its process is.
        screen: Takes what it says.
        place: Where it is to be hit.
        seconds: How long it is left there.
        number: Of the signal.
        ready: Whether it may be hit yet.

    Returns:
        The process, or ``None`` if it ended before.

    Raises:
        RuntimeError: If it ended before with an error.
    """
    child = start(words, where, screen)
    while not (where.place == place and where.seconds(place) >= seconds and ready()):
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            if status:
                msg = f"The command ended with {os.waitstatus_to_exitcode(status)}; see {screen}."
                raise RuntimeError(msg)
            return None
        time.sleep(_POLL_S)
    os.kill(child, number)
    return child


def killed(
    words: Sequence[str],
    where: Whereabouts,
    screen: Path,
    place: str,
    seconds: float,
    ready: Callable[[], bool] = lambda: True,
) -> bool:
    """Kill a command as :func:`hit` says, and wait for its end; return whether it was killed before it had ended."""
    child = hit(words, where, screen, place, seconds, signal.SIGKILL, ready)
    return child is not None and os.WIFSIGNALED(os.waitpid(child, 0)[1])
