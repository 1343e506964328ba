"""The candidates that each search strategy trains: one small class for each way to find them."""

from __future__ import annotations

import itertools
import logging
import math
import random
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

from recbole_nasr.distributed import from_first
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.predictor import Values, best_predicted, layer_values
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.shortlist import Candidate, merged, shortlist, while_found
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.space.strata import empty_last, function_of
from recbole_nasr.trainer.candidates import Trained

_LOG = logging.getLogger("recbole_nasr")

PURE = "pure"
"""Origin of networks with one operation in every layer, which need no search."""

RANDOM, PREDICTED = "random", "predicted"
"""Origins of networks that were drawn, and of those that trained ones spoke for."""


class Strategy(ABC):
    """Says which networks are trained before one is taken.

    Args:
        plan: How many.
        space: Where they come from.
        table: What they cost.
        limits: The largest value of each limited cost.
        seed: Of random draws.
        bigger: Whether more of what networks are compared by is better.

    Raises:
        ConfigError: If no network of the space is within the limits.
    """

    def __init__(
        self,
        plan: StrategySettings,
        space: SearchSpace,
        table: CostTable,
        limits: Mapping[str, float],
        seed: int,
        *,
        bigger: bool = True,
    ) -> None:
        self.plan, self.space, self.table, self.seed, self.bigger = plan, space, table, seed, bigger
        self.budget = Budget(len(space.operations), space.n_layers, table, limits)

    @property
    def kept(self) -> tuple[str, ...]:
        """Origins whose candidates are trained to the end, whatever the others do."""
        return ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Operations whose pure network would take part but is over budget."""
        return ()

    @property
    def expected(self) -> int | None:
        """How many networks will be trained, where they are not listed beforehand but their number is known."""
        return None

    @abstractmethod
    def candidates(self, found: SearchResult | None, trained: Sequence[Trained]) -> Iterable[Candidate]:
        """Return different networks to train.

        Args:
            found: What the search before has found, if there was one.
            trained: What became of those networks so far, in order; it grows while they are asked for.
        """

    def flops(self, architecture: Architecture) -> float:
        """Return the FLOPs of one recommendation."""
        return self.table.of(architecture.layers)["flops"]

    def _fits(self, architecture: Architecture) -> bool:
        return self.budget.fits(self.space.path_of(architecture.layers))

    def _drawn(self, known: Iterable[Candidate] = ()) -> Iterator[Candidate]:
        """Yield random networks within the budget that compute what no ``known`` one does, until there are none."""
        rng = random.Random(derive_seed(self.seed, "candidates/random"))
        functions = {function_of(candidate.architecture) for candidate in known}
        draws = (self.space.network(self.budget.draw(rng)) for _ in itertools.count())
        for network in while_found(None if function_of(one) in functions else one for one in draws):
            functions.add(function_of(network))
            yield Candidate(network, (RANDOM,))


class BesidePure(Strategy):
    """A strategy that trains the pure networks of the space, too, so that none of them can validate better."""

    @property
    def kept(self) -> tuple[str, ...]:
        """The pure networks, unless they may be stopped."""
        return (PURE,) if self.plan.keep_pure else ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Operations whose pure network is over budget."""
        return tuple(name for name in self.space.operations if not self._fits(self.space.uniform(name)))

    def _pure(self) -> list[Candidate]:
        left_out = self.left_out
        pure = [self.space.uniform(name) for name in self.space.operations if name not in left_out]
        # The dearest first: what trainings will take is measured on the first, and better over- than understated.
        pure.sort(key=self.flops, reverse=True)
        return [Candidate(network, (PURE,)) for network in pure]


class Proposed(BesidePure):
    """``nasr`` and ``evolution``: what the search proposes, the pure networks of the space, and a few random ones."""

    def candidates(self, found: SearchResult | None, trained: Sequence[Trained]) -> list[Candidate]:  # noqa: ARG002 - as the others have it
        """Return the shortlist, then the pure networks, then random ones."""
        assert found is not None  # noqa: S101 - for the type checker
        plan = self.plan
        proposed = shortlist(
            found, self.space, self.budget, n_best=plan.verify, n_tied=plan.verify_ties, seed=self.seed
        )
        listed = merged([*proposed, *self._pure()])
        return [*listed, *itertools.islice(self._drawn(listed), plan.verify_random)]


class Drawn(Strategy):
    """``random`` and ``halving``: networks drawn from the space, a fixed number or, given a time, as many as come."""

    def candidates(self, found: SearchResult | None, trained: Sequence[Trained]) -> Iterable[Candidate]:  # noqa: ARG002 - as the others have it
        """Return random networks; ``found`` and ``trained`` play no part."""
        drawn = self._drawn()
        return drawn if self.plan.seconds is not None else list(itertools.islice(drawn, self.plan.networks))


class Predicted(BesidePure):
    """``predictor``: the pure networks, a few random ones, then each time the one that those trained predict best."""

    @property
    def expected(self) -> int | None:
        """All of them, unless time decides."""
        return None if self.plan.seconds is not None else min(self.plan.networks, self.space.n_architectures)

    def candidates(self, found: SearchResult | None, trained: Sequence[Trained]) -> Iterator[Candidate]:  # noqa: ARG002 - as the others have it
        """Yield each network when those before it have been trained.

        Raises:
            ConfigError: If as many are trained before the first prediction as there may be.
        """
        n_pure = len(self._pure())
        self.plan.check_predictions(n_pure)
        _LOG.info(
            "candidates: %d pure, %d random, the others predicted by those before",
            n_pure,
            self.plan.verify_random,
        )
        return itertools.islice(self._one_by_one(trained), self.expected)

    def _one_by_one(self, trained: Sequence[Trained]) -> Iterator[Candidate]:
        known = self._pure()
        known += itertools.islice(self._drawn(known), self.plan.verify_random)
        yield from known
        while (following := self._following(known, trained)) is not None:
            known.append(following)
            yield following

    def _following(self, known: Sequence[Candidate], trained: Sequence[Trained]) -> Candidate | None:
        """Return the next candidate after ``known``, which before an interruption may have been trained."""
        n = len(known)
        return trained[n].candidate if n < len(trained) else self._next(known, trained)

    def _next(self, known: Sequence[Candidate], trained: Sequence[Trained]) -> Candidate | None:
        """Return the network with the best prediction that computes something new; a random one where none is found."""
        usable = [one for one in trained if not math.isnan(one.score)]
        functions = {function_of(candidate.architecture) for candidate in known}
        if usable:
            networks = [self.space.path_of(empty_last(one.candidate.architecture.layers)) for one in usable]
            scores = [one.score if self.bigger else -one.score for one in usable]
            # Processes that share a training take the first's values: a last digit may turn an order round.
            values = from_first(layer_values(networks, scores, self.space.operations))
            new = (network for network in self._ordered(values) if function_of(network) not in functions)
            if (network := next(new, None)) is not None:
                return Candidate(network, (PREDICTED,))
        return next(self._drawn(known), None)

    def _ordered(self, values: Values) -> Iterator[Architecture]:
        """Yield networks within the budget, the best prediction first."""
        return map(self.space.network, best_predicted(values, self.space.operations, self.budget))


STRATEGIES: dict[str, type[Strategy]] = {
    "nasr": Proposed,
    "evolution": Proposed,
    "random": Drawn,
    "halving": Drawn,
    "predictor": Predicted,
}
"""The class of each ``search_strategy``."""
