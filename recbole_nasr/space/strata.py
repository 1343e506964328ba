"""A sample of a search space that holds its extremes as well as random networks, for asking which rule ranks networks.

A uniform draw of deep networks hardly ever holds a pure one: they would all be alike in the one respect that is known
to matter, how much of each family they have.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops.registry import family_of
from recbole_nasr.rng import derive_seed
from recbole_nasr.space.architecture import Architecture
from recbole_nasr.space.search_space import SearchSpace

EMPTY = "skip"
"""The layer that does nothing: networks that differ in where it stands alone are one."""

RANDOM = "random"
"""Stratum of networks whose layers are drawn independently and uniformly."""


MOST_DRAWS = 100_000
"""Draws in a row that bring nothing new, after which the networks that are left are too rare to be found."""


@dataclass(frozen=True)
class Sampled:
    """One network of a sample.

    Args:
        stratum: ``pure``, ``alternating``, ``<family> first`` or ``random``.
        number: Its place within the stratum, from 1.
        architecture: The network.
    """

    stratum: str
    number: int
    architecture: Architecture

    @property
    def name(self) -> str:
        """Name within the sample, such as ``random 3``."""
        return f"{self.stratum} {self.number}"


def function_of(architecture: Architecture) -> tuple[str, ...]:
    """Return what is alike for networks that compute the same: their layers without the empty ones."""
    return _full(architecture.layers)


def empty_last(layers: Sequence[str]) -> tuple[str, ...]:
    """Return the operations of ``layers`` with the empty ones behind all others: one form of all that compute the same.

    Example:
        >>> empty_last(["skip", "gru", "skip", "ffn"])
        ('gru', 'ffn', 'skip', 'skip')
    """
    full = _full(layers)
    return (*full, *(EMPTY,) * (len(layers) - len(full)))


def _full(layers: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in layers if name != EMPTY)


def stratified_sample(space: SearchSpace, n: int, seed: int = 0) -> list[Sampled]:
    """Return ``n`` networks of different functions, every other one made on purpose, the rest random.

    Made on purpose are the pure networks (one operation in every layer), those that alternate between operations of two
    families, and those with one family in the first half and another in the second; they take turns, until there are no
    more of them. The order is such that the beginning of the list is a sample of the same kind, and a longer list goes
    on where a shorter one ends. It depends on the space and the seed alone.

    Args:
        space: Where the networks come from.
        n: How many, at least 1.
        seed: Of the random ones.

    Raises:
        ArchitectureError: If the space has fewer than ``n`` of them, or those that are left are hardly ever drawn.
    """
    n_different = _n_different(space)
    if not 1 <= n <= n_different:
        msg = f"A sample has between 1 and the {n_different} different networks of the space, but {n} were asked for."
        raise ArchitectureError(msg)
    rng = random.Random(derive_seed(seed, "architectures/stratified"))
    made = _made_on_purpose(space)
    counts: dict[str, int] = {}
    found: dict[tuple[str, ...], Sampled] = {}
    last = 0  # that brought something new
    for number in itertools.count():
        drawn = (RANDOM, space.random_architecture(rng))
        stratum, architecture = next(made, drawn) if number % 2 == 0 else drawn
        function = function_of(architecture)
        if function in found:
            _check_found(len(found), n, in_vain=number - last)
            continue
        last = number
        counts[stratum] = counts.get(stratum, 0) + 1
        found[function] = Sampled(stratum, counts[stratum], architecture)
        if len(found) == n:
            break
    return list(found.values())


def _check_found(n_found: int, n: int, *, in_vain: int) -> None:
    if in_vain > MOST_DRAWS:
        msg = (
            f"A sample of {n} different networks is too large: {MOST_DRAWS:,} draws in a row brought none beside the "
            f"{n_found} found, since those that are left are nearly all `{EMPTY}`; ask for fewer."
        )
        raise ArchitectureError(msg)


def _n_different(space: SearchSpace) -> int:
    if EMPTY not in space.operations:
        return space.n_architectures
    return sum((len(space.operations) - 1) ** depth for depth in range(space.n_layers + 1))


def _made_on_purpose(space: SearchSpace) -> Iterator[tuple[str, Architecture]]:
    """Yield pure, alternating and half-and-half networks in turns."""
    families: dict[str, list[str]] = {}
    for operation in space.operations:
        families.setdefault(family_of(operation), []).append(operation)
    by_rank = [name for names in itertools.zip_longest(*families.values()) for name in names if name is not None]
    pairs = list(_pairs(families))
    half = (space.n_layers + 1) // 2
    strata = (
        [("pure", space.uniform(name)) for name in by_rank],
        [("alternating", space.cut([pair[layer % 2] for layer in range(space.n_layers)])) for pair in pairs],
        [
            (f"{family_of(first)} first", space.cut([first] * half + [second] * (space.n_layers - half)))
            for first, second in pairs
        ],
    )
    for turn in itertools.zip_longest(*strata):
        yield from (entry for entry in turn if entry is not None)


def _pairs(families: dict[str, list[str]]) -> Iterator[tuple[str, str]]:
    """Yield pairs of operations of two families in both orders: all first members, then all second ones.

    Neighbours come first, so that the first few pairs hold many families.
    """
    most = max(len(names) for names in families.values())
    for rank in range(most):
        members = [names[rank] for names in families.values() if rank < len(names)]
        for distance in range(1, len(members)):
            for first, second in zip(members, members[distance:], strict=False):
                yield first, second
                yield second, first
