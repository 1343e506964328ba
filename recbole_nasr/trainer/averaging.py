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
        on_device: Read how far to move from the device; by default on anything but a CPU.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decay: float, *, on_device: bool | None = None) -> None:
        self.parameters = [parameter.detach() for parameter in parameters]
        self.decay = decay
        self.n_steps = 0
        self._other = [parameter.clone() for parameter in self.parameters]
        self._lent = False
        self._change, self._counted = 0.0, False
        on_device = self.parameters[0].device.type != "cpu" if on_device is None else on_device
        self._change_on_device = torch.zeros((), device=self.parameters[0].device) if on_device else None

    def update(self) -> None:
        """Update the average after a step, counting it unless that was done; never waits for the device."""
        if not self._counted:
            self.count()
        self.move()
        self._counted = False

    def count(self) -> None:
        """Count one more step, and set how far it will move the average; replayed steps are counted so."""
        self._counted = True
        self.n_steps += 1
        self._change = 1 - min(self.decay, (1 + self.n_steps) / (10 + self.n_steps))
        if self._change_on_device is not None:
            self._change_on_device.fill_(self._change)

    @torch.no_grad()
    def move(self) -> None:
        """Move the average as the last count says; on a GPU that can be captured and replayed."""
        if self._change_on_device is None:
            torch._foreach_lerp_(self._other, self.parameters, self._change)
            return
        way = torch._foreach_sub(self.parameters, self._other)  # noqa: SLF001 - lerp takes no number from the device
        torch._foreach_mul_(way, self._change_on_device)
        torch._foreach_add_(self._other, way)

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

    def go_on(self, state: dict[str, Any]) -> None:
        """Restore a `state` saved in the middle of an epoch: the present weights are in the model."""
        self.n_steps = state["n_steps"]
        self._copy(state["weights"], self._other)
        self._lent = False

    def restore(self, state: dict[str, Any]) -> None:
        """Restore a `state` saved between epochs, by this average or an earlier one: the average is in the model."""
        self.n_steps = state["n_steps"]
        if state["weights"] is not self._other:
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
