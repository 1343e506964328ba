"""The block-by-block search (paper §3.2-3.3): train a block, rank its paths, keep the best, freeze, go on."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from recbole_nasr.keeping import Keeper
from recbole_nasr.progress import open_progress, plural
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.evidence import Evidence
from recbole_nasr.search.objective import Prefix
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.search.selection import Matrix
from recbole_nasr.search.state import SearchState
from recbole_nasr.space import Path

OnBlock = Callable[[int, BlockRanking], None]


@dataclass(frozen=True)
class Choice:
    """One way through the blocks ranked so far.

    Args:
        prefix: Its paths.
        total: ``(N,)`` what its blocks add up to on every held-out sequence, where an objective adds up.
        rankings: Of every block, behind the paths before it.
        scores: ``(N,)`` those of its last path, if it has one.
    """

    prefix: Prefix
    total: Matrix
    rankings: tuple[BlockRanking, ...]
    scores: Matrix | None = None


class BlockwiseSearch:
    """One search in progress: the supernet, and the choices kept open so far.

    Blocks are trained one by one because a block is small enough to train all its paths alike and to rank every one
    of them (DNA, Li et al. 2020; BossNAS, Li et al. 2021).

    With a beam of one this is the paper's greedy choice. A wider beam trains a block behind each of its choices in
    turn, ranks all paths behind all of them together, and goes on with the best: the block that looks best first need
    not be part of the best network.

    Args:
        problem: What to search.
        keeper: Saves the state after every step, training and ranking, as often as it wants. A ranking that was
            interrupted starts over: it draws nothing and changes nothing, so it gives the same scores.
    """

    def __init__(self, problem: SearchProblem, keeper: Keeper | None = None) -> None:
        self.problem, self.space, self.settings = problem, problem.space, problem.settings
        self.budget = problem.budget_in_force
        self.keeper = keeper or Keeper()
        self.state = SearchState.begin(problem, self.space)
        self.choices = [Choice((), np.zeros(()), ())]

    def run(self, on_block: OnBlock | None = None) -> SearchResult:
        """Search all blocks; ``on_block`` is called with each one's index and the ranking behind the best so far."""
        with self.keeper.part("search", self._progress):
            self._go_on(self.keeper.take("search", (Choice, BlockRanking, Evidence)))
            for index in range(len(self.choices[0].prefix), self.space.n_blocks):
                ranking = self.next_block()
                if on_block is not None:
                    on_block(index, ranking)
        found, *kept = (self.space.architecture(choice.prefix) for choice in self.choices)
        return SearchResult(found, self.choices[0].rankings, tuple(kept))

    def _progress(self) -> dict[str, Any]:
        return {**self.state.progress(), "choices": self.choices}

    def _go_on(self, saved: dict[str, Any] | None) -> None:
        if saved is not None:
            self.state.go_on(saved)
            self.choices = saved["choices"]

    def next_block(self) -> BlockRanking:
        """Train and rank the next block, choose, and return the ranking that the best choice comes from."""
        prefixes = [choice.prefix for choice in self.choices]
        index, n_blocks, state = len(prefixes[0]), self.space.n_blocks, self.state
        label = f"search: train block {index + 1}/{n_blocks}"
        with state.trained_block(prefixes, label, self.keeper) as losses:
            rng = random.Random(derive_seed(self.problem.seed, f"search/candidates/{index}"))
            paths = self.space.candidate_paths(index, self.settings.max_enumerated_paths, rng)
            for prefix in prefixes:
                paths = self.budget.with_way_on(paths, tuple(op for path in prefix for op in path))
            n_paths = len(prefixes) * len(paths)
            label = f"search: rank block {index + 1}/{n_blocks} ({n_paths} {plural(n_paths, 'path')})"
            self.keeper.stage(label)
            with open_progress(state.objective.work(n_paths), label, unit="path") as progress:
                scores = state.objective.score_within_memory(prefixes, paths, progress)
        self.choices = self._choose(paths, scores, losses)
        self.keeper.stage(f"search: train block {index + 2}/{n_blocks}" if index + 1 < n_blocks else "training")
        return self.choices[0].rankings[-1]

    def _choose(self, paths: list[Path], scores: PathScores, losses: tuple[float, ...]) -> list[Choice]:
        values: Matrix = scores.values.numpy()
        before = np.stack([choice.total - self.choices[0].total for choice in self.choices])  # (B,) or (B, N)
        totals = values + before.reshape(len(before), 1, -1)
        ways = [(*choice.prefix, path) for choice in self.choices for path in paths]
        whole_paths = [tuple(op for path in way for op in path) for way in ways]
        allowed = [self.budget.fits(path) for path in whole_paths]
        found = self.state.assessor.select(totals.reshape(len(ways), -1), whole_paths, allowed)
        best = [found.selected, *(index for index in found.order if index != found.selected and allowed[index])]
        kept = []
        for number in best[: self.settings.beam]:
            parent, path = divmod(number, len(paths))
            earlier = self.choices[parent]
            ranking = self.state.assessor.ranking(
                len(earlier.prefix),
                paths,
                scores,
                losses=losses,
                prefix=parent,
                selected=path,
                allowed=allowed[parent * len(paths) : (parent + 1) * len(paths)],
                before=None if self.state.objective.adds_up else earlier.scores,
            )
            own = values[parent, path]
            total = earlier.total + own if self.state.objective.adds_up else earlier.total
            kept.append(Choice(ways[number], total, (*earlier.rankings, ranking), own))
        return kept
