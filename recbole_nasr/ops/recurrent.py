"""The recurrent layer of GRU4Rec, for the baseline of that name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_nasr.ops.base import LayerSettings, Operation
from recbole_nasr.ops.registry import register_operation


@register_operation("gru4rec", r"gru4rec", example="gru4rec")
class RecurrentOperation(Operation):
    """One plain GRU layer: no gate λ, no residual connection.

    Note:
        The paper's GRU4Rec baseline (§4.1.3) in the recipe of all others: same embedding, same output layer,
        trained at every position. Width is ``hidden_size``, since the paper sets hidden and embedding size equal.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        self.recurrence = nn.GRU(settings.hidden_size, settings.hidden_size, batch_first=True)

    @classmethod
    def flops(cls, settings: LayerSettings, length: int) -> int:
        """Count the six matrix products of the three gates."""
        return 2 * 6 * length * settings.hidden_size**2

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``, also in bf16 training in the precision of the weights.

        Under autocast torch hands cuDNN fp16, whatever type was asked for, in which small gradients are lost.
        """
        kind = hidden.device.type
        if torch.is_autocast_enabled(kind):
            with torch.autocast(kind, enabled=False):
                return self.forward(hidden.to(next(self.recurrence.parameters()).dtype))
        output: Tensor = self.recurrence(hidden)[0]
        return output
