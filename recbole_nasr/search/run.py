"""The entry to every search."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from recbole_nasr.keeping import Keeper
from recbole_nasr.rng import derive_seed
from recbole_nasr.search.blockwise import BlockwiseSearch, OnBlock
from recbole_nasr.search.evolution import EvolutionSearch
from recbole_nasr.search.problem import SearchProblem
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.whole import WholeSearch


def search(problem: SearchProblem, on_block: OnBlock | None = None, keeper: Keeper | None = None) -> SearchResult:
    """Search the space of ``problem`` for an architecture; the global random state is left as it was.

    Args:
        problem: What to search.
        on_block: Called with each block's index and ranking as soon as it is known.
        keeper: Saves the state of the search, and has the one to go on from; the result is the same to the last bit.

    Raises:
        DataError: If there are too few sequences.
        ArchitectureError: If an operation does not fit the settings.
        NumericalError: If a loss or score is not finite.
    """
    kind: type[BlockwiseSearch | WholeSearch | EvolutionSearch] = BlockwiseSearch
    if problem.settings.scope == "whole":
        kind = EvolutionSearch if problem.settings.choice == "evolution" else WholeSearch
    with own_randomness(problem.seed), problem.acceleration.products():
        return kind(problem, keeper).run(on_block)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Draw weights and dropout from the search's own stream, and leave the global random state as it was."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(derive_seed(seed, "search/weights"))  # also of the dropout that follows
        yield
