"""Run many paths in few calls: at each layer an operation meets all beginnings that lead to it at once.

Paths that begin alike share their beginning, as in :func:`~recbole_nasr.search.ranking.run_paths`; what is new is that
beginnings are stacked along the batch. A layer then costs one call per operation, whatever the operation is: 256 paths
over four layers take 16 calls of modules instead of 340. That is for a GPU, where a call costs more than what it
computes; on a CPU the stack falls out of the caches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from recbole_nasr.nets.memory import memory_share
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.space import Path

MOST_ROWS = 65_535
"""Rows of a stack: the fused attention kernels of torch count rows in a dimension of the grid that ends there."""


class PathGroup(NamedTuple):
    """The paths whose outputs come together.

    Args:
        numbers: Which paths they are.
        on_device: The same on the device.
    """

    numbers: tuple[int, ...]
    on_device: Tensor


@dataclass(frozen=True)
class _Stage:
    """The calls of one layer, and what follows them.

    Args:
        calls: Operations, each with the states it is run on; None for all of them in order.
        then: Stages of the next layer, each on the states made here.
        paths: After the last layer, which path each state is.
    """

    calls: tuple[tuple[int, Tensor | None], ...]
    then: tuple[_Stage, ...]
    paths: PathGroup | None


class StackedPaths:
    """The plan of how to run ``paths``; the same for every batch of sequences.

    Args:
        paths: Sorted and distinct, of equal length, at least 1.
        at_a_time: States ``(B, L, D)`` held per layer at most, at least 1; memory grows with it, results do not change
            but by rounding.
        device: Where to compute.
    """

    def __init__(self, paths: Sequence[Path], at_a_time: int, device: torch.device) -> None:
        self._paths, self._at_a_time, self._device = paths, at_a_time, device
        self._first = self._stages([range(len(paths))], 0)

    def _stages(self, states: Sequence[Sequence[int]], depth: int) -> tuple[_Stage, ...]:
        """Plan the layer ``depth`` on ``states``, each given by the paths that begin with it."""
        if depth == len(self._paths[0]):
            return ()
        steps = [
            (op, state, list(members))
            for state, begun in enumerate(states)
            for op, members in groupby(begun, key=lambda index: self._paths[index][depth])
        ]
        parts = (steps[start : start + self._at_a_time] for start in range(0, len(steps), self._at_a_time))
        return tuple(self._stage(sorted(part), len(states), depth) for part in parts)

    def _stage(self, steps: Sequence[tuple[int, int, list[int]]], n_states: int, depth: int) -> _Stage:
        calls = []
        for op, group in groupby(steps, key=lambda step: step[0]):
            chosen = [state for _, state, _ in group]
            everything = chosen == list(range(n_states))
            calls.append((op, None if everything else torch.tensor(chosen, device=self._device)))
        made = [members for _, _, members in steps]
        then = self._stages(made, depth + 1)
        if then:
            return _Stage(tuple(calls), then, None)
        numbers = tuple(members[0] for members in made)
        return _Stage(tuple(calls), then, PathGroup(numbers, torch.tensor(numbers, device=self._device)))

    def run(self, block: SupernetBlock, hidden: Tensor) -> Iterator[tuple[PathGroup, Tensor]]:
        """Yield ``(S paths, their outputs (S, B, L, D))`` until every path has come.

        Args:
            block: In the mode the caller wants.
            hidden: ``(B, L, D)``, what enters the block.
        """
        return self._run(block, self._first, hidden.unsqueeze(0), 0)

    def _run(
        self, block: SupernetBlock, stages: tuple[_Stage, ...], states: Tensor, depth: int
    ) -> Iterator[tuple[PathGroup, Tensor]]:
        layer = block.layers[depth]
        for stage in stages:
            outputs = []
            for op, chosen in stage.calls:
                rows = states if chosen is None else states[chosen]
                outputs.append(layer(rows.flatten(0, 1), op))
            made = torch.cat(outputs).view(-1, *states.shape[1:])
            if stage.paths is not None:
                yield stage.paths, made
            else:
                yield from self._run(block, stage.then, made, depth + 1)


def in_order(found: Iterable[tuple[PathGroup, Tensor]]) -> Tensor:
    """Return the values ``(S, ...)`` of all groups in the order of their paths, ``(P, ...)``.

    They are picked, not written to their places: for that a GPU waits where torch is to be deterministic.
    """
    groups, values = zip(*found, strict=True)
    if len(groups) == 1:
        return values[0][groups[0].on_device.argsort()]
    return torch.cat(values)[torch.cat([group.on_device for group in groups]).argsort()]


def states_at_a_time(device: torch.device, n_rows: int, length: int, width: int) -> int:
    """Return how many states ``(n_rows, length, width)`` to stack; 0 on a CPU, which runs one path after another."""
    if device.type == "cpu":
        return 0
    # A quarter, since inside an operation a state is several times as wide.
    fitting = memory_share(device) // 4 // (n_rows * length * width * 4)
    return max(1, min(fitting, MOST_ROWS // n_rows))
