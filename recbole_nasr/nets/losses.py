"""Noticing a loss that is not finite without waiting for the device at every step."""

from __future__ import annotations

import torch
from torch import Tensor

EVERY = 50
"""Steps between two looks."""


class LossWatch:
    """Adds up losses on the device and now and then looks whether the sum is still finite.

    On a GPU the sum travels to the host on its own; a step finds it there or looks again at the next one.

    Args:
        every: Steps between two looks, at least 1.
    """

    def __init__(self, every: int = EVERY) -> None:
        self._every, self._n_seen = every, 0
        self._sum: Tensor | None = None
        self._host: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def see(self, loss: Tensor) -> bool:
        """Take in the loss of a step; return whether one that is not finite has been noticed by now."""
        self._sum = loss.detach().clone() if self._sum is None else self._sum + loss.detach()
        self._n_seen += 1
        if self._n_seen % self._every == 0 and self._host is None:
            self._send(self._sum)
        if self._host is None or (self._arrived is not None and not self._arrived.query()):  # type: ignore[no-untyped-call]
            return False
        host, self._host = self._host, None
        return not bool(torch.isfinite(host))

    def _send(self, total: Tensor) -> None:
        if total.device.type != "cuda":
            self._host = total
            return
        self._host = torch.empty_like(total, device="cpu", pin_memory=True)
        self._host.copy_(total, non_blocking=True)
        self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._arrived.record()
