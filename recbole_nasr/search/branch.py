"""The two branches of the contrastive comparison: the one that learns, and the one that sets the target."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from recbole_nasr import distributed
from recbole_nasr.nets import Supernet, masked_mean, per_path
from recbole_nasr.nets.supernet import SiameseBlock
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.dealing import Deal, run_dealt
from recbole_nasr.search.objective import Prefix
from recbole_nasr.space import Path


@dataclass(frozen=True)
class Branch:
    """A block, and the embedding before it; earlier blocks are those of the supernet.

    Args:
        supernet: Where earlier blocks are found.
        embedding: Item and position embedding.
        block: The block that is trained.
    """

    supernet: Supernet
    embedding: nn.Module
    block: SiameseBlock

    @classmethod
    def online(cls, supernet: Supernet, index: int) -> Branch:
        """Return the branch that learns: the supernet's own block ``index``."""
        return cls(supernet, supernet.embedding, supernet.siamese_block(index))

    def hidden(self, view: View, prefix: Prefix) -> Tensor:
        """Return what enters the block, ``(B, L, D)``."""
        hidden: Tensor = self.embedding(*view)
        for index, path in enumerate(prefix):
            hidden = self.supernet.blocks[index](hidden, path)
        return hidden

    def project(self, views: Sequence[View], prefix: Prefix, paths: Sequence[Path]) -> list[Tensor]:
        """Return the projection of each path, ``(B, D)``, from its own view; earlier blocks get no gradient.

        Of several processes each runs its share of the rows through the block. The heads, whose BatchNorm needs all
        rows, are run on all of them by every process: they take a few products of vectors.
        """
        n_rows = views[0][1].size(0)
        own = distributed.own_rows(n_rows)
        pooled = [
            self._pooled((view[0][own], view[1][own]), prefix, path) for view, path in zip(views, paths, strict=True)
        ]
        return [self.block.projector(rows) for rows in distributed.rows_of_all(pooled, n_rows)]

    def _pooled(self, view: View, prefix: Prefix, path: Path) -> Tensor:
        if not view[1].size(0):  # more processes than rows
            return self.supernet.embedding.items.weight.new_zeros(0, self.supernet.embedding.items.embedding_dim)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not prefix):
            hidden = self.hidden(view, prefix)
        return self.pool(self.block(hidden, path), view[1])

    def pool(self, hidden: Tensor, lengths: Tensor) -> Tensor:
        """Return what the projector is given of ``hidden (B, L, D)``: the mean over real positions, ``(B, D)``."""
        return masked_mean(hidden, lengths)

    def project_dealt(self, view: View, prefix: Prefix, deal: Deal) -> Tensor:
        """Return the projection of each path, ``(P, B, D)``; ``view`` has the ``B`` rows of one path after another."""
        n_paths = deal.place.size(1)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not prefix):
            hidden = self.hidden(view, prefix)
        outputs = run_dealt(self.block, hidden.view(n_paths, -1, *hidden.shape[1:]), deal)
        pooled = self.pool(outputs.flatten(0, 1), view[1])
        return per_path(self.block.projector, pooled.view(n_paths, -1, pooled.size(-1)))


class MovingAverage:
    """A target branch whose weights follow those of the online one (BYOL, Grill et al. 2020; BossNAS).

    Note:
        Those two raise the momentum to 1 over the training. Here it is constant: a block trains for hundreds of
        steps rather than a million, and a target that stops moving early would keep what an untrained block says.

    Args:
        online: The branch to follow, in training mode; the copy starts from its present weights.
        momentum: Share of the old weights in the new ones, in ``(0, 1)``.
        with_embedding: Whether the embedding is trained too.

    Attributes:
        branch: The target branch.
    """

    def __init__(self, online: Branch, momentum: float, *, with_embedding: bool) -> None:
        block = copy.deepcopy(online.block).requires_grad_(requires_grad=False)
        embedding = online.embedding
        if with_embedding:
            embedding = copy.deepcopy(online.embedding).requires_grad_(requires_grad=False)
        self.branch = Branch(online.supernet, embedding, block)
        self._copies = [block, *([embedding] if with_embedding else [])]
        modules = [(block, online.block), *([(embedding, online.embedding)] if with_embedding else [])]
        self._old = [parameter for copied, _ in modules for parameter in copied.parameters()]
        self._new = [parameter for _, followed in modules for parameter in followed.parameters()]
        self._average = get_ema_multi_avg_fn(momentum)

    def update(self) -> None:
        """Move the target branch towards the online one; called after every optimiser step."""
        self._average(self._old, self._new, None)

    def state(self) -> list[dict[str, Tensor]]:
        """Return the weights of the target branch."""
        return [module.state_dict() for module in self._copies]

    def restore(self, state: list[dict[str, Tensor]]) -> None:
        """Take the weights of :meth:`state`."""
        for module, weights in zip(self._copies, state, strict=True):
            module.load_state_dict(weights)
