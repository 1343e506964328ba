"""Regularised evolution on the scores of a supernet: the search that one-shot methods usually end with."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from recbole_nasr.keeping import Keeper
from recbole_nasr.progress import Progress, open_progress
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.blockwise import OnBlock
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.state import SearchState
from recbole_nasr.search.whole import TRAINING
from recbole_nasr.space import Path

_TRIES = 100  # of a mutation within the budget, before the parent is taken as it is


def mutated(parent: Path, budget: Budget, rng: random.Random) -> Path:
    """Return ``parent`` with another operation in one layer, both drawn uniformly from what the budget allows."""
    for _ in range(_TRIES if budget.n_operations > 1 else 0):
        layer = rng.randrange(len(parent))
        op = rng.choice([op for op in range(budget.n_operations) if op != parent[layer]])
        child = (*parent[:layer], op, *parent[layer + 1 :])
        if budget.fits(child):
            return child
    return parent


def regularised_evolution(
    score: Callable[[Path], float],
    budget: Budget,
    rng: random.Random,
    *,
    population: int,
    tournament: int,
    networks: int,
    progress: Progress | None = None,
) -> list[Path]:
    """Evolve networks towards a lower ``score``.

    After a population of random networks each step draws some of it, mutates the best of them, and lets the child take
    the place of the oldest: age and not failure ends a life, so that a network must be found good again and again
    (Real et al., AAAI 2019, Algorithm 1; mutations change one operation).

    Args:
        score: Of a network; asked once for every different one.
        budget: What networks there are.
        rng: Source of randomness.
        population: Networks alive at a time.
        tournament: How many of them are drawn for a parent.
        networks: How many are drawn or bred in all, repeated ones included.
        progress: Counts them.

    Returns:
        Every network that came up, in order of appearance.
    """
    progress = progress or Progress()
    known: dict[Path, float] = {}
    best = math.inf
    alive: deque[Path] = deque()
    for number in range(networks):
        if number < population:
            child = budget.draw(rng)
        else:
            drawn = rng.sample(range(len(alive)), min(tournament, len(alive)))
            child = mutated(min((alive[place] for place in drawn), key=known.__getitem__), budget, rng)
            alive.popleft()
        if child not in known:
            known[child] = score(child)
            best = min(best, known[child])
        alive.append(child)
        progress.advance(best=f"{best:.4f}")
    return list(known)


class EvolutionSearch:
    """Trains all layers of the supernet at once, as :class:`~recbole_nasr.search.whole.WholeSearch`, then evolves.

    What it finds is one ranking, of all whole networks that came up.

    Args:
        problem: What to search; the score of a network must not depend on which others are scored.
        keeper: Saves the state after every step of the training; an evolution that was interrupted starts over and
            breeds the same networks.
    """

    def __init__(self, problem: SearchProblem, keeper: Keeper | None = None) -> None:
        self.keeper = keeper or Keeper()
        self.space, self.settings = problem.space, problem.settings
        self.problem = replace(problem, space=self.space.in_one_block())
        self.budget = problem.budget_in_force
        self.state = SearchState.begin(self.problem, self.problem.space)

    def run(self, on_block: OnBlock | None = None) -> SearchResult:
        """Train, evolve, and rank what came up; ``on_block`` is called with that ranking as block 0."""
        with self.keeper.part("search", self.state.progress):
            self.state.go_on(self.keeper.take("search"))
            with self.state.trained_block([()], TRAINING, self.keeper) as losses:
                self.keeper.stage("search: evolve")
                networks, scores = self._evolve()
        ranking = self.state.assessor.ranking(0, networks, scores, losses=losses)
        if on_block is not None:
            on_block(0, ranking)
        return SearchResult(self.space.network(networks[ranking.selected]), (ranking,))

    def _evolve(self) -> tuple[list[Path], PathScores]:
        settings, objective = self.settings, self.state.objective
        values: dict[Path, Tensor] = {}
        representation = torch.zeros(())  # the sum alone: of every network it would be more than all scores
        rng = random.Random(derive_seed(self.problem.seed, "search/evolution"))

        def score(network: Path) -> float:
            nonlocal representation
            found = objective.score_within_memory([()], [network], Progress())
            values[network] = found.values
            representation = representation + found.representation
            return float(found.values.mean())

        with open_progress(settings.evolution_networks, "search: evolve", unit="network") as progress:
            regularised_evolution(
                score,
                self.budget,
                rng,
                population=settings.evolution_population,
                tournament=settings.evolution_tournament,
                networks=settings.evolution_networks,
                progress=progress,
            )
        networks = sorted(values)
        joined = torch.cat([values[network] for network in networks], dim=1)
        return networks, PathScores(
            values=joined,
            representation=representation / len(networks),
            views=joined.new_empty(0, 1, len(networks)),
            n_view_sequences=0,
        )
