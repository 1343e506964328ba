"""The Transformer layer of SASRec with gated residual connections (paper §2.2.2, Eq. 2)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedResidual, LayerSettings, Operation, check_heads
from recbole_nasr.ops.registry import register_operation

LONGEST_PRODUCT = 64
"""Up to this length a CPU attends by plain matrix products; torch's fused kernel there is made for long sequences."""


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return softmax attention over the present and earlier positions; all tensors ``(B, H, L, D / H)``.

    On a CPU and for the short sequences of recommendation two batched matrix products take half the time of
    ``scaled_dot_product_attention``; elsewhere that one is used.
    """
    if query.device.type == "cpu" and query.size(2) <= LONGEST_PRODUCT:
        return _attention_by_products(query, key, value)
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


def _attention_by_products(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    length, width = query.shape[2:]
    later = torch.full((length, length), -torch.inf, dtype=query.dtype, device=query.device).triu(1)
    heads = [tensor.reshape(-1, length, width) for tensor in (query, key, value)]  # (B · H, L, D / H)
    weights = torch.baddbmm(later, heads[0], heads[1].transpose(1, 2), alpha=width**-0.5).softmax(dim=-1)
    return torch.bmm(weights, heads[2]).view(query.shape)


def multi_head_attention(packed: Tensor, n_heads: int) -> Tensor:
    """Attend causally within each head; ``packed (B, L, 3 · D)`` holds query, key and value; returns ``(B, L, D)``."""
    batch, length, width = packed.shape
    heads = packed.view(batch, length, 3, n_heads, width // (3 * n_heads))
    query, key, value = heads.permute(2, 0, 3, 1, 4)  # each (B, H, L, D / H)
    return causal_attention(query, key, value).transpose(1, 2).reshape(batch, length, width // 3)


@register_operation("transformer", r"transformer_h(?P<n_heads>\d+)", example="transformer_h4")
class TransformerOperation(Operation):
    """``H ← LN(H + λ₁·MHSA(H))``, then ``H ← LN(H + λ₂·FFN(H))``, with causal self-attention.

    Note:
        Eq. 2 (post-LN). The paper leaves open the activation and the width of the feed-forward layer; GELU and
        ``4·D`` follow the published code. One dropout per branch, none on the attention weights.
    """

    def __init__(self, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        super().__init__()
        width, inner = settings.hidden_size, settings.hidden_size * settings.inner_ratio
        self.n_heads = n_heads[0]
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_output = nn.Linear(width, width)
        self.attention_residual = GatedResidual(settings)
        self.attention_norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)
        self.feed_forward_residual = GatedResidual(settings)
        self.feed_forward_norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)

    @classmethod
    def check(cls, settings: LayerSettings, n_heads: tuple[int, ...]) -> None:
        """Refuse a number of heads that does not divide ``hidden_size``."""
        check_heads(settings, "transformer", n_heads[0])

    @classmethod
    def flops(cls, settings: LayerSettings, length: int, n_heads: tuple[int, ...]) -> int:  # noqa: ARG003 - heads change no FLOPs
        """Count the four projections, the two attention products and the feed-forward layer."""
        width = settings.hidden_size
        projections = 4 * length * width * width
        attention = 2 * length * length * width
        feed_forward = 2 * length * width * width * settings.inner_ratio
        return 2 * (projections + attention + feed_forward)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        attended = self.attention_output(multi_head_attention(self.query_key_value(hidden), self.n_heads))
        hidden = self.attention_norm(self.attention_residual(hidden, attended))
        branch = self.outer(F.gelu(self.inner(hidden)))
        return self.feed_forward_norm(self.feed_forward_residual(hidden, branch))
