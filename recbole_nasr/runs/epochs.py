"""Log lines and times of the epochs of a training."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from recbole_nasr.progress import duration

_LOG = logging.getLogger("recbole_nasr")


class EpochLines:
    """RecBole's callback after each validated epoch: logs one line, remembers the best epoch.

    Args:
        trainer: The trainer that calls back.
        config: Its configuration.
        then: Called with the same arguments afterwards.

    Attributes:
        best_epoch: From 1; 0 before the first validation.
        seconds: Wall time of every training epoch that was not interrupted.
    """

    def __init__(self, trainer: Any, config: Any, then: Callable[[int, float], None] | None = None) -> None:
        self.best_epoch = 0
        self.seconds: list[float] = []
        self._scores: list[tuple[int, float]] = []
        self._then = then
        self._trainer = trainer
        self._metric, self._total = config["valid_metric"].lower(), config["epochs"]
        self._time: float | None = None  # since when an epoch has been in work; what precedes the first is none
        self._spent = 0.0  # on it, before an interruption
        self._epochs = trainer.start_epoch
        self._interrupted = False

    def __call__(self, epoch_index: int, score: float) -> None:
        """Log the epoch with the index ``epoch_index`` (from 0) and its validation score."""
        if self._trainer.cur_step == 0:  # evaluations since the best one
            self.best_epoch = epoch_index + 1
        self._scores.append((epoch_index, score))
        seconds = self._since_the_last()
        self._time, self._spent = time.perf_counter(), 0.0
        done, self._epochs = epoch_index + 1 - self._epochs, epoch_index + 1
        left = seconds / max(done, 1) * (self._total - self._epochs)  # at most: training may stop before
        _LOG.info(
            "epoch %*d/%d  %s %.4f  best %.4f at epoch %d  (%s%s)",
            len(str(self._total)),
            epoch_index + 1,
            self._total,
            self._metric,
            score,
            self._trainer.best_valid_score,
            self.best_epoch,
            duration(seconds),
            f", at most {duration(left, 0)} left" if left >= 1 else "",
        )
        if self._then is not None:
            self._then(epoch_index, score)

    def state(self) -> dict[str, Any]:
        """Return what is needed to continue after an interruption, as plain values."""
        return {
            "best_epoch": self.best_epoch,
            "scores": self._scores,
            "seconds": self.seconds,
            "since_the_last": self._since_the_last(),
            "epochs_of_the_last": self._epochs,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after an interruption; ``then`` is called with the epochs before it."""
        self.best_epoch, self.seconds, self._interrupted = state["best_epoch"], list(state["seconds"]), True
        self._scores = [(int(epoch), float(score)) for epoch, score in state["scores"]]
        # What was worked on the present epoch before belongs to it; the first states of this version do not say it.
        self._spent = float(state.get("since_the_last", 0.0))
        self._epochs = int(state.get("epochs_of_the_last", self._trainer.start_epoch))
        if self._then is not None:
            for epoch, score in self._scores:
                self._then(epoch, score)

    def _since_the_last(self) -> float:
        """Return the seconds of work since the last line, without the time of an interruption."""
        return self._spent + (0.0 if self._time is None else time.perf_counter() - self._time)

    def time_epochs(self) -> None:
        """Time the training epochs of the trainer; it reads its loss back, so no work is pending when it returns."""
        train_epoch = self._trainer._train_epoch  # noqa: SLF001 - RecBole's own seam between training and validation

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            if self._time is None:
                self._time = start
            loss = train_epoch(*args, **kwargs)
            if self._interrupted:  # part of it was trained before
                self._interrupted = False
            else:
                self.seconds.append(time.perf_counter() - start)
            return loss

        self._trainer._train_epoch = timed  # noqa: SLF001 - as above
