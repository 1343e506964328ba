"""Several sampled paths in one pass of fixed shape, so that one captured step serves every draw.

Which operation runs on which path changes from step to step, and a captured step cannot choose. So each operation of
a layer is given as many places as the most used one needs, the paths are dealt to the places, and places left over run
on any path and are thrown away. How many places that takes is known on the host, which draws the paths: with ``fair``
sampling one, and nothing is wasted; with four ``uniform`` paths over four operations mostly two or three. Gathered
weights would need a stacked form of every operation, and one graph for every grouping too many graphs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.space import Path


@dataclass(frozen=True)
class Deal:
    """Which paths each operation of each layer runs on.

    Args:
        n_places: Of each operation.
        taken: ``(n_layers, n_ops · n_places)`` the path that each place runs on.
        place: ``(n_layers, P)`` the place whose output each path takes.
        unused: ``(n_layers, n_ops)`` 1 where no path uses an operation, else 0.
    """

    n_places: int
    taken: Tensor
    place: Tensor
    unused: Tensor

    @classmethod
    def of(cls, paths: Sequence[Path], n_ops: int) -> Deal:
        """Deal ``paths``, at least one and of equal length, over ``n_ops`` operations."""
        n_places = max(max(Counter(layer).values()) for layer in zip(*paths, strict=True))
        taken, place, unused = [], [], []
        for layer in zip(*paths, strict=True):
            used: Counter[int] = Counter()
            places, owners = [], [0] * (n_ops * n_places)
            for path, op in enumerate(layer):
                places.append(op * n_places + used[op])
                owners[places[-1]] = path
                used[op] += 1
            taken.append(owners)
            place.append(places)
            unused.append([float(not used[op]) for op in range(n_ops)])
        return cls(n_places, torch.tensor(taken), torch.tensor(place), torch.tensor(unused))

    @property
    def tensors(self) -> tuple[Tensor, Tensor, Tensor]:
        """All of it but the number of places, for a device."""
        return self.taken, self.place, self.unused

    def to(self, device: torch.device) -> Deal:
        """Return the deal on ``device``, without waiting for it."""
        if device.type != "cuda":
            return self
        sent = (tensor.pin_memory().to(device, non_blocking=True) for tensor in self.tensors)
        return Deal(self.n_places, *sent)


def run_dealt(block: SupernetBlock, hidden: Tensor, deal: Deal) -> Tensor:
    """Return the output of each path, ``(P, B, L, D)``, for its own ``hidden``, of the same shape."""
    for depth, layer in enumerate(block.layers):
        rows = hidden[deal.taken[depth]]  # (n_ops · n_places, B, L, D)
        parts = enumerate(torch.split(rows, deal.n_places))
        outputs = [block.run(layer, part.flatten(0, 1), op) for op, part in parts]
        hidden = torch.cat(outputs).view(rows.shape)[deal.place[depth]]
    return hidden
