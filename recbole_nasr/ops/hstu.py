"""The pointwise attention layer of HSTU, without time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedBranch, LayerSettings, Operation, check_heads
from recbole_nasr.ops.registry import register_operation

LONGEST_DISTANCE = 127
"""Items at least this far back share one position bias."""


class PointwiseAttention(nn.Module):
    """Attention by SiLU instead of softmax, with a bias per distance and head, its result gated by the input."""

    def __init__(self, settings: LayerSettings, n_heads: int) -> None:
        super().__init__()
        width = settings.hidden_size
        self.n_heads = n_heads
        self.projections = nn.Linear(width, 4 * width)
        self.distance_bias = nn.Embedding(LONGEST_DISTANCE + 1, n_heads)
        self.norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        batch, length, width = hidden.shape
        gate, *heads = F.silu(self.projections(hidden)).chunk(4, dim=-1)
        query, key, value = (
            part.view(batch, length, self.n_heads, width // self.n_heads).transpose(1, 2) for part in heads
        )
        steps = torch.arange(length, device=hidden.device)
        distance = (steps.unsqueeze(1) - steps).clamp(0, LONGEST_DISTANCE)  # (L, L), how far back the key is
        bias = self.distance_bias(distance).permute(2, 0, 1)  # (H, L, L)
        weights = F.silu(query @ key.transpose(2, 3) + bias).tril()
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, width)
        output: Tensor = self.output(self.norm(mixed) * gate)
        return output


@register_operation("hstu", r"hstu_h(?P<n_heads>\d+)", example="hstu_h4")
class PointwiseAttentionOperation(Operation):
    """``H ← H + λ·W₂(LN(SiLU(QKᵀ + bias)·V) ⊙ U)`` with ``U, V, Q, K = SiLU(W₁·LN(H))``.

    Note:
        HSTU (Zhai et al., "Actions Speak Louder than Words", ICML 2024, Eq. 1-3). Of its relative attention bias
        only the positional half is here: the temporal half reads the time of the item to be predicted, which the
        other operations do not get. The division of the attention by the length is left out: the LayerNorm after it
        undoes any factor. Query and key are as wide as the value, and no scale stands before the SiLU, as in the
        paper; it has no feed-forward layer.
    """

    def __init__(self, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        super().__init__()
        self.branch = GatedBranch(settings, PointwiseAttention(settings, n_heads[0]))

    @classmethod
    def check(cls, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        """Refuse a number of heads that does not divide ``hidden_size``."""
        check_heads(settings, "hstu", n_heads[0])

    @classmethod
    def flops(cls, settings: LayerSettings, length: int, n_heads: tuple[int, ...]) -> int:  # noqa: ARG003 - heads change no FLOPs
        """Count the five projections and the two attention products."""
        width = settings.hidden_size
        return 2 * (5 * length * width * width + 2 * length * length * width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.branch(hidden)
