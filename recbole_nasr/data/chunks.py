"""Cuts the training part of every history into windows with a target at every position."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class TrainingChunks:
    """Positions of the training sequences in one flat column of items; int64 tensors on the CPU.

    Chunk ``i`` reads ``items[start : start + length]`` and predicts ``items[start + 1 : start + length +
    1]``.

    Attributes:
        items: ``(T,)`` item ids of all users in order, validation and test items included.
        start: ``(N,)`` flat position of a chunk's first input.
        length: ``(N,)`` number of inputs, which is the number of targets; ``1..max_seq_length``.
        group: ``(N,)`` id of the person the chunk belongs to: a held-out split must not separate chunks of one
            person.
    """

    items: Tensor
    start: Tensor
    length: Tensor
    group: Tensor


def cut_into_chunks(targets: Tensor, first: Tensor, max_length: int) -> tuple[Tensor, Tensor]:
    """Cut the targets into windows of at most ``max_length``; every target is in exactly one.

    The cuts are counted from the last target of each history, so the last chunk of a long history is full,
    like the histories that are evaluated; the first chunk has the rest.

    Args:
        targets: ``(R,)`` flat positions of training targets, ascending.
        first: ``(R,)`` flat position of the first interaction of each target's user.
        max_length: Largest number of targets in a chunk.

    Returns:
        ``start`` and ``length`` as in `TrainingChunks`, in the order of the targets.
    """
    if not len(targets):
        return targets.clone(), targets.clone()
    # A run is a stretch of consecutive targets; the targets of one user are one run in every split of
    # RecBole.
    breaks = torch.ones(len(targets), dtype=torch.bool)
    breaks[1:] = (targets[1:] != targets[:-1] + 1) | (first[1:] != first[:-1])
    run = breaks.cumsum(0) - 1
    run_end = torch.zeros_like(targets[breaks]).scatter_reduce_(0, run, targets, "amax", include_self=False)
    from_the_end = (run_end[run] - targets) // max_length
    opens = breaks.clone()
    opens[1:] |= from_the_end[1:] != from_the_end[:-1]
    length = torch.bincount(opens.cumsum(0) - 1)
    return targets[opens] - 1, length
