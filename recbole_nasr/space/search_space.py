"""The table-like search space: layers x operations, cut into blocks (paper §3.1, Fig. 3)."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops.registry import operation_class
from recbole_nasr.space.architecture import MAX_LAYERS, Architecture

Path = tuple[int, ...]
"""One operation index per layer of a block."""

_SMALL = 10**6  # networks, of which people like to read the number itself


@dataclass(frozen=True)
class SearchSpace:
    """The same candidate operations at every layer, and the number of layers of each block.

    Args:
        operations: Distinct operation names; their order gives the indices in a path.
        layers_per_block: Layers of each block, all at least 1. Blocks may differ in length.

    Raises:
        ArchitectureError: If there is no operation, one is repeated or unknown, or a block is empty.

    Example:
        >>> space = SearchSpace(("transformer_h4", "tcn_d1_2"), (2, 1))
        >>> space.n_layers, space.n_paths(0), space.n_architectures
        (3, 4, 8)
    """

    operations: tuple[str, ...]
    layers_per_block: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        object.__setattr__(self, "layers_per_block", tuple(self.layers_per_block))
        if not self.operations:
            msg = "A search space needs at least one candidate operation."
            raise ArchitectureError(msg)
        if len(set(self.operations)) != len(self.operations):
            msg = f"Candidate operations must differ, but got {', '.join(self.operations)}."
            raise ArchitectureError(msg)
        for name in self.operations:
            operation_class(name)
        if not self.layers_per_block or min(self.layers_per_block) < 1:
            msg = f"Every block needs at least one layer, but `layers_per_block` is {list(self.layers_per_block)}."
            raise ArchitectureError(msg)

    @classmethod
    def build(
        cls,
        operations: Sequence[str],
        n_layers: int,
        n_blocks: int,
        layers_per_block: Sequence[int] | None = None,
    ) -> SearchSpace:
        """Cut ``n_layers`` into ``n_blocks``, as evenly as they go, longer blocks first; or as listed.

        Raises:
            ArchitectureError: If there are more than 1,024 layers or more blocks than layers, or the listed blocks do
                not add up.
        """
        if n_layers > MAX_LAYERS:
            msg = f"A search space may have at most {MAX_LAYERS} layers, but `n_layers` is {n_layers}."
            raise ArchitectureError(msg)
        if layers_per_block is not None:
            if sum(layers_per_block) != n_layers:
                msg = (
                    f"`layers_per_block` must add up to `n_layers`, but {list(layers_per_block)} adds up to "
                    f"{sum(layers_per_block)} and n_layers is {n_layers}; change one of the two."
                )
                raise ArchitectureError(msg)
            return cls(tuple(operations), tuple(layers_per_block))
        if not 1 <= n_blocks <= n_layers:
            msg = f"`n_blocks` must lie in 1..n_layers, but is {n_blocks} at n_layers={n_layers}; set the two together."
            if n_layers < 1:
                msg = f"`n_layers` must be at least 1, but is {n_layers}; a network has at least one layer."
            raise ArchitectureError(msg)
        short, longer = divmod(n_layers, n_blocks)
        return cls(tuple(operations), tuple(short + (block < longer) for block in range(n_blocks)))

    @property
    def n_layers(self) -> int:
        """Layers of the whole network."""
        return sum(self.layers_per_block)

    @property
    def n_blocks(self) -> int:
        """Blocks of the whole network."""
        return len(self.layers_per_block)

    @property
    def n_architectures(self) -> int:
        """Size of the space."""
        return len(self.operations) ** self.n_layers

    def n_paths(self, block: int) -> int:
        """Paths through ``block``."""
        return len(self.operations) ** self.layers_per_block[block]

    def paths(self, block: int) -> Iterator[Path]:
        """All paths of ``block``, in lexicographic order."""
        return itertools.product(range(len(self.operations)), repeat=self.layers_per_block[block])

    def sample_paths(self, block: int, n: int, rng: random.Random) -> list[Path]:
        """Draw ``n`` paths independently and uniformly, with replacement (paper §4.1.2)."""
        layers = range(self.layers_per_block[block])
        return [tuple(rng.randrange(len(self.operations)) for _ in layers) for _ in range(n)]

    def candidate_paths(self, block: int, limit: int, rng: random.Random) -> list[Path]:
        """All paths of ``block``, or ``limit`` different ones drawn uniformly when there are more; sorted."""
        total = self.n_paths(block)
        if total <= limit:
            return list(self.paths(block))
        chosen: set[int] = set()
        while len(chosen) < limit:
            chosen.add(rng.randrange(total))
        return [self._path_at(block, index) for index in sorted(chosen)]

    def _path_at(self, block: int, index: int) -> Path:
        base, path = len(self.operations), []
        for _ in range(self.layers_per_block[block]):
            index, op = divmod(index, base)
            path.append(op)
        return tuple(reversed(path))

    def in_one_block(self) -> SearchSpace:
        """Return the same space with all layers in a single block, so that a path is a whole network."""
        return SearchSpace(self.operations, (self.n_layers,))

    def path_of(self, names: Sequence[str]) -> Path:
        """Return the numbers of operations that are given by name.

        Raises:
            ValueError: If one is not in the space.
        """
        return tuple(map(self.operations.index, names))

    def path_names(self, path: Path) -> tuple[str, ...]:
        """Return the operation names of ``path``."""
        return tuple(self.operations[op] for op in path)

    def architecture(self, paths: Sequence[Path]) -> Architecture:
        """Return the architecture made of one path per block.

        Raises:
            ArchitectureError: If the paths do not fit the blocks.
        """
        if tuple(len(path) for path in paths) != self.layers_per_block:
            msg = f"Paths of lengths {[len(path) for path in paths]} do not fit blocks {list(self.layers_per_block)}."
            raise ArchitectureError(msg)
        return Architecture(tuple(self.path_names(path) for path in paths))

    def uniform(self, operation: str) -> Architecture:
        """Return the architecture that has ``operation`` in every layer, whether the space lists it or not."""
        return Architecture(tuple((operation,) * n for n in self.layers_per_block))

    def cut(self, layers: Sequence[str]) -> Architecture:
        """Return an architecture of ``layers``, first to last, cut into this space's blocks."""
        left = iter(layers)
        return Architecture(tuple(tuple(itertools.islice(left, size)) for size in self.layers_per_block))

    def network(self, path: Path) -> Architecture:
        """Return the network with the operations of ``path``, which has all layers, cut into this space's blocks."""
        return self.cut(self.path_names(path))

    def random_architecture(self, rng: random.Random) -> Architecture:
        """Draw every layer independently and uniformly."""
        return self.architecture([self.sample_paths(block, 1, rng)[0] for block in range(self.n_blocks)])

    def size_text(self) -> str:
        """Return the size of the space for people, such as ``4^16 (10^9.6)``, or ``4^4 = 256`` where it is small."""
        power = f"{len(self.operations)}^{self.n_layers}"
        if self.n_architectures < _SMALL:
            return f"{power} = {self.n_architectures:,}"
        return f"{power} (10^{self.n_layers * math.log10(len(self.operations)):.1f})"
