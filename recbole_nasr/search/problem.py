"""What a search is given."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch

from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import SearchSpace


@dataclass(frozen=True, kw_only=True)
class SearchProblem:
    """Everything that decides what a search finds.

    Args:
        sequences: What to learn from; must not hold the items that validate or test the result.
        space: The table of operations, cut into blocks.
        n_items: Item ids in use, padding (0) included.
        layer_settings: Width and dropout of every operation.
        settings: How the supernet is trained and paths are ranked.
        seed: Governs everything random; equal seeds give equal results on a CPU.
        tie_embeddings: Whether the networks to find score with the item embedding.
        final_norm: Whether they have a LayerNorm before the softmax layer.
        device: Where to compute.
        budget: What the network may cost; nothing is limited if not given.
        acceleration: How to compute; plain torch if not given.
    """

    sequences: SearchSequences
    space: SearchSpace
    n_items: int
    layer_settings: LayerSettings
    settings: SearchSettings
    seed: int
    tie_embeddings: bool = False
    final_norm: bool = True
    device: torch.device | str = "cpu"
    budget: Budget | None = None
    acceleration: Acceleration = field(default_factory=Acceleration)

    @property
    def budget_in_force(self) -> Budget:
        """The budget; one without limits if none was given."""
        return self.budget or Budget(len(self.space.operations), self.space.n_layers)

    @property
    def max_length(self) -> int:
        """Longest sequence."""
        return self.sequences.item_seq.size(1)
