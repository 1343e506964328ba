"""How good paths are on held-out sequences, as every objective tells it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_nasr.errors import NumericalError
from recbole_nasr.space import Path


@dataclass(frozen=True)
class PathScores:
    """How good every path is on every held-out sequence; lower is better.

    Args:
        values: ``(B, P, N)`` in float64 on the CPU, for ``B`` prefixes, ``P`` paths and ``N`` sequences.
        representation: ``(N, D)``, what the paths make of the sequences; its effective rank tells of a collapse.
        views: ``(V, B, P)`` scores from ``V`` sets of views on equal sequences, the sets that ``values`` are made of
            first; ``V`` is 0 where an objective compares no views.
        n_view_sequences: Sequences that ``views`` are means over.
    """

    values: Tensor
    representation: Tensor
    views: Tensor
    n_view_sequences: int


def check_finite(values: Tensor, paths: Sequence[Path], index: int) -> None:
    """Refuse scores ``(B · P, N)`` that are not finite, naming the first bad path.

    Raises:
        NumericalError: If there is one.
    """
    finite = torch.isfinite(values).all(dim=1)
    if not bool(finite.all()):
        bad = paths[int((~finite).nonzero()[0]) % len(paths)]
        msg = (
            f"Path scores must be finite, but path {bad} of block {index + 1} has a NaN or infinite one; "
            f"lower `search_learning_rate`."
        )
        raise NumericalError(msg)


def effective_rank(vectors: Tensor) -> float:
    """Return ``exp`` of the entropy of the normalised singular values of centred ``vectors (N, D)``.

    Between 1 (all on a line) and ``min(N - 1, D)``.
    """
    singular = torch.linalg.svdvals((vectors - vectors.mean(dim=0)).double().cpu())
    share = singular / singular.sum().clamp_min(1e-12)
    return float(torch.exp(-(share * share.clamp_min(1e-12).log()).sum()))
