"""The candidates that each search strategy trains: one small class for each way to find them."""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping

from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.shortlist import Candidate, indices_of, merged, shortlist
from recbole_nasr.space import Architecture, SearchSpace

HAND_MADE = "pure"
"""Origin of networks with one operation in every layer, which need no search."""

_TRIES = 1000  # draws in a row that bring nothing new, after which the space is taken to have no more


class Strategy(ABC):
    """Says which networks are trained before one is taken.

    Args:
        plan: How many.
        space: Where they come from.
        table: What they cost.
        limits: The largest value of each limited cost.
        seed: Of random draws.

    Raises:
        ConfigError: If no network of the space is within the limits.
    """

    def __init__(
        self, plan: StrategySettings, space: SearchSpace, table: CostTable, limits: Mapping[str, float], seed: int
    ) -> None:
        self.plan, self.space, self.table, self.seed = plan, space, table, seed
        self.budget = Budget(len(space.operations), space.n_layers, table, limits)

    @property
    def kept(self) -> tuple[str, ...]:
        """Origins whose candidates are trained to the end, whatever the others do."""
        return ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Operations whose pure network would take part but is over budget."""
        return ()

    @abstractmethod
    def candidates(self, found: SearchResult | None) -> Iterable[Candidate]:
        """Return different networks to train.

        Args:
            found: What the search before has found, if there was one.
        """

    def flops(self, architecture: Architecture) -> float:
        """Return the FLOPs of one recommendation."""
        return self.table.of(architecture.layers)["flops"]

    def _fits(self, architecture: Architecture) -> bool:
        return self.budget.fits(indices_of(architecture, self.space))

    def _drawn(self, known: set[Architecture]) -> Iterator[Candidate]:
        """Yield random networks that are within the budget and not ``known``, until there are no more."""
        rng = random.Random(derive_seed(self.seed, "candidates/random"))
        known = set(known)
        while True:
            draws = (self._cut(self.budget.draw(rng)) for _ in range(_TRIES))
            network = next((network for network in draws if network not in known), None)
            if network is None:
                return
            known.add(network)
            yield Candidate(network, ("random",))

    def _cut(self, layers: tuple[int, ...]) -> Architecture:
        names = iter(self.space.path_names(layers))
        return Architecture(tuple(tuple(itertools.islice(names, n)) for n in self.space.layers_per_block))


class Proposed(Strategy):
    """``nasr`` and ``evolution``: what the search proposes, the pure networks of the space, and a few random ones."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The pure networks, so that none of them can validate better than what is taken."""
        return (HAND_MADE,) if self.plan.keep_hand_made else ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Operations whose pure network is over budget."""
        return tuple(name for name in self.space.operations if not self._fits(self.space.uniform(name)))

    def candidates(self, found: SearchResult | None) -> list[Candidate]:
        """Return the shortlist, then the pure networks, then random ones."""
        assert found is not None  # noqa: S101 - for the type checker
        plan = self.plan
        proposed = shortlist(
            found, self.space, self.budget, n_best=plan.verify, n_tied=plan.verify_ties, seed=self.seed
        )
        pure = [self.space.uniform(name) for name in self.space.operations if name not in self.left_out]
        listed = merged([*proposed, *(Candidate(network, (HAND_MADE,)) for network in pure)])
        drawn = self._drawn({candidate.architecture for candidate in listed})
        return [*listed, *itertools.islice(drawn, plan.verify_random)]


class Drawn(Strategy):
    """``random`` and ``halving``: networks drawn from the space, a fixed number or, given a time, as many as come."""

    def candidates(self, found: SearchResult | None) -> Iterable[Candidate]:  # noqa: ARG002 - as the others have it
        """Return random networks, drawn as they are asked for; ``found`` plays no part."""
        drawn = self._drawn(set())
        return drawn if self.plan.seconds is not None else itertools.islice(drawn, self.plan.networks)


STRATEGIES: dict[str, type[Strategy]] = {"nasr": Proposed, "evolution": Proposed, "random": Drawn, "halving": Drawn}
"""The class of each ``search_strategy``."""
