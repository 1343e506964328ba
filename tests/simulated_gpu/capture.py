"""The state of the simulated device, and its CUDA graphs: operations that are recorded, and run again in place."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import _disable_current_modes


def tensors_in(value: Any) -> list[Tensor]:
    """Return the tensors of an argument or a result of an operation, which may be in lists; torch's own is slow."""
    if isinstance(value, Tensor):
        return [value]
    return [tensor for one in value for tensor in tensors_in(one)] if isinstance(value, (list, tuple)) else []


class Memory:
    """The tensors that hold the values of the device."""

    def __init__(self) -> None:
        self._tensors: dict[int, weakref.ref[Tensor]] = {}

    def add(self, values: Tensor) -> None:
        """Count ``values`` among them until nothing refers to it."""
        key = id(values)
        self._tensors[key] = weakref.ref(values, lambda _: self._tensors.pop(key, None))

    def storages(self) -> list[torch.UntypedStorage]:
        """Return their memory, each piece once."""
        alive = [values for reference in list(self._tensors.values()) if (values := reference()) is not None]
        return list({values.untyped_storage().data_ptr(): values.untyped_storage() for values in alive}.values())

    def allocated(self) -> int:
        """Return its size in bytes."""
        return sum(storage.nbytes() for storage in self.storages())


class Recording:
    """The operations of a graph, with the tensors they read and write.

    Attributes:
        invalid: Whether something was asked for meanwhile that cannot be captured.
    """

    def __init__(self, generators: list[Any]) -> None:
        self.generators, self.invalid = generators, False
        self._operations: list[tuple[Any, Any, Any, Any]] = []

    def run(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Run ``operation`` and record it."""
        found = operation(*args, **kwargs)
        self._operations.append((operation, args, kwargs, found))
        return found

    def replay(self) -> None:
        """Run all of them again, their results into the memory of the first ones."""
        with _disable_current_modes(), torch._C.DisableTorchFunction():  # these are CPU tensors, without rules
            for operation, args, kwargs, found in self._operations:
                again = operation(*args, **kwargs)
                for old, new in zip(tensors_in(found), tensors_in(again), strict=True):
                    if old.numel() and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


@dataclass
class Device:
    """What the device is doing.

    Args:
        recording: The graph that is being captured.
        waiting_refused: Whether an operation that waits for the device is an error.
        memory: Its tensors.
        pools: Those of captures that the allocator believes to be underway.
        captured: Generators that torch takes to be captured.
    """

    recording: Recording | None = None
    waiting_refused: bool = False
    memory: Memory = field(default_factory=Memory)
    pools: list[Any] = field(default_factory=list)
    captured: list[Any] = field(default_factory=list)

    def wait(self, what: str, *, noticed: bool = True) -> None:
        """Refuse to wait for the device where a graph is captured or waiting is an error.

        Args:
            what: Asks for it.
            noticed: Whether torch notices it where waiting is an error; CUDA does while a graph is captured.
        """
        if self.recording is not None:
            self.recording.invalid = True
            raise RuntimeError(f"CUDA error: operation not permitted when stream is capturing: {what}")
        if self.waiting_refused and noticed:
            raise RuntimeError(f"called a synchronizing CUDA operation: {what}")

    def empty_cache(self) -> None:
        """Give nothing back: memory is that of the host; torch refuses it while it believes in a capture."""
        if self.pools:
            raise RuntimeError("captures_underway.empty() INTERNAL ASSERT FAILED at CUDACachingAllocator.cpp")

    def end_allocation(self, _device: int, pool: Any) -> None:
        """Stand for ``torch._C._cuda_endAllocateToPool``."""
        if pool not in self.pools:
            raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
        self.pools.remove(pool)

    def run(self, operation: Any, args: Any, kwargs: Any) -> Any:
        """Run an operation on the values of tensors of the device."""
        if self.recording is None:
            if self.captured and torch.Tag.nondeterministic_seeded in operation.tags:
                raise RuntimeError("Offset increment outside graph capture encountered unexpectedly.")
            return operation(*args, **kwargs)
        return self.recording.run(operation, args, kwargs)


DEVICE = Device()


class CUDAGraph:
    """Stands for ``torch.cuda.CUDAGraph``."""

    def __init__(self, *_: Any) -> None:
        self.recording: Recording | None = None
        self.generators: list[Any] = []

    def register_generator_state(self, generator: Any) -> None:
        """Allow the graph to draw from ``generator``."""
        self.generators.append(generator)

    def pool(self) -> int:
        """Return something that stands for its memory."""
        return id(self)

    def replay(self) -> None:
        """Run what was captured."""
        if self.recording is None:
            raise RuntimeError("Called CUDAGraph::replay without a preceding successful capture.")
        self.recording.replay()


class graph:  # noqa: N801 - as torch calls it
    """Stands for ``torch.cuda.graph``: within it operations are recorded.

    They have to run to have results of some shape, so afterwards the memory of the device is put back to what it was,
    and random generators are. A capture that broke off leaves torch as it does up to version 2.11: the allocator
    believes it to be underway, and generators to be captured until the next capture ends.
    """

    def __init__(self, cuda_graph: CUDAGraph, pool: Any = None, **_: Any) -> None:
        self._graph, self._pool = cuda_graph, pool or graph_pool_handle()

    def __enter__(self) -> None:
        DEVICE.empty_cache()
        self._memory = [(storage, storage.clone()) for storage in DEVICE.memory.storages()]
        self._generators = [(one, one.get_state()) for one in (*self._graph.generators, DEFAULT_GENERATOR)]
        DEVICE.recording = Recording(self._graph.generators)
        DEVICE.pools.append(self._pool)
        DEVICE.captured = [*self._graph.generators, DEFAULT_GENERATOR]

    def __exit__(self, kind: Any, *_: object) -> None:
        recording, DEVICE.recording = DEVICE.recording, None
        for storage, before in self._memory:
            storage.copy_(before)
        for generator, state in self._generators:
            generator.set_state(state)
        self._memory.clear()
        if recording is not None and recording.invalid:
            raise RuntimeError("CUDA error: operation failed due to a previous error during capture")
        DEVICE.pools.remove(self._pool)
        DEVICE.captured = []
        if kind is None:
            self._graph.recording = recording


_pools = count(1)


def graph_pool_handle() -> tuple[int, int]:
    """Return a new name of a pool of memory."""
    return 0, next(_pools)


DEFAULT_GENERATOR = SimpleNamespace(get_state=torch.get_rng_state, set_state=torch.set_rng_state)
"""That of the device, which is the one of the CPU."""
