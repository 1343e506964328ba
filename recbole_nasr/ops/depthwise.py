"""A causal convolution over each channel for itself, then a feed-forward layer over the channels."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedResidual, LayerSettings, Operation
from recbole_nasr.ops.feed_forward import FeedForward, feed_forward_flops
from recbole_nasr.ops.registry import register_operation


@register_operation("dwconv", r"dwconv_k(?P<kernel_size>\d+)", example="dwconv_k7")
class DepthwiseOperation(Operation):
    """``H ← H + λ·FFN(LN(DWConv_k(H)))`` with ``k`` taps per channel; ``dwconv_k7`` sees 7 items.

    Note:
        The block of ConvNeXt (Liu et al., CVPR 2022, Fig. 4) in one dimension, padded on the left only. Its
        per-channel LayerScale is the scalar λ here, stochastic depth the dropout of the branch.
    """

    def __init__(self, settings: LayerSettings, kernel_size: tuple[int, ...]) -> None:
        super().__init__()
        width = settings.hidden_size
        self.reach = kernel_size[0] - 1
        self.convolution = nn.Conv1d(width, width, kernel_size[0], groups=width)
        self.norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.feed_forward = FeedForward(settings)
        self.residual = GatedResidual(settings)

    @classmethod
    def flops(cls, settings: LayerSettings, length: int, kernel_size: tuple[int, ...]) -> int:
        """Count the taps and the feed-forward layer."""
        return 2 * length * settings.hidden_size * kernel_size[0] + feed_forward_flops(settings, length)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``; before the first item stand zeros."""
        channels = F.pad(hidden.transpose(1, 2), (self.reach, 0))
        mixed = self.convolution(channels).transpose(1, 2)
        return self.residual(hidden, self.feed_forward(self.norm(mixed)))
