"""A running average of the weights over training steps: what is validated, kept and tested instead of the last step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of parameters, lent to the model between epochs.

    After step ``t`` the average moves by ``max(1 - decay, 9 / (10 + t))`` of the way to the present weights, so that
    the start is soon forgotten and a short training is averaged too: over about the last tenth of its steps.

    Note:
        Not in the paper. Averaging of iterates goes back to Polyak and Juditsky (1992); the warm-up of the decay is
        that of TensorFlow's ``ExponentialMovingAverage``. It stands in for a learning rate that falls towards an end
        which early stopping does not know beforehand.

    Args:
        parameters: Of the model; changed in place by `lend` and `take_back`.
        decay: Largest share of the old average that a step keeps, in ``(0, 1)``.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.decay = decay
        self.n_steps = 0
        self._other = [parameter.clone() for parameter in self.parameters]
        self._lent = False

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after one more step; never waits for the device."""
        self.n_steps += 1
        keep = min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        torch._foreach_lerp_(self._other, self.parameters, 1 - keep)

    def lend(self) -> None:
        """Put the average into the model, and keep the present weights."""
        if not self._lent:
            self._swap()

    def take_back(self) -> None:
        """Put the present weights back into the model."""
        if self._lent:
            self._swap()

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs beside the average, which is in the model while it is lent."""
        return {"n_steps": self.n_steps, "weights": self._other}

    def restore(self, state: dict[str, Any]) -> None:
        """Take up `state`, while the average it belongs to is in the model."""
        self.n_steps = state["n_steps"]
        self._copy(state["weights"], self._other)
        self._lent = True

    @torch.no_grad()
    def _swap(self) -> None:
        present = [parameter.clone() for parameter in self.parameters]
        self._copy(self._other, self.parameters)
        self._copy(present, self._other)
        self._lent = not self._lent

    @staticmethod
    @torch.no_grad()
    def _copy(source: list[Tensor], target: list[Tensor]) -> None:
        for old, new in zip(target, source, strict=True):
            old.copy_(new)
