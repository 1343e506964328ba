"""The weight-sharing supernet: every operation of every layer, run along one path at a time (paper §3.2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_nasr.nets.embedding import SequenceEmbedding, initialise
from recbole_nasr.nets.next_item import NextItemHead
from recbole_nasr.nets.siamese import Predictor, Projector
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.space import Path, SearchSpace


class MixedOp(nn.ModuleList):
    """All candidate operations of one layer, one of which runs at a time."""

    def __init__(self, operations: Sequence[str], settings: LayerSettings) -> None:
        super().__init__(build_operation(name, settings) for name in operations)

    def forward(self, hidden: Tensor, op: int) -> Tensor:
        """Run operation number ``op`` on ``(B, L, D)``."""
        output: Tensor = self[op](hidden)
        return output


class SupernetBlock(nn.Module):
    """The mixed layers of one block.

    Attributes:
        recompute: Whether to keep only the input of each layer and run it again for its gradient, with the same
            dropout, if memory is short. Results are the same.
    """

    def __init__(self, operations: Sequence[str], n_layers: int, settings: LayerSettings) -> None:
        super().__init__()
        self.layers = nn.ModuleList(MixedOp(operations, settings) for _ in range(n_layers))
        self.recompute = False

    def forward(self, hidden: Tensor, path: Path) -> Tensor:
        """Run ``(B, L, D)`` through the operations of ``path``, one per layer."""
        for layer, op in zip(self.layers, path, strict=True):
            hidden = self.run(layer, hidden, op)
        return hidden

    def run(self, layer: nn.Module, hidden: Tensor, op: int) -> Tensor:
        """Run operation ``op`` of one of the layers on ``(B, L, D)``."""
        output: Tensor = (
            checkpoint(layer, hidden, op, use_reentrant=False)
            if self.recompute and torch.is_grad_enabled()
            else layer(hidden, op)
        )
        return output


class SiameseBlock(SupernetBlock):
    """A block with the projector and predictor with which contrastive training compares views."""

    def __init__(self, operations: Sequence[str], n_layers: int, settings: LayerSettings) -> None:
        super().__init__(operations, n_layers, settings)
        self.projector = Projector(settings.hidden_size)
        self.predictor = Predictor(settings.hidden_size)


class Supernet(nn.Module):
    """All networks of a search space at once, sharing the weights of equal operations.

    It differs from the retrained network in three points: several operations per layer, one more row in the item table
    for the mask token, and no softmax layer unless ``softmax``. Operations, causality, positions and initialisation are
    the same. (The published code searches without causal mask and positions.)

    Args:
        space: Operations and blocks.
        n_items: Item ids in use, padding included; ``n_items`` itself becomes the mask token.
        max_length: Longest input sequence.
        settings: Width, dropout and so on.
        softmax: Whether it has the head of the retrained network, final LayerNorm and softmax layer, in place of the
            projectors and predictors of its blocks. All blocks share it: each continues its training, so a later block
            starts with a head that fits its input.
        tie_embeddings: Whether its softmax layer scores with the item embedding, as that of the retrained network then
            does. Trained block by block it is frozen with the embedding after block 0, but for its bias.
        final_norm: Whether a LayerNorm stands before its softmax layer, as in the retrained network.
    """

    def __init__(
        self,
        space: SearchSpace,
        *,
        n_items: int,
        max_length: int,
        settings: LayerSettings,
        softmax: bool = False,
        tie_embeddings: bool = False,
        final_norm: bool = True,
    ) -> None:
        super().__init__()
        self.mask_token = n_items
        self.embedding = SequenceEmbedding(n_items + 1, max_length, settings.hidden_size)
        kind = SupernetBlock if softmax else SiameseBlock
        self.blocks = nn.ModuleList(kind(space.operations, n_layers, settings) for n_layers in space.layers_per_block)
        # Projectors and predictors keep torch's own initialisation, as SimSiam's do: with a zero bias a narrow
        # predictor can put out the zero vector, where the gradient of a direction is infinite.
        for index in range(space.n_blocks):
            self.block(index).layers.apply(initialise)
        items = self.embedding.items if tie_embeddings else None
        self.head = NextItemHead(n_items, settings, items, final_norm=final_norm) if softmax else None

    def block(self, index: int) -> SupernetBlock:
        """Return block ``index``."""
        block = self.blocks[index]
        assert isinstance(block, SupernetBlock)  # noqa: S101 - for the type checker
        return block

    def siamese_block(self, index: int) -> SiameseBlock:
        """Return block ``index`` of a supernet without softmax layer."""
        block = self.blocks[index]
        assert isinstance(block, SiameseBlock)  # noqa: S101 - for the type checker
        return block

    def prefix(self, item_seq: Tensor, item_seq_len: Tensor, paths: Sequence[Path]) -> Tensor:
        """Return the input ``(B, L, D)`` of block ``len(paths)`` when the blocks before it follow ``paths``."""
        hidden: Tensor = self.embedding(item_seq, item_seq_len)
        for index, path in enumerate(paths):
            hidden = self.blocks[index](hidden, path)
        return hidden

    def trained_with(self, index: int) -> Iterator[nn.Module]:
        """Yield the modules that training block ``index`` updates.

        These are ``W_k`` of Eq. 5, with block 0 also the embedding, and the softmax layer if there is one.
        """
        if index == 0:
            yield self.embedding
        yield self.blocks[index]
        if self.head is not None:
            yield self.head
