"""The linear recurrent unit: a diagonal complex recurrence without loop over the items, in real arithmetic."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.ops.base import GatedBranch, LayerSettings, Operation
from recbole_nasr.ops.feed_forward import FeedForward, feed_forward_flops
from recbole_nasr.ops.registry import register_operation

_SMALLEST, _LARGEST = 0.8, 0.99
"""Range of the modulus of the diagonal at the start."""


def decaying_sum(values: Tensor, log_decay: Tensor) -> Tensor:
    """Return ``y_t = Σ_{s≤t} exp(log_decay · (t - s)) · x_s`` in ``⌈log₂ L⌉`` steps instead of ``L``.

    After the step of reach ``r`` each position holds the sum over the last ``2r`` items; the next step adds the sum
    that its neighbour ``2r`` back holds.

    Args:
        values: ``x``, ``(B, L, S)``.
        log_decay: Logarithm of the decay per item of each channel, ``(S,)``.
    """
    length, reach = values.size(1), 1
    while reach < length:
        earlier = F.pad(values[:, :-reach], (0, 0, reach, 0))
        values = torch.addcmul(values, torch.exp(log_decay * reach), earlier)
        reach *= 2
    return values


def _turned(values: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    real, imaginary = values.chunk(2, dim=-1)
    return torch.cat((real * cosine - imaginary * sine, real * sine + imaginary * cosine), dim=-1)


class LinearRecurrence(nn.Module):
    """``h_t = Λ·h_{t-1} + g ⊙ B·x_t``, ``y_t = Re(C·h_t)``, with ``Λ = diag(r·exp(iθ))`` of ``D`` complex numbers.

    A complex vector is stored as its real part, then its imaginary part. Since
    ``h_t = exp(iθt) · Σ_s r^(t-s) · exp(-iθs) · gBx_s``, one turn of every item before the sum and one after it leave
    a real sum. Angles and decays are computed in the precision of the parameters.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        width = settings.hidden_size
        # Uniform on the ring between the two moduli (Orvieto et al., Lemma 3.2).
        modulus = torch.empty(width).uniform_(_SMALLEST**2, _LARGEST**2).sqrt()
        self.log_rate = nn.Parameter(torch.log(-torch.log(modulus)))  # r = exp(-exp(·)), always below 1
        self.log_angle = nn.Parameter(torch.log(torch.empty(width).uniform_(1e-3, 2 * math.pi)))
        self.log_gain = nn.Parameter(0.5 * torch.log1p(-(modulus**2)))  # g: a state of variance 1 for white input
        self.input = nn.Linear(width, 2 * width)
        self.output = nn.Linear(2 * width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        steps = torch.arange(hidden.size(1), device=hidden.device).unsqueeze(1)
        angle, scale = steps * torch.exp(self.log_angle), torch.exp(self.log_gain)  # (L, D), (D,)
        cosine, sine = torch.cos(angle), torch.sin(angle)
        driven = _turned(self.input(hidden), scale * cosine, -scale * sine)
        state = _turned(decaying_sum(driven, -torch.exp(self.log_rate).repeat(2)), cosine, sine)
        output: Tensor = self.output(state)  # Re(C·h) = Re(C)·Re(h) - Im(C)·Im(h), the sign within the weight
        return output


@register_operation("lru", r"lru", example="lru")
class LinearRecurrentOperation(Operation):
    """A linear recurrence, then a feed-forward layer, each in a gated pre-norm branch.

    Note:
        The LRU of Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences" (ICML 2023, §3), in a
        layer like that of LRURec (Yue et al., WSDM 2024), whose code has the same moduli at the start. Left out is
        the direct term ``D·x_t``, which the residual connection carries; every branch has the λ of NASR's Eq. 1.
    """

    def __init__(self, settings: LayerSettings) -> None:
        super().__init__()
        self.recurrence = GatedBranch(settings, LinearRecurrence(settings))
        self.feed_forward = GatedBranch(settings, FeedForward(settings))

    @classmethod
    def flops(cls, settings: LayerSettings, length: int) -> int:
        """Count the two projections (``D`` to ``2·D`` and back), the two turns, the sum and the feed-forward layer."""
        width = settings.hidden_size
        projections = 2 * length * width * 2 * width
        turns = 2 * length * width * 4
        sums = math.ceil(math.log2(length)) * length * 2 * width
        return 2 * (projections + turns + sums) + feed_forward_flops(settings, length)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(B, L, D)`` to ``(B, L, D)``."""
        return self.feed_forward(self.recurrence(hidden))
