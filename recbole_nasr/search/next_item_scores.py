"""How good the outputs of paths are at predicting the next item."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from recbole_nasr.nets import NextItemHead, last_real
from recbole_nasr.nets.memory import memory_share
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.search.ranking import run_paths
from recbole_nasr.search.stacked import PathGroup, StackedPaths
from recbole_nasr.space import Path

PathRunner = Callable[[Tensor], Iterator[tuple[PathGroup, Tensor]]]
"""From what enters a block to paths and their outputs ``(S, B, L, D)``, until every path has come."""

LOGIT_BYTES = 12
"""Bytes for each logit of a ranking: it, its logarithm of the softmax, and one in passing."""


class PathScorer:
    """Runs the paths of a block, one after another as is best on a CPU or stacked as on a GPU, and scores them.

    Args:
        block: In the mode the caller wants.
        head: The softmax layer.
        paths: Sorted and distinct.
        ndcg_cut: The ``k`` of ``1 - NDCG@k`` of the last item; ``None`` for the cross-entropy of all items.
        at_a_time: Paths to stack at most; 0 to run one after another.
    """

    def __init__(
        self, block: SupernetBlock, head: NextItemHead, paths: Sequence[Path], ndcg_cut: int | None, at_a_time: int
    ) -> None:
        self._head, self._cut = head, ndcg_cut
        device = head.output.weight.device
        if at_a_time:
            self.run: PathRunner = partial(StackedPaths(paths, at_a_time, device).run, block)
            self._cross_entropy = head.cross_entropy
        else:
            self.run = _one_by_one(block, paths, device)
            self._cross_entropy = head.cross_entropy_in_cache

    def values(self, outputs: Tensor, length: Tensor, targets: Tensor) -> Tensor:
        """Return the score of each path on each row, as many as fit into memory at once; lower is better.

        Args:
            outputs: ``(S, B, L, D)`` of ``S`` paths.
            length: ``(B,)`` targets of each row.
            targets: ``(B, L)`` next items, right-padded with 0.

        Returns:
            ``(S, B)``, in float64.
        """
        if self._cut is not None:
            outputs, targets = last_outputs(outputs, length).unsqueeze(2), last_real(targets, length).unsqueeze(1)
        bytes_per_path = targets.numel() * self._head.output.out_features * LOGIT_BYTES
        size = max(1, memory_share(outputs.device) // bytes_per_path)
        return torch.cat([self._some_values(part, length, targets) for part in torch.split(outputs, size)])

    def _some_values(self, outputs: Tensor, length: Tensor, targets: Tensor) -> Tensor:
        n_paths, n_rows = outputs.shape[:2]
        wanted = targets.repeat(n_paths, 1)
        if self._cut is None:
            losses = self._cross_entropy(outputs.flatten(0, 1), wanted).sum(dim=1).view(n_paths, n_rows)
            return (losses / length).double()
        ranks = self._head.ranks(outputs.flatten(0, 2), wanted.flatten()).double().view(n_paths, n_rows)
        return 1 - torch.where(ranks <= self._cut, 1 / torch.log2(ranks + 1), 0.0)


def _one_by_one(block: SupernetBlock, paths: Sequence[Path], device: torch.device) -> PathRunner:
    groups = [PathGroup((index,), torch.tensor([index], device=device)) for index in range(len(paths))]
    return lambda hidden: ((groups[index], output.unsqueeze(0)) for index, output in run_paths(block, hidden, paths))


def last_outputs(outputs: Tensor, length: Tensor) -> Tensor:
    """Return ``(S, B, D)``: what stands at the last real position of each row of ``outputs (S, B, L, D)``."""
    return outputs[:, torch.arange(length.size(0), device=length.device), (length - 1).clamp_min(0)]
