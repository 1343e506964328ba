"""Score every path of a trained block (paper §3.3, Eq. 6-7), sharing what paths have in common.

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

from recbole_nasr.errors import NumericalError
from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.progress import Progress
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.objective import distance, path_ensemble_target
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
    supernet: Supernet, chosen: Sequence[Path], view: View, paths: Sequence[Path], batch_size: int, progress: Progress
) -> Tensor:
    """Return ``(P, N, D)``: the mean over positions of every path's output."""
    item_seq, item_seq_len = view
    block = supernet.block(len(chosen))
    features = item_seq.new_empty(0)
    for start in range(0, item_seq.size(0), batch_size):
        rows = slice(start, start + batch_size)
        lengths = item_seq_len[rows]
        hidden = supernet.prefix(item_seq[rows], lengths, chosen)
        if not features.numel():
            features = hidden.new_empty(len(paths), item_seq.size(0), hidden.size(-1))
        for index, output in run_paths(block, hidden, paths):
            features[index, rows] = masked_mean(output, lengths)
        progress.advance(len(paths) * lengths.size(0))
    return features


def _chunks(paths: Sequence[Path], bytes_per_path: int) -> Iterator[slice]:
    size = max(1, FEATURE_BYTES // bytes_per_path)
    return (slice(start, start + size) for start in range(0, len(paths), size))


@torch.no_grad()
def rank_paths(
    supernet: Supernet,
    chosen: Sequence[Path],
    views: tuple[View, View],
    paths: Sequence[Path],
    *,
    batch_size: int,
    progress: Progress,
) -> tuple[Tensor, Tensor]:
    """Return each path's distance to the path-ensemble target, per held-out sequence.

    The supernet is left exactly as it was: parameters, buffers, mode.

    Args:
        supernet: Holds the trained block ``len(chosen)``.
        chosen: The selected path of every earlier block.
        views: Student view and target view of the same ``N >= 2`` sequences.
        paths: The paths to rank, sorted and distinct.
        batch_size: Sequences per forward pass.
        progress: Advanced by one for each path and sequence of each view.

    Returns:
        Distances ``(P, N)`` in float64, on the CPU, and the target ``(N, D)``.

    Raises:
        NumericalError: If a distance is not finite.
    """
    modes = [(module, module.training) for module in supernet.modules()]
    supernet.eval()
    try:
        block = supernet.block(len(chosen))
        n_sequences, width = views[0][0].size(0), supernet.embedding.items.embedding_dim
        chunks = list(_chunks(paths, n_sequences * width * 4))
        total = torch.zeros(n_sequences, width, device=views[0][0].device)
        for chunk in chunks:
            for features in _pooled(supernet, chosen, views[1], paths[chunk], batch_size, progress):
                total += F.normalize(block.projector(features), dim=-1)
        target = path_ensemble_target((total / len(paths)).unsqueeze(0))
        distances = [
            distance(block.predictor(block.projector(features)), target)
            for chunk in chunks
            for features in _pooled(supernet, chosen, views[0], paths[chunk], batch_size, progress)
        ]
    finally:
        for module, mode in modes:
            module.training = mode
    stacked = torch.stack(distances).double().cpu()
    if not bool(torch.isfinite(stacked).all()):
        bad = int((~torch.isfinite(stacked).all(dim=1)).nonzero()[0])
        msg = (
            f"Path scores must be finite, but path {paths[bad]} of block {len(chosen)} has a NaN or infinite one; "
            f"lower `search_learning_rate`."
        )
        raise NumericalError(msg)
    return stacked, target


def effective_rank(vectors: Tensor) -> float:
    """Return ``exp`` of the entropy of the normalised singular values of centred ``vectors (N, D)``.

    Between 1 (all on a line) and ``min(N - 1, D)``.
    """
    singular = torch.linalg.svdvals((vectors - vectors.mean(dim=0)).double().cpu())
    share = singular / singular.sum().clamp_min(1e-12)
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
