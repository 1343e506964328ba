"""Score every path of a trained block against the ensemble (paper §3.3, Eq. 6-7), sharing what paths have in common.

All paths see one stored pair of views per held-out sequence: the student one view, the path-ensemble target the other.
Everything runs in eval mode, and BatchNorm uses the statistics of all held-out sequences of its path, so that a score
depends neither on dropout, nor on how the sequences are cut into batches, nor on the paths ranked before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.progress import Progress
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.branch import Branch
from recbole_nasr.search.ensemble import distance, path_ensemble_target
from recbole_nasr.search.objective import Prefix, check_finite, evaluation_mode
from recbole_nasr.space import Path

FEATURE_BYTES = 1 << 30
"""Pooled features are held for as many paths at a time as fit in this many bytes."""


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


def _pooled(
    branch: Branch, prefix: Prefix, view: View, paths: Sequence[Path], batch_size: int, progress: Progress
) -> Tensor:
    """Return ``(P, N, D)``: the mean over positions of every path's output."""
    item_seq, item_seq_len = view
    features = item_seq.new_empty(0)
    for start in range(0, item_seq.size(0), batch_size):
        rows = slice(start, start + batch_size)
        lengths = item_seq_len[rows]
        hidden = branch.hidden((item_seq[rows], lengths), prefix)
        if not features.numel():
            features = hidden.new_empty(len(paths), item_seq.size(0), hidden.size(-1))
        for index, output in run_paths(branch.block, hidden, paths):
            features[index, rows] = masked_mean(output, lengths)
        progress.advance(len(paths) * lengths.size(0))
    return features


def _chunks(paths: Sequence[Path], bytes_per_path: int) -> Iterator[Sequence[Path]]:
    size = max(1, FEATURE_BYTES // bytes_per_path)
    return (paths[start : start + size] for start in range(0, len(paths), size))


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

    Returns:
        Distances ``(B · P, N)`` of ``B`` prefixes and ``P`` paths, prefix by prefix, in float64, on the CPU, and the
        target ``(N, D)`` of all paths.

    Raises:
        NumericalError: If a distance is not finite.
    """
    index = len(prefixes[0])
    online = Branch.online(supernet, index)
    teacher = target_branch or online
    n_sequences, width = views[0][0].size(0), supernet.embedding.items.embedding_dim
    parts = [(prefix, part) for prefix in prefixes for part in _chunks(paths, n_sequences * width * 4)]
    n_paths = len(prefixes) * len(paths)

    def units(prefix: Prefix, part: Sequence[Path]) -> Iterator[Tensor]:
        for features in _pooled(teacher, prefix, views[1], part, batch_size, progress):
            yield F.normalize(teacher.block.projector(features), dim=-1)

    distances = []
    with evaluation_mode(supernet, teacher.embedding, teacher.block):
        total = torch.zeros(n_sequences, width, device=views[0][0].device)
        for prefix, part in parts:
            for unit in units(prefix, part):
                total += unit
        target = path_ensemble_target((total / n_paths).unsqueeze(0))
        for prefix, part in parts:
            own = units(prefix, part) if leave_one_out and n_paths > 1 else None
            for features in _pooled(online, prefix, views[0], part, batch_size, progress):
                others = target if own is None else F.normalize(total - next(own), dim=-1)
                distances.append(distance(online.block.predictor(online.block.projector(features)), others))
    stacked = torch.stack(distances).double().cpu()
    check_finite(stacked, paths, index)
    return stacked, target
