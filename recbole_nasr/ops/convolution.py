"""The dilated causal convolution layer of NextItNet with gated residual connections (paper §2.2.2, Eq. 3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedResidual, LayerSettings, Operation
from recbole_nasr.ops.registry import register_operation


class CausalConvolution(nn.Module):
    """A dilated causal convolution over time, as one matrix product over the concatenated taps.

    The weight of :class:`torch.nn.Linear` is laid out ``(D, K·D)``, oldest tap first. On the shapes of sequential
    recommendation this runs 3 times as fast on a CPU as ``nn.Conv1d`` with its two transposes, and on a GPU it is
    one GEMM.
    """

    def __init__(self, width: int, kernel_size: int, dilation: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.taps = nn.Linear(kernel_size * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``; before the first item stand zeros."""
        length = hidden.size(1)
        reach = (self.kernel_size - 1) * self.dilation
        padded = F.pad(hidden, (0, 0, reach, 0))
        shifted = [padded[:, tap * self.dilation : tap * self.dilation + length] for tap in range(self.kernel_size)]
        return self.taps(torch.cat(shifted, dim=-1))


class ConvolutionBlock(nn.Module):
    """One residual block: convolutions of dilation ``d`` and ``2d``, each with LayerNorm and ReLU, gated."""

    def __init__(self, settings: LayerSettings, dilation: int) -> None:
        super().__init__()
        width = settings.hidden_size
        self.first = CausalConvolution(width, settings.kernel_size, dilation)
        self.first_norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.second = CausalConvolution(width, settings.kernel_size, 2 * dilation)
        self.second_norm = nn.LayerNorm(width, eps=settings.layer_norm_eps)
        self.residual = GatedResidual(settings)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        branch = F.relu(self.first_norm(self.first(hidden)))
        branch = F.relu(self.second_norm(self.second(branch)))
        return self.residual(hidden, branch)


@register_operation("tcn", r"tcn_d(?P<dilations>\d+(?:_\d+)*)", example="tcn_d1_2")
class ConvolutionOperation(Operation):
    """A stack of residual convolution blocks, one per dilation; ``tcn_d1_2`` has two.

    Note:
        Eq. 3, ``H + λ·LN(sublayer(H))``. "Dilated factor [1, 2]" (§4.1.2) is read as NextItNet reads its list:
        one residual block per entry, whose two convolutions have dilations ``d`` and ``2d``. So read, the layer
        has as many parameters as a Transformer layer (49,922 and 49,986 at width 64). The ReLU after each
        LayerNorm, absent from Eq. 3, is NextItNet's and the published code's.
    """

    def __init__(self, settings: LayerSettings, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ConvolutionBlock(settings, dilation) for dilation in dilations))

    @classmethod
    def flops(cls, settings: LayerSettings, length: int, dilations: tuple[int, ...]) -> int:
        """Count the two convolutions of every block."""
        return 2 * len(dilations) * 2 * length * settings.kernel_size * settings.hidden_size**2

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.blocks(hidden)
