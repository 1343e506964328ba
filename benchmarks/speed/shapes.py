"""The sizes that everything is measured at, and made-up data of these sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from recbole_nasr.nets import HybridNet, Supernet
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchSequences
from recbole_nasr.space import Architecture, SearchSpace

SEED = 2020
ModuleT = TypeVar("ModuleT", bound=torch.nn.Module)
ZIPF_EXPONENT = 1.0


@dataclass(frozen=True, kw_only=True)
class Shape:
    """One size of everything.

    Args:
        name: What it is called in the results.
        n_sequences: Sequences of the whole data set.
        n_items: Items, padding not counted.
        length: Items of the longest sequence, its validation and test item included.
        full_share: Share of the sequences that are that long; the others are evenly spread from ``shortest``.
        shortest: Items of the shortest sequence.
        mean_above: Items above the shortest on average, where that falls off exponentially instead; 0 if it does not.
        batch_size: Sequences of a training step.
        ranking_rows: Held-out sequences that a ranking is measured on.
        cases: Cases that an evaluation is measured on.
        hidden_size: Width of the networks.
        n_blocks: Blocks of the search space.
        layers_per_block: Layers of each.
        n_paths: Paths of a search step.
        operations: Candidate operations.
        dropout_prob: Dropout in the gated branches.
    """

    name: str
    n_sequences: int
    n_items: int
    length: int
    full_share: float = 1.0
    shortest: int = 10
    mean_above: float = 0.0
    batch_size: int
    ranking_rows: int
    cases: int
    hidden_size: int = 64
    n_blocks: int = 4
    layers_per_block: int = 4
    n_paths: int = 4
    operations: tuple[str, ...] = ("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4")
    dropout_prob: float = 0.1

    @property
    def space(self) -> SearchSpace:
        """The search space."""
        return SearchSpace(self.operations, (self.layers_per_block,) * self.n_blocks)

    @property
    def layer_settings(self) -> LayerSettings:
        """What all operations have in common."""
        return LayerSettings(hidden_size=self.hidden_size, dropout_prob=self.dropout_prob)

    def architecture(self) -> Architecture:
        """Return an architecture with every operation equally often, dealt in turn."""
        n_layers, n_ops = self.n_blocks * self.layers_per_block, len(self.operations)
        names = [self.operations[(layer + layer // n_ops) % n_ops] for layer in range(n_layers)]
        per = self.layers_per_block
        return Architecture(tuple(tuple(names[at : at + per]) for at in range(0, n_layers, per)))


MOVIELENS = Shape(
    name="ml",
    n_sequences=876_162,
    n_items=23_515,
    length=30,
    full_share=0.9,  # then 29.0 items on average, as in Table 1 of the paper
    batch_size=256,
    ranking_rows=64,
    cases=512,
)
LASTFM = Shape(
    name="lastfm", n_sequences=534_982, n_items=199_013, length=20, batch_size=64, ranking_rows=64, cases=256
)
SHORT = Shape(  # as many users, items and actions as the 5-core of Amazon Beauty, and RecBole's length
    name="short",
    n_sequences=22_363,
    n_items=12_101,
    length=50,
    full_share=0.0,
    shortest=5,
    mean_above=4.4,
    batch_size=256,
    ranking_rows=64,
    cases=256,
)
TINY = Shape(
    name="tiny",
    n_sequences=300,
    n_items=50,
    length=8,
    full_share=0.5,
    shortest=5,
    batch_size=16,
    ranking_rows=12,
    cases=40,
    hidden_size=8,
    n_blocks=2,
    layers_per_block=2,
    n_paths=2,
)
SCALES: dict[str, tuple[Shape, ...]] = {"paper": (MOVIELENS, LASTFM), "tiny": (TINY,)}


def item_sequences(shape: Shape, n: int, *, seed: int = SEED) -> tuple[Tensor, Tensor]:
    """Return ``n`` made-up sequences ``(n, L)``, right-padded with 0, and their lengths.

    Items are independent draws from a Zipf distribution over ``1..n_items``: nothing can be learned from them, but the
    embedding is read as unevenly as by real histories. The first sequences do not depend on ``n``.
    """
    rng = torch.Generator().manual_seed(seed)
    weight = torch.arange(1, shape.n_items + 1, dtype=torch.float64).pow(-ZIPF_EXPONENT)
    edges = weight.cumsum(0) / weight.sum()
    draws = torch.rand(n, shape.length, generator=rng, dtype=torch.float64)
    items = torch.searchsorted(edges, draws).clamp_max(shape.n_items - 1) + 1
    draw = torch.rand(n, 2, generator=rng.manual_seed(seed + 1), dtype=torch.float64)
    above = draw[:, 0] * (shape.length - shape.shortest)
    if shape.mean_above:
        above = -shape.mean_above * torch.log1p(-draw[:, 0])
    shorter = (shape.shortest + above.long()).clamp_max(shape.length)
    length = torch.where(draw[:, 1] < shape.full_share, shape.length, shorter)
    return items * (torch.arange(shape.length) < length.unsqueeze(1)), length


def without_last(items: Tensor, length: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Return the sequences without their last ``n`` items, as narrow as that allows."""
    kept = length - n
    width = int(kept.max())
    return items[:, :width] * (torch.arange(width) < kept.unsqueeze(1)), kept


def search_sequences(shape: Shape, n: int, device: torch.device) -> SearchSequences:
    """Return what a search is given: sequences without their last two items."""
    items, length = without_last(*item_sequences(shape, n), 2)
    return SearchSequences(items, length, torch.arange(n)).to(device)


def training_batch(shape: Shape, n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return ``item_seq``, ``item_seq_len`` and ``targets`` of ``n`` training rows: all but the last two items."""
    items, length = item_sequences(shape, n)
    inputs, n_inputs = without_last(items, length, 3)
    targets = items[:, 1 : inputs.size(1) + 1] * (inputs > 0)
    return inputs.to(device), n_inputs.to(device), targets.to(device)


def build_supernet(shape: Shape, device: torch.device, *, seed: int = SEED) -> Supernet:
    """Return a fresh supernet whose gates are open: at λ = 0 every path would be the identity."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        settings = shape.layer_settings
        supernet = Supernet(shape.space, n_items=shape.n_items + 1, max_length=shape.length, settings=settings)
    return open_gates(supernet).to(device)


def build_network(shape: Shape, device: torch.device, *, seed: int = SEED) -> HybridNet:
    """Return a fresh network of :meth:`Shape.architecture`, its gates open."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = HybridNet(
            shape.architecture(),
            n_items=shape.n_items + 1,
            max_length=shape.length,
            settings=shape.layer_settings,
        )
    return open_gates(network).to(device)


def open_gates(module: ModuleT) -> ModuleT:
    """Set every gate λ to 0.5, as if trained."""
    for name, parameter in module.named_parameters():
        if name.endswith("residual.scale"):
            torch.nn.init.constant_(parameter, 0.5)
    return module
