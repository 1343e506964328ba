"""The plain references: what everything must give, written as the definition says, one path and one row at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.nets import HybridNet, Supernet, masked_mean
from recbole_nasr.search.augmentation import View
from recbole_nasr.space import Path


def mask_rows(rows: Sequence[Sequence[int]], ratio: float, mask_token: int, rng: random.Random) -> list[list[int]]:
    """Mask a share of every row, item by item; rows have no padding."""
    masked = []
    for row in rows:
        chosen = set(rng.sample(range(len(row)), max(1, round(ratio * len(row)))))
        masked.append([mask_token if place in chosen else item for place, item in enumerate(row)])
    return masked


def crop_rows(rows: Sequence[Sequence[int]], ratio: float, rng: random.Random) -> list[list[int]]:
    """Keep a random fragment of every row."""
    cropped = []
    for row in rows:
        removed = min(max(1, round(ratio * len(row))), len(row) - 1)
        start = rng.randint(0, removed)
        cropped.append(list(row[start : start + len(row) - removed]))
    return cropped


def reorder_rows(rows: Sequence[Sequence[int]], ratio: float, rng: random.Random) -> list[list[int]]:
    """Shuffle a random span of every row."""
    reordered = []
    for row in rows:
        span = max(1, round(ratio * len(row)))
        start = rng.randint(0, len(row) - span)
        inside = list(row[start : start + span])
        rng.shuffle(inside)
        reordered.append([*row[:start], *inside, *row[start + span :]])
    return reordered


def padded(rows: Sequence[Sequence[int]], width: int) -> Tensor:
    """Return rows right-padded with 0."""
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


Pool = Callable[[Tensor, Tensor], Tensor]
"""From hidden states ``(B, L, D)`` and lengths ``(B,)`` to what the projector is given."""


def project(supernet: Supernet, view: View, prefix: Sequence[Path], path: Path, pool: Pool = masked_mean) -> Tensor:
    """Return the projection of one path behind ``prefix``, ``(B, D)``."""
    block = supernet.siamese_block(len(prefix))
    with torch.set_grad_enabled(torch.is_grad_enabled() and not prefix):
        hidden = supernet.prefix(*view, prefix)
    return block.projector(pool(block(hidden, path), view[1]))


def search_loss(
    supernet: Supernet,
    shown: Sequence[View],
    seen: Sequence[View],
    prefix: Sequence[Path],
    paths: Sequence[Path],
    pool: Pool = masked_mean,
) -> Tensor:
    """Return the contrastive loss of a step (Eq. 4-5)."""
    predictor = supernet.siamese_block(len(prefix)).predictor
    with torch.no_grad():
        units = [F.normalize(project(supernet, v, prefix, p, pool), dim=-1) for v, p in zip(shown, paths, strict=True)]
        target = F.normalize(torch.stack(units).mean(dim=0), dim=-1)
    losses = []
    for view, path in zip(seen, paths, strict=True):
        prediction = F.normalize(predictor(project(supernet, view, prefix, path, pool)), dim=-1)
        losses.append((prediction - target).square().sum(dim=-1).mean())
    return torch.stack(losses).mean()


@torch.no_grad()
def rank_every_path(
    supernet: Supernet, views: tuple[View, View], prefix: Sequence[Path], paths: Sequence[Path]
) -> Tensor:
    """Return the distance of every path to the ensemble (Eq. 6-7), ``(P, N)``; every path is run by itself.

    The supernet must be in eval mode.
    """
    predictor = supernet.siamese_block(len(prefix)).predictor
    units = [F.normalize(project(supernet, views[1], prefix, path), dim=-1) for path in paths]
    target = F.normalize(torch.stack(units).mean(dim=0), dim=-1)
    predictions = (predictor(project(supernet, views[0], prefix, path)) for path in paths)
    return torch.stack([(F.normalize(p, dim=-1) - target).square().sum(dim=-1) for p in predictions])


def training_step(
    network: HybridNet, optimizer: torch.optim.Optimizer, batch: Sequence[Tensor], max_norm: float
) -> Tensor:
    """Take one step of the retraining on the whole batch at once; return the loss."""
    item_seq, item_seq_len, targets = batch
    optimizer.zero_grad(set_to_none=True)
    loss = softmax_loss(network(item_seq, item_seq_len), network.output, targets)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(network.parameters(), max_norm)
    optimizer.step()
    return loss.detach()


def softmax_loss(hidden: Tensor, output: nn.Module, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of ``hidden (B, L, D)``, all logits written out."""
    logits: Tensor = output(hidden)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten() - 1, ignore_index=-1)


def ranks_by_sorting(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the 1-based place of each target among ``scores (B, V)``, sorted; ties count against it."""
    order = scores[:, 1:].argsort(dim=1, descending=True, stable=True)
    ranked = scores[:, 1:].gather(1, order)
    own = scores.gather(1, targets.unsqueeze(1))
    places = torch.arange(1, ranked.size(1) + 1, device=scores.device)
    return torch.where(ranked == own, places, 0).amax(dim=1)
