"""Checks that losses and weights are finite, without waiting for the device at every step."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recbole_nasr.errors import NumericalError

EVERY = 50
"""Steps between two checks."""


class LossWatch:
    """Sums up losses on the device, and checks at intervals whether the sum is finite.

    On a GPU the sum is copied to the host asynchronously; a step before it has arrived leaves the check to the next.

    Args:
        every: Steps between two checks, at least 1.
    """

    def __init__(self, every: int = EVERY) -> None:
        self._every, self._n_seen = every, 0
        self._sum: Tensor | None = None
        self._host: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def see(self, loss: Tensor) -> bool:
        """Add the loss of a step; return whether a loss that is not finite has been noticed."""
        self._sum = loss.detach().clone() if self._sum is None else self._sum + loss.detach()
        self._n_seen += 1
        if self._n_seen % self._every == 0 and self._host is None:
            self._send(self._sum)
        if self._host is None or (self._arrived is not None and not self._arrived.query()):
            return False
        host, self._host = self._host, None
        return not bool(torch.isfinite(host))

    def _send(self, total: Tensor) -> None:
        if total.device.type != "cuda":
            self._host = total
            return
        self._host = torch.empty_like(total, device="cpu", pin_memory=True)
        self._host.copy_(total, non_blocking=True)
        self._arrived = torch.cuda.Event()
        self._arrived.record()


@torch.no_grad()
def bad_weight(module: nn.Module) -> str:
    """Return the name of the first weight of ``module`` with a NaN or an infinity; empty if there is none.

    One number per weight is read back from the device.
    """
    named = [(name, weight.detach()) for name, weight in module.named_parameters() if weight.numel()]
    if not named:
        return ""
    largest = torch._foreach_norm([weight for _, weight in named], math.inf)  # noqa: SLF001 - of all in one call
    finite = torch.isfinite(torch.stack([one.float() for one in largest])).tolist()
    return next((name for (name, _), good in zip(named, finite, strict=True) if not good), "")


def finite_mean(losses: Tensor, what: str, when: str, key: str) -> float:
    """Return the mean of ``losses (N,)``, those of an epoch's steps, reading from the device once.

    Args:
        losses: In the order of the batches.
        what: What they are, for the message.
        when: Which epoch it was, for the message.
        key: Key of the learning rate.

    Raises:
        NumericalError: If one is not finite.
    """
    mean = float(losses.mean())
    if not math.isfinite(mean):
        bad = int((~torch.isfinite(losses)).nonzero()[0])
        msg = (
            f"{what} must be finite, but became {float(losses[bad])} in {when}, batch {bad + 1} of the epoch; "
            f"lower `{key}`."
        )
        raise NumericalError(msg)
    return mean


def check_weights_finite(module: nn.Module, what: str, when: str, key: str) -> None:
    """Refuse a NaN or an infinity in a weight of ``module``; see :func:`bad_weight`.

    Args:
        module: The module.
        what: What they are, for the message.
        when: When it was noticed, for the message.
        key: Key of the learning rate.

    Raises:
        NumericalError: If there is one.
    """
    name = bad_weight(module)
    if name:
        msg = f"{what} must be finite, but {name} became NaN or infinite in {when}; lower `{key}`."
        raise NumericalError(msg)
