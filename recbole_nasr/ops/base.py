"""What every candidate operation shares: its settings, its contract, and the gated residual connection."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.errors import ArchitectureError


@dataclass(frozen=True, kw_only=True)
class LayerSettings:
    """What all operations of one network have in common.

    Args:
        hidden_size: Width ``D`` of the hidden sequence, in ``1..65536``.
        inner_ratio: Width of a feed-forward layer, as a multiple of ``hidden_size``, in ``1..1024``.
        kernel_size: Taps of a convolution, in ``2..1024``.
        dropout_prob: Probability of zeroing an element of a gated branch, in ``[0, 1)``.
        layer_norm_eps: Added to the variance in every LayerNorm, in ``[1e-12, 1]``: in fp32 a smaller one is lost.
        linear_residual: Scale each residual branch by a trainable λ that starts at 0 (Eq. 1 of the
            paper); without it the branch is added as it is.
    """

    hidden_size: int = 64
    inner_ratio: int = 4
    kernel_size: int = 3
    dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-8
    linear_residual: bool = True

    def __post_init__(self) -> None:
        rules = (
            (1 <= self.hidden_size <= 65536, f"`hidden_size` must lie in 1..65536, but is {self.hidden_size}."),
            (1 <= self.inner_ratio <= 1024, f"`inner_ratio` must lie in 1..1024, but is {self.inner_ratio}."),
            (2 <= self.kernel_size <= 1024, f"`kernel_size` must lie in 2..1024, but is {self.kernel_size}."),
            (0 <= self.dropout_prob < 1, f"`hidden_dropout_prob` must lie in [0, 1), but is {self.dropout_prob}."),
            (
                1e-12 <= self.layer_norm_eps <= 1,
                f"`layer_norm_eps` must lie in [1e-12, 1], but is {self.layer_norm_eps}.",
            ),
        )
        broken = [message for holds, message in rules if not holds]
        if broken:
            raise ArchitectureError(" ".join(broken))


class Operation(nn.Module, ABC):
    """A causal map of hidden sequences ``(B, L, D) -> (B, L, D)``.

    Sequences are right-padded and every operation is causal: output ``t`` depends on inputs ``0..t`` only. What
    stands in the padding therefore never reaches a real position, and no mask is needed. How wide the padding is must
    not matter either: the same sequence comes in rows of different widths.
    """

    @classmethod
    def check(cls, settings: LayerSettings, *args: Any, **numbers: Any) -> None:
        """Refuse numbers that cannot be built under ``settings``; by default everything can.

        Args:
            settings: Of the network.
            args: None; an operation names its numbers, each a tuple of integers.
            numbers: Those in the name of the operation.

        Raises:
            ArchitectureError: If they do not fit.
        """

    @classmethod
    @abstractmethod
    def flops(cls, settings: LayerSettings, length: int, *args: Any, **numbers: Any) -> int:
        """Return the forward multiply-adds, times two, for one sequence of ``length`` items; see :meth:`check`."""

    @abstractmethod
    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``, causally."""


_LEVELS = 1 << 16


def dropout(values: Tensor, prob: float) -> Tensor:
    """Zero each element with probability ``prob`` and scale the others by ``1 / (1 - prob)``.

    On a CPU torch draws one 64-bit number per element, one after the other, which is an eighth of a training step.
    Here each such number serves four elements, with ``prob`` rounded to the nearest of 65,536 levels; on other devices
    it is torch's own.
    """
    dropped_levels = round(prob * _LEVELS)
    if values.device.type != "cpu" or not 0 < dropped_levels < _LEVELS:
        return F.dropout(values, prob, training=True)
    words = torch.empty(-(-values.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None)
    levels = words.view(torch.int16)[: values.numel()].view(values.shape)  # uniform in -32768..32767
    kept = (levels >= dropped_levels - _LEVELS // 2).to(values.dtype)
    return values * kept.mul_(_LEVELS / (_LEVELS - dropped_levels))


class GatedResidual(nn.Module):
    """``H + λ · dropout(branch)`` with one trainable scalar λ that starts at exactly 0.

    Note:
        Paper: Eq. 1, where λ scales the whole branch. Dropout lies inside the gate: at λ = 0 the connection is
        the identity in training too. (The published code starts at 1e-8 and, in its convolution, drops elements
        of the residual stream itself, which its architecture ranking then follows.)
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        self.dropout_prob = settings.dropout_prob
        self.scale = nn.Parameter(torch.zeros(())) if settings.linear_residual else None

    def forward(self, hidden: Tensor, branch: Tensor) -> Tensor:
        """Add ``branch`` to ``hidden``; both ``(B, L, D)``."""
        branch = dropout(branch, self.dropout_prob) if self.training else branch
        return hidden + branch if self.scale is None else hidden + self.scale * branch


@torch.no_grad()
def open_gates(module: nn.Module, scale: float) -> None:
    """Set every trainable λ within ``module`` to ``scale``: at 0, where they start, branches change nothing."""
    for part in module.modules():
        if isinstance(part, GatedResidual) and part.scale is not None:
            part.scale.fill_(scale)


class GatedBranch(nn.Module):
    """``H + λ · dropout(body(LN(H)))``: the pre-norm form in which the operations beyond the paper are gated.

    Args:
        settings: Width, dropout, gate.
        body: A causal map of hidden sequences ``(B, L, D) -> (B, L, D)``.
    """

    def __init__(self, settings: LayerSettings, body: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps)
        self.body = body
        self.residual = GatedResidual(settings)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        output: Tensor = self.residual(hidden, self.body(self.norm(hidden)))
        return output


def check_heads(settings: LayerSettings, family: str, n_heads: int) -> None:
    """Refuse a number of heads that does not divide the width.

    Raises:
        ArchitectureError: Naming the operation, ``<family>_h<n_heads>``.
    """
    if settings.hidden_size % n_heads:
        msg = (
            f"The number of heads must divide `hidden_size`, but `{family}_h{n_heads}` was asked for "
            f"at hidden_size={settings.hidden_size}; change one of the two."
        )
        raise ArchitectureError(msg)
