"""One epoch of training as work that can be stopped between two steps and continued."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from recbole_nasr import distributed
from recbole_nasr.keeping import Keeper, random_state, set_random_state
from recbole_nasr.nets.losses import LossWatch, check_weights_finite, finite_mean
from recbole_nasr.trainer.averaging import WeightAverage


class TrainingEpoch:
    """The losses of an epoch's steps, checked for what is not finite, and the state that it continues from.

    Args:
        index: Counted from 0.
        model: Whose weights are trained.
        average: Of its weights, if there is one.
        keeper: Saves the state between two steps, with one process.

    Attributes:
        losses: Of the steps so far, in order; detached and on the device.
    """

    def __init__(self, index: int, model: nn.Module, average: WeightAverage | None, keeper: Keeper) -> None:
        self.losses: list[Tensor] = []
        self._index, self._model, self._average, self._keeper = index, model, average, keeper
        self._alone, self._watch = distributed.world_size() == 1, LossWatch()

    @contextmanager
    def in_progress(self, device: torch.device) -> Iterator[None]:
        """Let the state be kept within the block; go on first where a loaded state was saved in this epoch.

        Args:
            device: Where losses belong.
        """
        with self._keeper.part("epoch", self.state):
            saved = self._keeper.take("epoch")
            if saved is not None:
                self._go_on(saved, device)
            with self._keeper.steps() if self._alone else nullcontext():
                yield

    def add(self, loss: Tensor) -> bool:
        """Add the loss of a step and save the state if it is time; return whether the epoch is worth going on.

        Several processes must end together, and each would have to be asked for its random state: they go on, and
        save nothing.
        """
        self.losses.append(loss)
        if not self._alone:
            return True
        if self._watch.see(loss):
            return False
        self._keeper.step()
        return True

    def end(self) -> float:
        """Return the mean loss of the epoch.

        Raises:
            NumericalError: If a loss or a weight is not finite.
        """
        mean = self._mean_loss()
        self._check_weights()
        return mean

    def state(self) -> dict[str, Any]:
        """Return what the rest of the epoch depends on, beside the model and its optimiser.

        Raises:
            NumericalError: If a loss or a weight is not finite: such a state is not worth keeping.
        """
        self.end()
        average = self._average.state() if self._average else None
        return {"losses": self.losses, "random": random_state(), "average": average}

    def _go_on(self, saved: dict[str, Any], device: torch.device) -> None:
        self.losses = [loss.to(device) for loss in saved["losses"]]
        set_random_state(saved["random"])
        if self._average:
            self._average.go_on(saved["average"])

    def _mean_loss(self) -> float:
        """Return the mean loss so far; read back once, so that a step never waits for the device."""
        values = distributed.total(torch.stack(self.losses)) if self.losses else torch.zeros(1)
        return finite_mean(values, "The training loss", f"epoch {self._index + 1}", "learning_rate")

    def _check_weights(self) -> None:
        when = f"epoch {self._index + 1}, by batch {len(self.losses)} of the epoch"
        check_weights_finite(self._model, "The weights", when, "learning_rate")
