"""Training one of several networks in the recipe of the final one, until it ends or falls behind."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import recbole.trainer.trainer

from recbole_nasr.compat.events import NoEvents
from recbole_nasr.errors import NumericalError
from recbole_nasr.keeping import Keeper
from recbole_nasr.model.nasr import NASR
from recbole_nasr.patching import swapped
from recbole_nasr.search.costs import n_parameters, network_latency_ms
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import Architecture
from recbole_nasr.trainer.kept import KeptFit
from recbole_nasr.trainer.retraining import NASRTrainer

GoesOn = Callable[[int, float], bool]
"""Takes the epochs trained and the best validation score so far; returns whether training goes on."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The outcome of training one candidate.

    Args:
        candidate: The network.
        score: Its best validation score; ``nan`` if it could not be trained.
        best_epoch: Last epoch with that score, whose weights RecBole keeps, from 1; 0 if there is none.
        epochs: Epochs trained.
        scores: Validation score by epoch.
        stopped: Whether it fell behind.
        seconds: Wall time of its training.
        costs: Parameters, FLOPs and measured latency.
        failure: Why it could not be trained; else empty.
    """

    candidate: Candidate
    score: float
    best_epoch: int
    epochs: int
    scores: dict[int, float]
    stopped: bool
    seconds: float
    costs: dict[str, float]
    failure: str = ""

    @property
    def decision(self) -> str:
        """How its training ended, for people."""
        if self.failure:
            return f"failed: {self.failure}"
        return f"stopped after epoch {self.epochs}" if self.stopped else "trained to the end"


class _FellBehind(Exception):  # noqa: N818 - no error, the way out of RecBole's loop over epochs
    """The training is not worth continuing."""


class _Watch:
    """Follows the validations of one training, and lets it go on or not; see :data:`GoesOn`."""

    def __init__(self, trainer: NASRTrainer, goes_on: GoesOn) -> None:
        self.scores: dict[int, float] = {}
        self.seconds = 0.0  # before the last interruption
        self._trainer, self._goes_on, self._started = trainer, goes_on, time.perf_counter()

    def __call__(self, epoch: int, score: float) -> None:
        self.scores[epoch + 1] = score
        if not self._goes_on(epoch + 1, self._trainer.best_valid_score):
            raise _FellBehind

    def state(self) -> dict[str, Any]:
        """Return what is needed to continue after an interruption."""
        return {"scores": self.scores, "seconds": self.seconds + time.perf_counter() - self._started}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue after an interruption; ``goes_on`` is called with the validations before it."""
        self.scores, self.seconds = dict(state["scores"]), state["seconds"]
        for epoch, best in best_so_far(self.scores, bigger=self._trainer.valid_metric_bigger):
            self._goes_on(epoch, best)


def best_so_far(scores: dict[int, float], *, bigger: bool) -> Iterator[tuple[int, float]]:
    """Yield each validated epoch with the best score up to it."""
    best = -math.inf if bigger else math.inf
    for epoch, score in scores.items():
        best = max(best, score) if bigger else min(best, score)
        yield epoch, best


@dataclass
class Trainings:
    """Trains candidates one after the other, each exactly as ``NASR`` with its architecture would be.

    Args:
        config: The configuration of the run; not changed.
        train_data: RecBole's loader; the order it shuffles in is left as it was.
        valid_data: RecBole's loader.
        flops: Of an architecture.
        show_progress: Whether to show bars.
        keeper: Saves the state between two steps of a training too.
    """

    config: Any
    train_data: Any
    valid_data: Any
    flops: Callable[[Architecture], float]
    show_progress: bool = False
    keeper: Keeper = field(default_factory=Keeper)

    def train(self, candidate: Candidate, goes_on: GoesOn) -> Trained:
        """Train ``candidate`` until early stopping or ``epochs`` end it, or ``goes_on`` returns false."""
        with self._order_kept():
            trainer = self._prepare(candidate.architecture)
            watch = _Watch(trainer, goes_on)
            started, stopped, failure = time.perf_counter(), False, ""
            kept = KeptFit(
                trainer, (self.train_data, self.valid_data), self.keeper, watch, "candidate", "next candidate"
            )
            try:
                kept.run(verbose=False, saved=False, show_progress=self.show_progress, callback_fn=watch)
            except _FellBehind:
                stopped = True
            except NumericalError as error:
                failure = str(error)
            trainer.release()  # the next candidate needs the memory
        scores = watch.scores
        best = trainer.best_valid_score if scores and not failure else float("nan")
        return Trained(
            candidate=candidate,
            score=float(best),
            best_epoch=max((epoch for epoch, score in scores.items() if score == best), default=0),
            epochs=len(trainer.train_loss_dict),
            scores=scores,
            stopped=stopped,
            seconds=watch.seconds + time.perf_counter() - started,
            costs=self._costs(trainer.model, candidate.architecture),
            failure=failure,
        )

    def seconds_per_epoch(self, candidate: Candidate) -> float:
        """Measure one epoch of ``candidate``, with its share of a validation; what it learns is thrown away.

        Raises:
            NumericalError: If a loss is not finite.
        """
        with self._order_kept():
            trainer = self._prepare(candidate.architecture)
            try:
                trainer.eval_collector.data_collect(self.train_data)  # some of RecBole's metrics need it
                started = time.perf_counter()
                trainer._train_epoch(self.train_data, 0)  # noqa: SLF001 - RecBole's own seam
                trained = time.perf_counter()
                trainer._valid_epoch(self.valid_data)  # noqa: SLF001 - as above
                return trained - started + (time.perf_counter() - trained) / trainer.eval_step
            finally:
                trainer.release()

    def _prepare(self, architecture: Architecture) -> NASRTrainer:
        config = copy.copy(self.config)
        own = {"architecture": architecture.to_nested(), "log_wandb": False}
        config.final_config_dict = {**self.config.final_config_dict, **own}
        model = NASR(config, self.train_data._dataset).to(config["device"])  # noqa: SLF001 - as RecBole's own trainer
        with swapped(recbole.trainer.trainer, "get_tensorboard", lambda _: NoEvents()):
            trainer = NASRTrainer(config, model)
        trainer.announces = False  # the largest of them was announced before
        return trainer

    @contextmanager
    def _order_kept(self) -> Iterator[None]:
        """Restore the generator of RecBole's loader, so that it shuffles alike for every network; ours needs none."""
        state = self.train_data.generator.get_state()
        try:
            yield
        finally:
            self.train_data.generator.set_state(state)

    def _costs(self, model: Any, architecture: Architecture) -> dict[str, float]:
        return {
            "parameters": float(n_parameters(model)),
            "flops": self.flops(architecture),
            "latency_ms": network_latency_ms(model.network, model.max_seq_length),
        }
