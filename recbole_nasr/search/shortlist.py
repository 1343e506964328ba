"""From the rankings of blocks to a few whole networks worth training."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from recbole_nasr.rng import derive_seed
from recbole_nasr.search.best_networks import best_networks
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.space.strata import function_of

CHOSEN, KEPT_OPEN, NEXT, TIED = "search", "beam", "next by score", "tied"
"""Origins of networks: what the search takes, what its beam kept open, what is next by score, and the rest of a tie."""

TRIES = 1000
"""Draws in a row that bring nothing new, after which there is taken to be nothing more."""


@dataclass(frozen=True)
class Candidate:
    """A network to train.

    Args:
        architecture: The network.
        origins: Where it comes from; a network may come from several places.
    """

    architecture: Architecture
    origins: tuple[str, ...]


def merged(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return every network of ``candidates`` once, in order of appearance, with all its origins.

    Of networks that compute the same, the first is kept.
    """
    found: dict[tuple[str, ...], Candidate] = {}
    for candidate in candidates:
        first = found.setdefault(function_of(candidate.architecture), candidate)
        origins = tuple(dict.fromkeys((*first.origins, *candidate.origins)))
        found[function_of(candidate.architecture)] = replace(first, origins=origins)
    return list(found.values())


def whole_networks(
    blocks: Sequence[BlockRanking], space: SearchSpace, budget: Budget
) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield whole networks within the budget, best first: the excess of their score, a path's index in every ranking.

    Each block was ranked with the others as chosen, or behind those before it. So what two changes do together is
    taken to be the sum of what each does, as it is where scores add up over blocks.
    """
    paths = [[space.path_of(path) for path in block.paths] for block in blocks]
    return best_networks(paths, [block.scores - block.scores[block.selected] for block in blocks], budget)


def network_of(blocks: Sequence[BlockRanking], indices: Sequence[int], space: SearchSpace) -> Architecture:
    """Return the network that has the path with each of ``indices`` in its block, cut into the blocks of ``space``."""
    return space.cut([name for block, index in zip(blocks, indices, strict=True) for name in block.paths[index]])


def shortlist(
    found: SearchResult, space: SearchSpace, budget: Budget, *, n_best: int, n_tied: int, seed: int
) -> list[Candidate]:
    """Return what a search proposes, its own choice first, no two that compute the same; fewer if there are no more.

    Args:
        found: The result of the search.
        space: What was searched.
        budget: What a network may cost.
        n_best: The choice, what a beam kept open, and then the networks next by score, so many in all.
        n_tied: More of those whose every path is tied with the best: the one with the fewest FLOPs (then first in
            lexicographic order), then random ones, because the best by score differ in a layer or two and tell little
            of the rest of the tie.
        seed: Of the random draws.
    """
    kept = (Candidate(other, (KEPT_OPEN,)) for other in found.kept)
    best = merged([Candidate(found.architecture, (CHOSEN,)), *kept])[:n_best]
    known = {function_of(candidate.architecture) for candidate in best}

    def new(indices: Sequence[int]) -> Architecture | None:
        network = network_of(found.blocks, indices, space)
        if function_of(network) in known or not budget.fits(space.path_of(network.layers)):
            return None
        known.add(function_of(network))
        return network

    ranked = (new(indices) for _, indices in whole_networks(found.blocks, space, budget))
    following = islice((network for network in ranked if network is not None), n_best - len(best))
    best += [Candidate(network, (NEXT,)) for network in following]
    tied = islice(while_found(new(indices) for indices in _tied(found, seed)), n_tied)
    return [*best, *(Candidate(network, (TIED,)) for network in tied)]


def while_found(draws: Iterator[Architecture | None]) -> Iterator[Architecture]:
    """Yield the networks of ``draws``, which has None where one brings nothing new, until :data:`TRIES` in a row do."""
    while (network := next((one for one in islice(draws, TRIES) if one is not None), None)) is not None:
        yield network


def _tied(found: SearchResult, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield networks whose every path is tied, without end: the one with the fewest FLOPs, then random ones."""
    blocks = found.blocks
    yield tuple(min(block.ties, key=lambda index: (block.flops[index], block.paths[index])) for block in blocks)
    rng = random.Random(derive_seed(seed, "search/ties"))
    while True:
        yield tuple(rng.choice(block.ties) for block in blocks)
