"""Which paths a training step runs: drawn independently, or so that every operation gets its turn."""

from __future__ import annotations

import math
import random
from typing import Any

from recbole_nasr.space import Path, SearchSpace


def most_places(n_ops: int, n_paths: int, sampling: str) -> int:
    """Return how many of the ``n_paths`` paths of a step may use one and the same of ``n_ops`` operations in a layer.

    With ``fair`` sampling that is how many decks a step may take cards from, see :class:`PathSampler`.
    """
    if sampling != "fair":
        return n_paths
    fewest = math.gcd(n_paths, n_ops)  # cards that may be left of the first deck
    return 1 + math.ceil((n_paths - fewest) / n_ops)


class PathSampler:
    """Draws the paths of one block, step after step.

    ``uniform`` draws every layer of every path independently (paper §4.1.2): in a step of 4 paths over 4 operations a
    given one is left out with probability .32. ``fair`` deals every layer's operations like cards, shuffled anew when
    all have been dealt: any run of as many paths as there are operations, counted from the first, uses each operation
    of each layer once, so that no operation is ranked behind another for having been trained less (strict fairness of
    FairNAS, Chu et al. 2021; BossNAS, Li et al. 2021, samples so too). The layers are shuffled independently.

    Args:
        space: Where paths come from.
        block: Index of the block.
        sampling: ``uniform`` or ``fair``.
        rng: Source of randomness.
    """

    def __init__(self, space: SearchSpace, block: int, sampling: str, rng: random.Random) -> None:
        self.space, self.block, self.fair, self.rng = space, block, sampling == "fair", rng
        self._decks: list[list[int]] = [[] for _ in range(space.layers_per_block[block])]

    def draw(self, n: int) -> list[Path]:
        """Return the next ``n`` paths."""
        if not self.fair:
            return self.space.sample_paths(self.block, n, self.rng)
        return [tuple(self._deal(deck) for deck in self._decks) for _ in range(n)]

    def _deal(self, deck: list[int]) -> int:
        if not deck:
            deck.extend(range(len(self.space.operations)))
            self.rng.shuffle(deck)
        return deck.pop()

    def state(self) -> dict[str, Any]:
        """Return what decides the next draws, as plain values."""
        return {"rng": self.rng.getstate(), "decks": self._decks}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from :meth:`state`."""
        self.rng.setstate(state["rng"])
        self._decks = state["decks"]
