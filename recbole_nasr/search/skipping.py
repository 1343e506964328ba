"""AdamW that leaves alone what a step did not use, and a learning rate that falls, both without the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class SkippingAdamW(torch.optim.AdamW):
    """AdamW over several groups of parameters, each of which a value on the device can make a step skip.

    A group that is skipped keeps its weights, its moments and its count of steps to the last bit, as parameters without
    a gradient do. It is the way in which torch's fused kernel leaves out a step whose gradients overflowed.

    Args:
        always: Parameters that every step changes.
        groups: Parameters of each group that may be skipped; a group may be empty.
        lr: Step size.
        weight_decay: Weight decay.

    Attributes:
        unused: ``(len(groups),)`` 1 for each group that the next step skips, else 0, on the device.
    """

    def __init__(
        self,
        always: Sequence[nn.Parameter],
        groups: Sequence[Sequence[nn.Parameter]],
        *,
        lr: float,
        weight_decay: float,
    ) -> None:
        self._places = [place for place, group in enumerate(groups) if group]
        device = next(parameter.device for group in (always, *groups) for parameter in group)
        on_gpu = device.type == "cuda"
        options = [{"params": list(group)} for group in (always, *groups) if group]
        self._has_always = bool(always)
        super().__init__(options, lr=lr, weight_decay=weight_decay, fused=True, capturable=on_gpu)
        if on_gpu:
            for group in self.param_groups:
                group["lr"] = torch.tensor(lr, device=device)
        self.unused = torch.zeros(len(groups), device=device)
        self._warned_capturable_if_run_uncaptured = True  # the first steps are meant to be

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a state, wherever it was read to: a learning rate on the device stays there, in its place."""
        rates = [group["lr"] for group in self.param_groups]
        super().load_state_dict(state_dict)
        for group, rate in zip(self.param_groups, rates, strict=True):
            if isinstance(rate, Tensor):  # captured steps read it where it is
                rate.fill_(float(group["lr"]))
                group["lr"] = rate

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]  # no loss
        """Take a step with every group that is not skipped."""
        groups = self.param_groups
        skips: list[Tensor | None] = [self.unused[place] for place in self._places]
        if self._has_always:
            skips.insert(0, None)
        try:
            for group, skip in zip(groups, skips, strict=True):
                self.param_groups, self.found_inf = [group], skip
                super().step(closure)
        finally:
            self.param_groups, self.found_inf = groups, None


class StepDecay:
    """Multiplies the learning rate by ``factor`` every ``n_steps`` steps; on a GPU it is a value on the device.

    Args:
        optimizer: Whose learning rate.
        n_steps: Steps between two changes.
        factor: What it is multiplied by.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, n_steps: int, factor: float) -> None:
        self._optimizer, self._n_steps, self._factor = optimizer, n_steps, factor
        self._rate, self._n_taken = float(optimizer.defaults["lr"]), 0

    def step(self) -> None:
        """Follow an optimiser step."""
        self._n_taken += 1
        if self._n_taken % self._n_steps:
            return
        self._rate *= self._factor
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self._rate)
            else:
                group["lr"] = self._rate

    def state_dict(self) -> dict[str, Any]:
        """Return the present rate and the number of steps taken."""
        return {"rate": self._rate, "n_taken": self._n_taken}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state_dict`; the optimiser has its learning rate."""
        self._rate, self._n_taken = state["rate"], state["n_taken"]
