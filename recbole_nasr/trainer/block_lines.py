"""The log line of a block whose paths have been ranked."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from recbole_nasr.progress import duration
from recbole_nasr.search import BlockRanking

_LOG = logging.getLogger("recbole_nasr")


class BlockLines:
    """Called with each block that is ranked: logs its best path, and the time that the blocks after it will take.

    Args:
        n_blocks: Blocks that are trained and ranked one after the other, about as long each; 0 where they are not.
        then: Called with the same arguments afterwards.
    """

    def __init__(self, n_blocks: int, then: Callable[[int, BlockRanking], None]) -> None:
        self._n_blocks, self._then, self._time = n_blocks, then, time.perf_counter()

    def __call__(self, index: int, ranking: BlockRanking) -> None:
        """Log the ranking of the block with the index ``index`` (from 0)."""
        now = time.perf_counter()
        seconds, self._time = now - self._time, now
        left = seconds * (self._n_blocks - index - 1)
        _LOG.info(
            "Block %d: %s, score %.5f, %s%s%s%s",
            index + 1,
            ",".join(ranking.paths[ranking.selected]),
            ranking.scores[ranking.selected],
            _lead(ranking),
            f" (a sample of {ranking.n_space_paths:,})" if ranking.sampled else "",
            ", collapsed" if ranking.collapsed else "",
            f"; about {duration(left, 0)} of search left" if left >= 1 else "",
        )
        if ranking.collapsed:
            _LOG.warning(
                "Block %d has collapsed: its representation has an effective rank of %.1f of %d, so all paths agree "
                "and their scores mean nothing. Take another seed, more data, or a lower `search_learning_rate`.",
                index + 1,
                ranking.effective_rank,
                ranking.hidden_size,
            )
        self._then(index, ranking)


def _lead(ranking: BlockRanking) -> str:
    """Return how far the best path is ahead of those that could be chosen too."""
    within = " within the budget" if ranking.over_budget else ""
    n_free = len(ranking.paths) - len(ranking.over_budget)
    if n_free == 1:
        return f"the only path{within}"
    gap = f"gap to the second {ranking.gap:.1e} ± {ranking.gap_standard_error:.1e}"
    return f"{gap}, {len(ranking.ties)} of {n_free} paths{within} tied"
