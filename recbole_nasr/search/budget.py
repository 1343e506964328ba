"""Limits on what a network may cost, kept while it is still being chosen."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from recbole_nasr.errors import ConfigError
from recbole_nasr.search.costs import COSTS, Costs, CostTable
from recbole_nasr.space import Path

_ROUNDING = 1 + 1e-9


class Budget:
    """Says of layers whether a network that has them can stay within all limits.

    Costs of layers add up whatever their order, so the cheapest ways to fill the layers that are still open are a few
    vectors: those that no other way undercuts in every cost.

    Args:
        n_operations: Operations of the space.
        n_layers: Layers of a network.
        table: What they cost; may be left out where nothing is limited.
        limits: The largest value of each limited cost, by its name in :data:`~recbole_nasr.search.costs.COSTS`.

    Raises:
        ConfigError: If no network of the space is within the limits; names the least each could be.
    """

    def __init__(
        self,
        n_operations: int,
        n_layers: int,
        table: CostTable | None = None,
        limits: Mapping[str, float] | None = None,
    ) -> None:
        self.n_operations, self.n_layers = n_operations, n_layers
        self.limits = dict(limits or {})
        used = [COSTS.index(name) for name in self.limits]
        self._cost: Costs = table.per_layer[:, used] if table is not None else np.zeros((n_operations, 0))
        self._open: Costs = np.array([self.limits[COSTS[column]] for column in used])
        if table is not None:
            self._open = self._open * _ROUNDING - table.fixed[used]
            self._check_each(table, used)
        self._cheapest = [np.zeros((1, len(used)))]
        for _ in range(n_layers):
            longer = self._cheapest[-1][:, None] + self._cost[None]
            self._cheapest.append(_undominated(np.concatenate(list(longer))))
        if not self.can_end(np.zeros(len(used)), n_layers):
            named = ", ".join(f"`max_{name}`={limit:.12g}" for name, limit in self.limits.items())
            msg = f"No network of the search space is within {named} together, though some are within each; raise one."
            raise ConfigError(msg)

    @property
    def limited(self) -> bool:
        """Whether there is any limit."""
        return bool(self.limits)

    def fits(self, layers: Path) -> bool:
        """Return whether a network that has ``layers``, and others besides if they are not all, can be within it."""
        return bool(self.can_end(self.costs_of([layers])[0], self.n_layers - len(layers)))

    def costs_of(self, paths: Sequence[Path]) -> Costs:
        """Return the limited costs of the layers of each path, ``(paths, limited)``; all of one length."""
        costs: Costs = self._cost[np.array(paths, dtype=np.int64)].sum(axis=1)
        return costs

    def can_end(self, spent: Costs, n_left: int) -> npt.NDArray[np.bool_]:
        """Return whether ``n_left`` more layers can be afforded, for each of ``spent (..., limited)``."""
        ended = spent[..., None, :] + self._cheapest[n_left] <= self._open
        return np.asarray(ended.all(axis=-1).any(axis=-1))

    def with_way_on(self, paths: list[Path], before: Path) -> list[Path]:
        """Return the sorted ``paths`` of a block, with one more if none of them fits behind the layers ``before``.

        A sample of the paths may hold none; ``before`` itself must fit.
        """
        if any(self.fits((*before, *path)) for path in paths):
            return paths
        way = before
        for _ in paths[0]:
            way = next((*way, op) for op in range(self.n_operations) if self.fits((*way, op)))
        return sorted([*paths, way[len(before) :]])

    def draw(self, rng: random.Random) -> Path:
        """Draw a network: every layer, in random order, uniformly among the operations that leave a way to the end.

        Without limits all networks are equally likely.
        """
        drawn = [0] * self.n_layers
        spent = np.zeros(self._cost.shape[1])
        for number, layer in enumerate(rng.sample(range(self.n_layers), self.n_layers), start=1):
            n_left = self.n_layers - number
            options = np.flatnonzero(self.can_end(spent + self._cost, n_left)).tolist()
            drawn[layer] = rng.choice(options)
            spent = spent + self._cost[drawn[layer]]
        return tuple(drawn)

    def _check_each(self, table: CostTable, used: list[int]) -> None:
        for place, column in enumerate(used):
            row = int(self._cost[:, place].argmin())
            least = table.fixed[column] + self.n_layers * self._cost[row, place]
            name = COSTS[column]
            if least > self.limits[name] * _ROUNDING:
                where = f", measured on {table.device}" if name == "latency_ms" else ""
                msg = (
                    f"`max_{name}` must be at least {_shown(name, least)}, the cheapest network of the search space "
                    f"({table.operations[row]} in all {self.n_layers} layers{where}), but is {self.limits[name]:.12g}; "
                    "raise it, or search fewer layers or cheaper operations."
                )
                raise ConfigError(msg)


def _shown(name: str, value: float) -> str:
    """Return the least value of a limit, rounded so that it can be met."""
    return f"{math.ceil(1000 * value / _ROUNDING) / 1000:.3f}" if name == "latency_ms" else f"{value:.0f}"


def _undominated(vectors: Costs) -> Costs:
    """Return the distinct ``vectors (M, C)`` that no other undercuts or equals in every column."""
    if not vectors.shape[1]:
        return vectors[:1]
    left, kept = np.unique(vectors, axis=0), []  # sorted, so that nothing later can undercut
    while len(left):
        kept.append(left[0])
        left = left[(left < left[0]).any(axis=1)]
    return np.array(kept)
