"""Our search step with the published code's kind of projector, which maps all positions at once: like for like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from benchmarks.speed.shapes import SEED, Shape
from recbole_nasr.nets import Supernet
from recbole_nasr.search.branch import Branch
from recbole_nasr.search.contrastive import Contrastive


def flat(hidden: Tensor, _lengths: Tensor) -> Tensor:
    """Return all positions of ``hidden (B, L, D)`` side by side, padding included: ``(B, L · D)``."""
    return hidden.flatten(1)


class FlatBranch(Branch):
    """A branch whose projector is given all positions."""

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return ``(B, L · D)``."""
        return flat(hidden, lengths)


class FlatContrastive(Contrastive):
    """The package's objective on such branches."""

    def start(self, index: int) -> None:
        """Begin as the package does."""
        super().start(index)
        self.online = FlatBranch.online(self.supernet, index)


def with_flat_projector(supernet: Supernet, shape: Shape, block: int) -> Supernet:
    """Give ``block`` a projector ``L · D -> L · D -> D``, a ReLU before and a BatchNorm after each product."""
    width, flat_width = shape.hidden_size, (shape.length - 2) * shape.hidden_size
    device = supernet.embedding.items.weight.device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        layers: list[nn.Module] = []
        for outputs in (flat_width, width):
            norm = nn.BatchNorm1d(outputs, track_running_stats=False)
            layers += [nn.ReLU(), nn.Linear(flat_width, outputs), norm]
    supernet.siamese_block(block).projector = nn.Sequential(*layers).to(device)  # type: ignore[assignment]  # in place of a Projector
    return supernet
