"""What a search found, with every score it saw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_nasr.search.evidence import Evidence
from recbole_nasr.space import Architecture


@dataclass(frozen=True, kw_only=True)
class BlockRanking:
    """Scores of the paths of one block; lower is better.

    Args:
        metric: What a score is.
        paths: Operation names of each ranked path.
        flops: Forward FLOPs of each path on a sequence as long as the longest of the search.
        parameters: Trainable numbers in each path.
        scores: ``(P,)`` means over sequences.
        standard_errors: ``(P,)`` standard error of each score over persons.
        paired_errors: ``(P,)`` standard error over persons of each score's difference to the best, on the same
            sequences.
        selected: Index of the chosen path.
        ties: Indices of the paths tied with the best, the best included, ascending.
        gap: Score of the second-best path minus the best; 0 with a single path.
        gap_standard_error: Paired standard error of that difference over persons.
        n_sequences: Held-out sequences the scores are means over.
        n_space_paths: Paths the block has; more than ``len(paths)`` when a sample was ranked.
        view_scores: ``(V, P)`` scores from ``V`` sets of views on equal sequences; the first are those that
            ``scores`` are made of.
        evidence: How far the ranking can be trusted.
        effective_rank: Effective rank of what the paths agree on, between 1 and ``hidden_size``.
        hidden_size: Width of the representation.
        losses: Mean training loss of each epoch.
        of_network: Whether a score is that of the network up to this block, and comparable with other blocks'.
        over_budget: Indices of the paths that the budget excludes; best, second and ties are those of the others.
        change: Score of the network with the chosen path minus that of the network that ends before this block, on the
            same sequences; ``None`` for the first block, and where a score is not that of a network.
        change_standard_error: Paired standard error of it over persons.
    """

    metric: str
    paths: tuple[tuple[str, ...], ...]
    flops: tuple[int, ...]
    parameters: tuple[int, ...]
    scores: npt.NDArray[np.float64]
    standard_errors: npt.NDArray[np.float64]
    paired_errors: npt.NDArray[np.float64]
    selected: int
    ties: tuple[int, ...]
    gap: float
    gap_standard_error: float
    n_sequences: int
    n_space_paths: int
    view_scores: npt.NDArray[np.float64]
    evidence: Evidence
    effective_rank: float
    hidden_size: int
    losses: tuple[float, ...]
    of_network: bool = False
    over_budget: tuple[int, ...] = ()
    change: float | None = None
    change_standard_error: float | None = None

    @property
    def best(self) -> int:
        """Index of the path with the best score within the budget: the chosen one if it is among several equal."""
        scores = self.scores.copy()
        scores[list(self.over_budget)] = np.inf
        first = int(scores.argmin())
        return self.selected if scores[self.selected] == scores[first] else first

    @property
    def sampled(self) -> bool:
        """Whether only a sample of the block's paths was ranked."""
        return len(self.paths) < self.n_space_paths

    @property
    def collapsed(self) -> bool:
        """Whether there are so few directions (about 5 of 64) that all paths agree and scores mean nothing.

        ``n_sequences`` differ in one direction less at most, whatever they are; of two nothing can be told.
        """
        possible = min(self.hidden_size, self.n_sequences - 1)
        return self.n_sequences > 2 and self.effective_rank < max(1.1, possible / 12)

    def numbers(self) -> dict[str, float]:
        """Return the numbers that a tracker follows from block to block."""
        return {
            "selected_score": float(self.scores[self.selected]),
            "best_score": float(self.scores[self.best]),
            "worst_score": float(self.scores.max()),
            "gap": self.gap,
            "gap_standard_error": self.gap_standard_error,
            "tied_paths": float(len(self.ties)),
            "effective_rank": self.effective_rank,
            **({"loss": self.losses[-1]} if self.losses else {}),
        }

    def summary(self) -> dict[str, Any]:
        """Return the numbers a reader wants first, ready for JSON."""
        return {
            "metric": self.metric,
            "selected": list(self.paths[self.selected]),
            "selected_score": float(self.scores[self.selected]),
            "best": list(self.paths[self.best]),
            "best_score": float(self.scores[self.best]),
            "worst_score": float(self.scores.max()),
            "gap_to_second": self.gap,
            "gap_standard_error": self.gap_standard_error,
            "n_tied": len(self.ties),
            "n_ranked_paths": len(self.paths),
            "n_space_paths": self.n_space_paths,
            "n_over_budget": len(self.over_budget),
            "sampled": self.sampled,
            "n_sequences": self.n_sequences,
            "effective_rank": self.effective_rank,
            "collapsed": self.collapsed,
            "losses": list(self.losses),
            "change": self.change,
            "change_standard_error": self.change_standard_error,
            **self.evidence.content(),
        }


@dataclass(frozen=True)
class SearchResult:
    """The architecture found, and how it was found.

    Args:
        architecture: The one network that the search would take.
        blocks: The ranking of each block, or one of whole networks.
        kept: Other networks that the search kept open to the end, best first.
    """

    architecture: Architecture
    blocks: tuple[BlockRanking, ...]
    kept: tuple[Architecture, ...] = ()
