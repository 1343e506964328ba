"""From the rankings of blocks to a few whole networks worth training."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from recbole_nasr.rng import derive_seed
from recbole_nasr.search.best_first import best_first
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.space import Architecture, Path, SearchSpace

_TRIES = 1000  # draws from a tie before what was found is taken


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
    """Return every network of ``candidates`` once, in order of appearance, with all its origins."""
    origins: dict[Architecture, dict[str, None]] = {}
    for candidate in candidates:
        origins.setdefault(candidate.architecture, {}).update(dict.fromkeys(candidate.origins))
    return [Candidate(architecture, tuple(found)) for architecture, found in origins.items()]


def whole_networks(blocks: Sequence[BlockRanking]) -> Iterator[tuple[float, tuple[int, ...]]]:
    """Yield whole networks, best first, as the excess of their score and the index of a path in every ranking.

    Each block was ranked with the others as chosen, or behind those before it. So what two changes do together is
    taken to be the sum of what each does, as it is where scores add up over blocks.
    """
    return best_first([(block.scores - block.scores[block.selected]).tolist() for block in blocks])


def network_of(blocks: Sequence[BlockRanking], indices: Sequence[int], space: SearchSpace) -> Architecture:
    """Return the network that has the path with each of ``indices`` in its block, cut into the blocks of ``space``."""
    names = iter(name for block, index in zip(blocks, indices, strict=True) for name in block.paths[index])
    return Architecture(tuple(tuple(islice(names, n)) for n in space.layers_per_block))


def shortlist(
    found: SearchResult, space: SearchSpace, budget: Budget, *, n_best: int, n_tied: int, seed: int
) -> list[Candidate]:
    """Return what a search proposes, its own choice first; fewer where the space has no more.

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
    best = [Candidate(found.architecture, ("search",)), *(Candidate(other, ("beam",)) for other in found.kept)]
    best = best[:n_best]
    known = {candidate.architecture for candidate in best}

    def new(indices: Sequence[int]) -> Architecture | None:
        network = network_of(found.blocks, indices, space)
        if network in known or not budget.fits(indices_of(network, space)):
            return None
        known.add(network)
        return network

    ranked = (new(indices) for _, indices in whole_networks(found.blocks)) if len(best) < n_best else iter(())
    following = islice((network for network in ranked if network is not None), n_best - len(best))
    best += [Candidate(network, ("next by score",)) for network in following]
    tied = islice((network for indices in _tied(found, seed) if (network := new(indices)) is not None), n_tied)
    return [*best, *(Candidate(network, ("tied",)) for network in tied)]


def indices_of(architecture: Architecture, space: SearchSpace) -> Path:
    """Return the operation of every layer by its number in ``space``."""
    return tuple(space.operations.index(name) for name in architecture.layers)


def _tied(found: SearchResult, seed: int) -> Iterator[tuple[int, ...]]:
    """Yield networks whose every path is tied: the one with the fewest FLOPs, then random ones."""
    blocks = found.blocks
    yield tuple(min(block.ties, key=lambda index: (block.flops[index], block.paths[index])) for block in blocks)
    rng = random.Random(derive_seed(seed, "search/ties"))
    for _ in range(_TRIES):
        yield tuple(rng.choice(block.ties) for block in blocks)
