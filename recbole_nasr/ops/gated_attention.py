"""The Transformer layer with gates that depend on the input and a SwiGLU feed-forward layer, as in LiGR."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedBranch, LayerSettings, Operation, check_heads
from recbole_nasr.ops.registry import register_operation
from recbole_nasr.ops.transformer import multi_head_attention


class SelfAttention(nn.Module):
    """Causal multi-head self-attention with its four projections."""

    def __init__(self, settings: LayerSettings, n_heads: int) -> None:
        super().__init__()
        width = settings.hidden_size
        self.n_heads = n_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        mixed: Tensor = self.output(multi_head_attention(self.query_key_value(hidden), self.n_heads))
        return mixed


class SwiGLU(nn.Module):
    """``W₃(SiLU(W₁x) ⊙ W₂x)``, with two thirds of the inner width of an ordinary feed-forward layer.

    Note:
        Shazeer, "GLU Variants Improve Transformer" (2020), Eq. 6 and, for the two thirds that keep the number of
        weights, §2. Rounded up to a multiple of 8; with biases.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        inner = swiglu_width(settings)
        self.inner = nn.Linear(settings.hidden_size, 2 * inner)
        self.outer = nn.Linear(inner, settings.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``, each position for itself."""
        gate, value = self.inner(hidden).chunk(2, dim=-1)
        output: Tensor = self.outer(F.silu(gate) * value)
        return output


def swiglu_width(settings: LayerSettings) -> int:
    """Return the inner width of :class:`SwiGLU`.

    Example:
        >>> swiglu_width(LayerSettings(hidden_size=64, inner_ratio=4))
        176
    """
    return 8 * math.ceil(2 * settings.hidden_size * settings.inner_ratio / 3 / 8)


class InputGatedBranch(GatedBranch):
    """``H + λ · dropout(sigmoid(W·H + b) ⊙ body(LN(H)))``."""

    def __init__(self, settings: LayerSettings, body: nn.Module) -> None:
        super().__init__(settings, body)
        self.gate = nn.Linear(settings.hidden_size, settings.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        output: Tensor = self.residual(hidden, torch.sigmoid(self.gate(hidden)) * self.body(self.norm(hidden)))
        return output


@register_operation("ligr", r"ligr_h(?P<n_heads>\d+)", example="ligr_h4")
class GatedAttentionOperation(Operation):
    """Self-attention, then SwiGLU, each behind a learned gate: ``H ← H + λ·sigmoid(W·H) ⊙ F(LN(H))``.

    Note:
        The LiGR layer (Borisyuk et al., "From Features to Transformers: Redefining Ranking for Scalable Impact",
        2025, arXiv 2502.03417) with the SwiGLU of eSASRec (Tikhonovich et al., RecSys 2025). Ours adds the
        scalar λ of NASR's Eq. 1 to each branch, and one dropout per branch inside it instead of dropout on the
        attention weights.
    """

    def __init__(self, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        super().__init__()
        self.attention = InputGatedBranch(settings, SelfAttention(settings, n_heads[0]))
        self.feed_forward = InputGatedBranch(settings, SwiGLU(settings))

    @classmethod
    def check(cls, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        """Refuse a number of heads that does not divide ``hidden_size``."""
        check_heads(settings, "ligr", n_heads[0])

    @classmethod
    def flops(cls, settings: LayerSettings, length: int, n_heads: tuple[int, ...]) -> int:  # noqa: ARG003 - heads change no FLOPs
        """Count four projections, two attention products, two gates and the three matrices of SwiGLU."""
        width = settings.hidden_size
        square = (4 + 2) * length * width * width
        attention = 2 * length * length * width
        return 2 * (square + attention + 3 * length * width * swiglu_width(settings))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.feed_forward(self.attention(hidden))
