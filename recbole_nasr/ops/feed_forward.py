"""The feed-forward layer of the Transformer on its own: it changes every position, and mixes none."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedBranch, LayerSettings, Operation
from recbole_nasr.ops.registry import register_operation


class FeedForward(nn.Module):
    """Two linear layers with GELU between them; the inner one is ``inner_ratio`` times as wide."""

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        width, inner = settings.hidden_size, settings.hidden_size * settings.inner_ratio
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``, each position for itself."""
        output: Tensor = self.outer(F.gelu(self.inner(hidden)))
        return output


def feed_forward_flops(settings: LayerSettings, length: int) -> int:
    """Return the FLOPs of one :class:`FeedForward`: its two matrix products per item."""
    return 2 * 2 * length * settings.hidden_size**2 * settings.inner_ratio


@register_operation("ffn", r"ffn", example="ffn")
class FeedForwardOperation(Operation):
    """``H ← H + λ·FFN(LN(H))``: a layer without token mixing.

    Note:
        The second half of a Transformer layer (Vaswani et al., NeurIPS 2017, Eq. 2), in pre-norm form. With it a
        search can say where mixing is needed at all. GELU and ``4·D`` as in the Transformer operation here.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        self.branch = GatedBranch(settings, FeedForward(settings))

    @classmethod
    def flops(cls, settings: LayerSettings, length: int) -> int:
        """Count the two matrix products."""
        return feed_forward_flops(settings, length)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.branch(hidden)
