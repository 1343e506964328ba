"""Parts of the Siamese comparison: pooling, projector, predictor (paper §3.2; SimSiam, Chen and He 2021)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def masked_mean(hidden: Tensor, item_seq_len: Tensor) -> Tensor:
    """Average ``hidden (B, L, D)`` over the real positions of each right-padded row: ``(B, D)``.

    Padding never reaches the projector. (The published code flattens all positions, padding included; the amount
    of padding of a row then solves the task, and the representation collapses.)
    """
    steps = torch.arange(hidden.size(1), device=hidden.device)
    real = (steps < item_seq_len.unsqueeze(1)).unsqueeze(-1)  # (B, L, 1)
    total = torch.where(real, hidden, hidden.new_zeros(())).sum(dim=1)
    return total / item_seq_len.clamp_min(1).unsqueeze(1)


def per_path(head: nn.Sequential, features: Tensor) -> Tensor:
    """Apply ``head``, a projector or predictor, to the ``features (P, N, D)`` of each path separately.

    The result is that of one path after another, in as many calls as for one: every path has the BatchNorm statistics
    of its own rows.
    """
    for module in head:
        if isinstance(module, nn.BatchNorm1d):
            if features.dtype == torch.bfloat16:
                features = features.float()  # as torch's BatchNorm adds up
            variance, mean = torch.var_mean(features, dim=1, correction=0, keepdim=True)
            features = (features - mean) * torch.rsqrt(variance + module.eps)
            if module.affine:
                features = features * module.weight + module.bias
        else:
            features = module(features)
    return features


def _batch_norm(width: int, *, affine: bool = True) -> nn.BatchNorm1d:
    # Without running statistics a pass always uses those of its own rows and leaves no trace in a buffer, so that
    # ranking a path cannot change the score of another.
    return nn.BatchNorm1d(width, affine=affine, track_running_stats=False)


class Projector(nn.Sequential):
    """SimSiam's projector: three linear layers, BatchNorm after each, none affine at the end; ``(B, D) -> (B, D)``.

    Note:
        The paper (§4.1.2) says only that self-supervised hyper-parameters follow SimSiam. Width ``D`` throughout.
    """

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Linear(width, width, bias=False),
            _batch_norm(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
            _batch_norm(width),
            nn.ReLU(),
            nn.Linear(width, width, bias=False),
            _batch_norm(width, affine=False),
        )


class Predictor(nn.Sequential):
    """SimSiam's predictor: a bottleneck of a quarter of the width, no BatchNorm at the end; ``(B, D) -> (B, D)``."""

    def __init__(self, width: int) -> None:
        bottleneck = max(1, width // 4)
        super().__init__(
            nn.Linear(width, bottleneck, bias=False),
            _batch_norm(bottleneck),
            nn.ReLU(),
            nn.Linear(bottleneck, width),
        )
