"""Ranks from a product of vectors and item weights, some items at a time, so that no matrix of all scores is held."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.nets import TiedOutput

CPU_ITEMS = 32_768
"""Items at a time on a CPU: most catalogues then take one product; of 256 cases they are 32 MiB."""

SCORES = 1 << 26
"""Scores at a time elsewhere: 256 MiB."""

MOST_ITEMS = 1 << 24
"""Items at a time at most: up to this number sums of ones are exact in fp32."""


def items_at_a_time(n_rows: int, device: torch.device) -> int:
    """Return how many items to score at a time for ``n_rows`` cases."""
    return CPU_ITEMS if device.type == "cpu" else max(CPU_ITEMS, SCORES // n_rows)


def ranks_by_parts(
    hidden: Tensor,
    output: nn.Linear | TiedOutput,
    targets: Tensor,
    *,
    seen: Tensor | None = None,
    n_items: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the 1-based rank of each row's target among all items, ties counted against it.

    Where items come in several parts, each part is multiplied twice: the first time to find the scores of the targets,
    the second to count what scores at least as high. A target's score is always read from the product that the others
    come from; computed by itself it could differ in the last bit, and an item could tie with itself or not by chance.

    Args:
        hidden: ``(B, D)`` representation of each case.
        output: The layer that scores items; item ``i`` is its row ``i - 1``.
        targets: ``(B,)`` item ids, none of them padding (0).
        seen: ``(B, S)`` items that are excluded, padded with 0; a target among them ranks last.
        n_items: Items at a time; what :func:`items_at_a_time` says if not given.

    Returns:
        ``(B,)`` int64 ranks, and whether any score was not finite, as a tensor.
    """
    size = min(MOST_ITEMS, items_at_a_time(hidden.size(0), hidden.device) if n_items is None else n_items)
    columns = targets.unsqueeze(1) - 1
    own = hidden.new_full((hidden.size(0), 1), -torch.inf, dtype=torch.float32)
    bad = torch.zeros((), dtype=torch.bool, device=hidden.device)
    starts = range(0, output.out_features, size)
    part = _parts(hidden, output, size, seen)
    scores = own
    for start in starts:
        scores, finite = part(start)
        bad |= ~finite
        here = (columns >= start) & (columns < start + size)
        own = torch.where(here, scores.gather(1, (columns - start).clamp(0, scores.size(1) - 1)), own)
    ranks = torch.zeros(hidden.size(0), dtype=torch.int64, device=hidden.device)
    for start in starts:
        if len(starts) > 1:
            scores, _ = part(start)
        # As numbers 0 and 1, whose sum is exact and which are counted four times as fast as truth values.
        ranks += scores.ge_(own).sum(dim=1).long()
    return ranks, bad


def _parts(
    hidden: Tensor, output: nn.Linear | TiedOutput, size: int, seen: Tensor | None
) -> Callable[[int], tuple[Tensor, Tensor]]:
    """Return a function from the first row of a part to its scores, and whether all were finite."""
    columns = None if seen is None else seen - 1  # padding becomes -1, which is in no part

    def part(start: int) -> tuple[Tensor, Tensor]:
        bias = None if output.bias is None else output.bias[start : start + size]
        scores = F.linear(hidden, output.weight[start : start + size], bias).float()
        finite = torch.isfinite(scores.sum())  # a sum is finite only if all it is made of is
        if columns is not None:
            width = scores.size(1)
            inside = (columns >= start) & (columns < start + width)
            # The least of a score and -inf is -inf, that of a score and inf the score: others of the row lie elsewhere.
            limit = torch.where(inside, -torch.inf, torch.inf)
            scores.scatter_reduce_(1, (columns - start).clamp(0, width - 1), limit, "amin")
        return scores, finite

    return part
