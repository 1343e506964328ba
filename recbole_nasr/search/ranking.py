"""Score every path of a trained block against the ensemble (paper §3.3, Eq. 6-7), sharing what paths have in common.

All paths see one stored pair of views per held-out sequence: the student one view, the path-ensemble target the other.
Everything runs in eval mode, and BatchNorm uses the statistics of all held-out sequences of its path, so that a score
depends neither on dropout, nor on how the sequences are cut into batches, nor on the paths ranked before.

On a CPU one path after another is run, on a GPU they are stacked; the first is what the second is tested against.
Several processes share the paths, each path whole, and add up the ensemble in the order of one process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr import distributed
from recbole_nasr.nets import Supernet, masked_mean, per_path
from recbole_nasr.nets.memory import memory_share
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.progress import Progress
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.branch import Branch
from recbole_nasr.search.ensemble import distance, path_ensemble_target
from recbole_nasr.search.frozen import FrozenOutputs
from recbole_nasr.search.objective import Prefix, evaluation_mode
from recbole_nasr.search.path_scores import check_finite
from recbole_nasr.search.stacked import StackedPaths, in_order, states_at_a_time
from recbole_nasr.space import Path


def run_paths(block: SupernetBlock, hidden: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
    """Yield ``(index, output (B, L, D))`` for every path, computing each shared beginning once.

    Args:
        block: The block, in the mode the caller wants.
        hidden: ``(B, L, D)``, what enters the block.
        paths: Sorted, so that equal beginnings are neighbours.
    """

    def descend(state: Tensor, depth: int, members: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        if depth == len(block.layers):
            yield from ((index, state) for index in members)
            return
        for op, group in groupby(members, key=lambda index: paths[index][depth]):
            yield from descend(block.layers[depth](state, op), depth + 1, list(group))

    yield from descend(hidden, 0, range(len(paths)))


@dataclass(frozen=True)
class _Run:
    """How the paths of one ranking are run.

    Args:
        branch: Whose weights.
        view: Of all ``N`` sequences.
        frozen: What earlier blocks make of the view.
        batch_size: Sequences per forward pass.
        at_a_time: Paths to stack; 0 to run one after another.
        progress: Advanced by one for every path and sequence.
    """

    branch: Branch
    view: View
    frozen: FrozenOutputs | None
    batch_size: int
    at_a_time: int
    progress: Progress

    def _pooled(self, prefix: Prefix, paths: Sequence[Path]) -> Tensor:
        """Return ``(P, N, D)``: the mean over positions of every path's output."""
        item_seq, item_seq_len = self.view
        table = self.branch.supernet.embedding.items.weight
        features = table.new_empty(len(paths), item_seq.size(0), table.size(1))
        plan = StackedPaths(paths, self.at_a_time, table.device) if self.at_a_time else None
        for start in range(0, item_seq.size(0), self.batch_size):
            rows = slice(start, start + self.batch_size)
            lengths = item_seq_len[rows]
            hidden = self._hidden(prefix, rows)
            if plan is None:
                for index, output in run_paths(self.branch.block, hidden, paths):
                    features[index, rows] = masked_mean(output, lengths)
            else:
                outputs = plan.run(self.branch.block, hidden)
                features[:, rows] = in_order((group, _masked_means(made, lengths)) for group, made in outputs)
            self.progress.advance(len(paths) * lengths.size(0))
        return features

    def _hidden(self, prefix: Prefix, rows: slice) -> Tensor:
        if self.frozen is not None and prefix:
            return self.frozen.rows(prefix, rows)
        return self.branch.hidden((self.view[0][rows], self.view[1][rows]), prefix)

    def _heads(self, modules: Sequence[nn.Sequential], features: Tensor) -> Iterator[Tensor]:
        """Yield what ``modules``, one after the other, make of ``features (P, N, D)``, some paths at a time."""
        if self.at_a_time:
            for module in modules:
                features = per_path(module, features)
            yield features
            return
        for feature in features:
            made = feature
            for module in modules:
                made = module(made)
            yield made.unsqueeze(0)

    def projected(self, prefix: Prefix, paths: Sequence[Path]) -> Iterator[Tensor]:
        """Yield the normalised projections ``(S, N, D)`` of this process's share of ``paths``, some paths at a time."""
        return map(_unit, self._of_share([self.branch.block.projector], prefix, paths))

    def predicted(self, prefix: Prefix, paths: Sequence[Path]) -> Iterator[Tensor]:
        """Yield the predictions ``(S, N, D)`` of this process's share of ``paths``, some paths at a time."""
        block = self.branch.block
        return self._of_share([block.projector, block.predictor], prefix, paths)

    def _of_share(self, modules: Sequence[nn.Sequential], prefix: Prefix, paths: Sequence[Path]) -> Iterator[Tensor]:
        own = distributed.share(paths)
        # At once: who takes one of these for each of its own paths does not come to an end of them.
        self.progress.advance((len(paths) - len(own)) * self.view[0].size(0))
        return self._heads(modules, self._pooled(prefix, own)) if own else iter(())


def _masked_means(outputs: Tensor, lengths: Tensor) -> Tensor:
    """Return the means over real positions of ``outputs (S, B, L, D)``: ``(S, B, D)``."""
    means = masked_mean(outputs.flatten(0, 1), lengths.repeat(outputs.size(0)))
    return means.view(outputs.size(0), outputs.size(1), -1)


def _chunks(paths: Sequence[Path], bytes_per_path: int, device: torch.device) -> list[Sequence[Path]]:
    """Cut ``paths`` so that the features of a part fit into the share of memory that they have."""
    size = max(1, memory_share(device) // bytes_per_path)
    return [paths[start : start + size] for start in range(0, len(paths), size)]


def rank_paths(
    supernet: Supernet,
    prefixes: Sequence[Prefix],
    views: tuple[View, View],
    paths: Sequence[Path],
    *,
    batch_size: int,
    progress: Progress,
    target_branch: Branch | None = None,
    leave_one_out: bool = False,
    frozen: tuple[FrozenOutputs, FrozenOutputs] | None = None,
    at_a_time: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Return each path's distance to the path-ensemble target, per held-out sequence.

    The supernet is left exactly as it was: parameters, buffers, mode.

    Args:
        supernet: Holds the trained block after ``prefixes``.
        prefixes: Selected paths of the earlier blocks; with several, the ensemble is over all paths behind all.
        views: Student view and target view of the same ``N >= 2`` sequences.
        paths: The paths to rank, sorted and distinct.
        batch_size: Sequences per forward pass.
        progress: Advanced by one for each prefix, path and sequence of each view.
        target_branch: What sets the target; the supernet itself if not given.
        leave_one_out: Compare a path with the ensemble of the others; one path alone is compared with itself.
        frozen: What earlier blocks make of the two views.
        at_a_time: Paths to stack at most, 0 to run one after another; by default what :func:`states_at_a_time` says.

    Returns:
        Distances ``(B · P, N)`` of ``B`` prefixes and ``P`` paths, prefix by prefix, in float64, on the CPU, and the
        target ``(N, D)`` of all paths.

    Raises:
        NumericalError: If a distance is not finite.
    """
    index = len(prefixes[0])
    online = Branch.online(supernet, index)
    teacher = target_branch or online
    (n_sequences, length), width = views[0][0].shape, supernet.embedding.items.embedding_dim
    device = supernet.embedding.items.weight.device
    if at_a_time is None:
        at_a_time = states_at_a_time(device, min(batch_size, n_sequences), length, width)
    shown, seen = (
        _Run(branch, view, outputs, batch_size, at_a_time, progress)
        for branch, view, outputs in zip((online, teacher), views, frozen or (None, None), strict=True)
    )
    n_paths = len(prefixes) * len(paths)
    bytes_per_path = n_sequences * width * 4 * (4 if at_a_time else 1)  # the heads, too, take all paths at once
    parts = [(prefix, part) for prefix in prefixes for part in _chunks(paths, bytes_per_path, device)]

    distances = []
    with evaluation_mode(supernet, teacher.embedding, teacher.block):
        total = torch.zeros(n_sequences, width, device=device)
        for prefix, part in parts:
            distributed.add_in_turn(total, (group.sum(dim=0) for group in seen.projected(prefix, part)))
        target = path_ensemble_target((total / n_paths).unsqueeze(0))
        for prefix, part in parts:
            others = seen.projected(prefix, part) if leave_one_out and n_paths > 1 else None
            found = [
                distance(group, target if others is None else _unit(total - next(others)))
                for group in shown.predicted(prefix, part)
            ]
            own = torch.cat(found) if found else total.new_empty(0, n_sequences)  # fewer paths than processes
            distances.append(distributed.all_rows(own, len(part)))
    stacked = torch.cat(distances).double().cpu()
    check_finite(stacked, paths, index)
    return stacked, target


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors, dim=-1)
