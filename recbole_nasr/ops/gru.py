"""The gated recurrent unit as a candidate operation."""

from __future__ import annotations

from torch import Tensor

from recbole_nasr.ops.base import GatedBranch, LayerSettings, Operation
from recbole_nasr.ops.recurrent import RecurrentOperation
from recbole_nasr.ops.registry import register_operation


@register_operation("gru", r"gru", example="gru")
class GatedRecurrentOperation(Operation):
    """``H ← H + λ·GRU(LN(H))``.

    Note:
        The recurrence of GRU4Rec (Hidasi et al., ICLR 2016, Eq. 2-5), which the baseline ``gru4rec`` has ungated and
        without residual connection. It is the one operation whose time grows with the length on any device, and
        which ``torch.compile`` leaves to torch's own kernel.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        self.branch = GatedBranch(settings, RecurrentOperation(settings))

    @classmethod
    def flops(cls, settings: LayerSettings, length: int) -> int:
        """Count what the ungated layer counts."""
        return RecurrentOperation.flops(settings, length)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.branch(hidden)
