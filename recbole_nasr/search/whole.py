"""The search over the whole network: train all layers at once, then choose block by block on the supernet's score."""

from __future__ import annotations

import random
from typing import Any

from recbole_nasr.keeping import Keeper
from recbole_nasr.progress import open_progress, plural
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.blockwise import OnBlock
from recbole_nasr.search.evidence import Evidence
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.search.state import SearchState
from recbole_nasr.space import Path

TRAINING = "search: train the supernet"
"""The training of all layers at once, on the screen."""

START_NETWORKS = 32
"""Random networks, the best of which is where the choice starts; draws that repeat within a budget count once."""


class WholeSearch:
    """Single-path one-shot search (SPOS, Guo et al. 2020) that ends in a ranking of every path of every block.

    All layers are one block of the supernet, so that a sampled path is a network, trained as it will be run. SPOS looks
    for the best network under the shared weights by evolution. Here that score is lowered block by block: starting
    from the best of a few random networks, all paths of a block are ranked with the other blocks as they stand, and
    the best is taken, in sweeps over the blocks until one changes nothing. A block whose surroundings are what they
    were is not ranked again. It needs no tuning, shares the layers before the block, and compares all paths of a block
    on equal terms, which the report needs. It may end in a network that only a change of two blocks at once would
    improve.

    Args:
        problem: What to search.
        keeper: Saves the state after every step of the training, and between rankings; one that was interrupted starts
            over and gives the same scores.
    """

    def __init__(self, problem: SearchProblem, keeper: Keeper | None = None) -> None:
        self.problem, self.space, self.settings = problem, problem.space, problem.settings
        self.keeper = keeper or Keeper()
        self.one_block = self.space.in_one_block()
        self.budget = problem.budget_in_force
        self.state = SearchState.begin(problem, self.one_block)
        self.losses: tuple[float, ...] = ()
        self.network: Path = ()
        self.rankings: dict[int, BlockRanking] = {}
        self.n_ranked = 0  # over all sweeps
        self.before: Path = ()  # the network at the start of the sweep
        self.ranked_in: dict[int, Path] = {}  # the network in which each block was ranked last

    def run(self, on_block: OnBlock | None = None) -> SearchResult:
        """Train, sweep over the blocks, and return the last ranking of each; ``on_block`` is called with those."""
        with self.keeper.part("search", self._progress):
            self._go_on(self.keeper.take("search", (BlockRanking, Evidence)))
            if not self.network:
                self._train()
            while self._sweeps_on():
                self._rank_next()
        for block, ranking in self.rankings.items():
            if on_block is not None:
                on_block(block, ranking)
        return SearchResult(self.space.network(self.network), tuple(self.rankings.values()))

    def _train(self) -> None:
        with self.state.trained_block([()], TRAINING, self.keeper) as losses:
            self.losses = losses
            self.keeper.stage("search: rank random networks")
            self.network = self._start()
        self.keeper.stage("search: sweep 1, rank block 1")

    def _sweeps_on(self) -> bool:
        """Return whether there is a block to rank: a sweep that changes nothing is the last."""
        sweep, block = divmod(self.n_ranked, self.space.n_blocks)
        return block > 0 or (sweep < self.settings.sweeps and not (sweep and self.network == self.before))

    def _rank_next(self) -> None:
        sweep, block = divmod(self.n_ranked, self.space.n_blocks)
        if block == 0:
            self.before = self.network
        if not self._stands(block):
            self.ranked_in[block] = self.network
            self.network, self.rankings[block] = self._best_of_block(self.network, block, sweep, self.losses)
        self.n_ranked += 1
        sweep, block = divmod(self.n_ranked, self.space.n_blocks)
        self.keeper.stage(f"search: sweep {sweep + 1}, rank block {block + 1}" if self._sweeps_on() else "training")

    def _stands(self, block: int) -> bool:
        """Return whether ranking ``block`` again would give what it gave: the same paths in the same surroundings."""
        if block not in self.ranked_in:
            return False
        part, then = self._parts()[block], self.ranked_in[block]
        around = [(*network[: part.start], *network[part.stop :]) for network in (then, self.network)]
        return around[0] == around[1] and self._candidates(then, block) == self._candidates(self.network, block)

    def _progress(self) -> dict[str, Any]:
        names = ("losses", "network", "rankings", "n_ranked", "before", "ranked_in")
        kept = {name: getattr(self, name) for name in names}
        if self.network:  # before, the training keeps it
            kept["objective"] = self.state.objective.state()
        return {**self.state.progress(), **kept}

    def _go_on(self, saved: dict[str, Any] | None) -> None:
        if saved is None:
            return
        self.state.go_on(saved)
        self.losses, self.network, self.before = saved["losses"], saved["network"], saved["before"]
        self.rankings, self.n_ranked = saved["rankings"], saved["n_ranked"]
        self.ranked_in = saved.get("ranked_in", {})  # states of earlier versions have none
        if self.network:  # trained, so that nothing else starts it
            self.state.objective.start(0)
            if "objective" in saved:  # as above
                self.state.objective.restore(saved["objective"])

    def _parts(self) -> list[slice]:
        ends = [sum(self.space.layers_per_block[: block + 1]) for block in range(self.space.n_blocks)]
        return [slice(end - n, end) for end, n in zip(ends, self.space.layers_per_block, strict=True)]

    def _start(self) -> Path:
        rng = random.Random(derive_seed(self.problem.seed, "search/start"))
        networks = self.one_block.candidate_paths(0, START_NETWORKS, rng)
        if self.budget.limited:
            networks = sorted({self.budget.draw(rng) for _ in range(START_NETWORKS)})
        label = f"search: rank {len(networks)} random {plural(len(networks), 'network')}"
        values = self._score(networks, label).values[0].numpy()
        return networks[self.state.assessor.select(values, networks).selected]

    def _candidates(self, network: Path, block: int) -> list[Path]:
        """Return the paths of ``block`` to rank, that of ``network`` among them."""
        rng = random.Random(derive_seed(self.problem.seed, f"search/candidates/{block}"))
        paths = self.space.candidate_paths(block, self.settings.max_enumerated_paths, rng)
        present = network[self._parts()[block]]
        return paths if present in paths else sorted([*paths, present])  # a sample may lack it

    def _best_of_block(
        self, network: Path, block: int, sweep: int, losses: tuple[float, ...]
    ) -> tuple[Path, BlockRanking]:
        part, paths = self._parts()[block], self._candidates(network, block)
        networks = [(*network[: part.start], *path, *network[part.stop :]) for path in paths]
        many = f"{len(paths)} {plural(len(paths), 'path')}"
        label = f"search: sweep {sweep + 1}, rank block {block + 1}/{self.space.n_blocks} ({many})"
        scores = self._score(networks, label)
        allowed = [self.budget.fits(network) for network in networks]
        ranking = self.state.assessor.ranking(block, paths, scores, losses=losses, allowed=allowed)
        return networks[ranking.selected], ranking

    def _score(self, networks: list[Path], label: str) -> PathScores:
        with open_progress(self.state.objective.work(len(networks)), label, unit="path") as progress:
            return self.state.objective.score_within_memory([()], networks, progress)
