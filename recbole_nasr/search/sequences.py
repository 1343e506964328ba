"""The sequences a search learns from, and the share of them it ranks paths on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_nasr.errors import DataError
from recbole_nasr.rng import generator


@dataclass(frozen=True)
class SearchSequences:
    """Item sequences to search on.

    Args:
        item_seq: ``(N, L)`` item ids, right-padded with 0.
        item_seq_len: ``(N,)`` lengths, all at least 1.
        group: ``(N,)`` whose sequence it is; all sequences of a group are held out together or not at all.
    """

    item_seq: Tensor
    item_seq_len: Tensor
    group: Tensor

    def rows(self, index: Tensor) -> SearchSequences:
        """Return the sequences at ``index``."""
        return SearchSequences(self.item_seq[index], self.item_seq_len[index], self.group[index])

    def to(self, device: torch.device | str) -> SearchSequences:
        """Return the sequences on ``device``."""
        return SearchSequences(self.item_seq.to(device), self.item_seq_len.to(device), self.group.to(device))


def hold_out(sequences: SearchSequences, ratio: float, seed: int) -> tuple[SearchSequences, SearchSequences]:
    """Split off whole groups, in random order, until at least ``ratio`` of the sequences are held out.

    A group that alone is more than that is trained on, even if the others are fewer than that: of a few persons one may
    have most. If the others have not even two sequences, the smallest of the large groups is held out with them.

    Returns:
        Training and held-out sequences, each at least two.

    Raises:
        DataError: If too few groups, or too large a ratio, do not leave two sequences on either side.
    """
    groups, member = torch.unique(sequences.group.cpu(), return_inverse=True)
    order = torch.randperm(len(groups), generator=generator(seed, "search/holdout"))
    sizes = torch.bincount(member, minlength=len(groups))[order]
    wanted = max(2, math.ceil(ratio * len(member)))
    small = sizes <= wanted
    kept = small.nonzero().flatten() if int(sizes[small].sum()) >= 2 else sizes.argsort(stable=True)
    order, sizes = order[kept], sizes[kept]
    n_groups = int((sizes.cumsum(0) < wanted).sum()) + 1  # all of them, if that is not enough
    held = torch.zeros(len(groups), dtype=torch.bool)
    held[order[:n_groups]] = True
    held_rows = held[member]
    if int(held_rows.sum()) < 2 or int((~held_rows).sum()) < 2:
        fewest = int((sizes.cumsum(0) < 2).sum()) + 1  # groups that must be held out at any ratio
        advice = "lower it" if len(member) - int(sizes[:fewest].sum()) >= 2 else "use more data"
        msg = (
            f"A search needs at least two sequences to train on and two of other persons to rank with, but there are "
            f"{len(member)} of {len(groups)} persons at search_holdout_ratio={ratio}; {advice}."
        )
        raise DataError(msg)
    device = sequences.item_seq.device
    return sequences.rows((~held_rows).nonzero().flatten().to(device)), sequences.rows(
        held_rows.nonzero().flatten().to(device)
    )
