"""The memory of networks and their training steps, measured on a few rows of one layer of each operation."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import finalize

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets.memory import device_memory, size_text
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.space import Architecture, SearchSpace

FLOAT = 4
"""Bytes of a weight."""

_ROWS = 2  # that a layer is measured on
_LONG = 128
"""Longer rows are not measured but extrapolated as a·length + b·length², from rows of this length and half of it."""


class LiveBytes(TorchDispatchMode):  # torch has no types for it
    """Counts the live bytes of all tensors that operations create while it is active.

    Args:
        given: Tensors that exist before; the result of an operation may be a view of one.

    Attributes:
        now: Live bytes.
        peak: Largest number of live bytes at any time.
    """

    def __init__(self, given: Iterable[Tensor] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.now = self.peak = 0
        self._given = [tensor.untyped_storage() for tensor in given]
        self._known = {id(storage) for storage in self._given}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation unchanged, and count the tensors it returns."""
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        key, n_bytes = id(storage), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += n_bytes
        self.peak = max(self.peak, self.now)
        finalize(storage, self._forget, key, n_bytes)

    def _forget(self, key: int, n_bytes: int) -> None:
        self._known.discard(key)
        self.now -= n_bytes


@dataclass(frozen=True)
class LayerFootprint:
    """Bytes per row of one layer in training.

    Args:
        held: Bytes kept between forward and backward pass, for the gradient.
        working: Largest number of further bytes while the layer is run, forward or backward.
    """

    held: float
    working: float


@functools.lru_cache(maxsize=256)
def layer_footprint(name: str, settings: LayerSettings, length: int, device: str = "cpu") -> LayerFootprint:
    """Measure a layer of operation ``name`` on rows of ``length`` items; random states are left as they were."""
    if length > _LONG:
        half, whole = (layer_footprint(name, settings, n, device) for n in (_LONG // 2, _LONG))
        return LayerFootprint(
            _extrapolated(half.held, whole.held, length), _extrapolated(half.working, whole.working, length)
        )
    with torch.random.fork_rng(devices=[device] if device.startswith("cuda") else []):
        layer = build_operation(name, settings).to(device).train()
        hidden = torch.randn(_ROWS, length, settings.hidden_size, device=device, requires_grad=True)
        with LiveBytes([hidden, *layer.parameters(), *layer.buffers()]) as live:
            output = layer(hidden)
            held, forward = live.now, live.peak
            gradient = torch.ones_like(output)
            torch.autograd.backward(output, gradient)
    gradients = sum(weight.numel() for weight in layer.parameters()) * FLOAT  # they are not of a row
    working = max(forward - held, live.peak - held - gradients, 0)
    return LayerFootprint(held / _ROWS, working / _ROWS)


def _extrapolated(half: float, whole: float, length: int) -> float:
    square = max(0.0, (whole / _LONG - half / (_LONG // 2)) / (_LONG // 2))
    return (whole / _LONG - square * _LONG) * length + square * length**2


@functools.lru_cache(maxsize=256)
def layer_weights(name: str, settings: LayerSettings) -> int:
    """Return the bytes of the weights of a layer, without allocating them."""
    with torch.device("meta"):
        return _bytes_of(build_operation(name, settings))


def _bytes_of(module: nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*module.parameters(), *module.buffers()))


def network_weights(
    layers: Iterable[str], settings: LayerSettings, n_items: int, max_length: int, *, tied: bool = False
) -> int:
    """Return the bytes of the weights of the network with these layers, embedding and softmax layer included."""
    tables = 1 if tied else 2  # of the items: a tied softmax layer has none of its own
    ends = (tables * n_items + max_length) * settings.hidden_size + n_items
    return FLOAT * ends + sum(layer_weights(name, settings) for name in layers)


def supernet_weights(
    space: SearchSpace, settings: LayerSettings, n_items: int, max_length: int, *, tied: bool = False
) -> int:
    """Return the bytes of the weights of a supernet, softmax layer included."""
    layer = sum(layer_weights(name, settings) for name in space.operations)
    return network_weights((), settings, n_items, max_length, tied=tied) + space.n_layers * layer


def rows_in_network(architecture: Architecture, settings: LayerSettings, length: int, device: str) -> LayerFootprint:
    """Return the bytes per row in all layers of a network: the sum of those held, and the largest working memory."""
    found = [layer_footprint(name, settings, length, device) for name in architecture.layers]
    return LayerFootprint(sum(one.held for one in found), max(one.working for one in found))


def check_weights(
    layers: Iterable[str],
    settings: LayerSettings,
    *,
    n_items: int,
    length: int,
    device: str,
    copies: int = 1,
    tied: bool = False,
) -> None:
    """Refuse a network if ``copies`` of its weights alone exceed the memory of the device, before they are allocated.

    Raises:
        MemoryLimitError: If they exceed it.
    """
    weights = copies * network_weights(layers, settings, n_items, length, tied=tied)
    _, all_of_it = device_memory(torch.device(device))
    if weights > all_of_it:
        msg = (
            f"The network takes {size_text(weights)} for weights {'and gradients ' * (copies > 1)}alone, but {device} "
            f"has {size_text(all_of_it)}; lower `hidden_size`, `inner_ratio`, `n_layers` or `MAX_ITEM_LIST_LENGTH`."
        )
        raise MemoryLimitError(msg)
