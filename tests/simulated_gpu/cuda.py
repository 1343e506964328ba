"""The functions of ``torch.cuda`` for the simulated device."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import Any

import torch
import torch._dynamo  # it lists the functions that are replaced here, and fails on the others
from capture import DEVICE, CUDAGraph, graph, graph_pool_handle
from tensors import GPU, Calls, Generator, Operations, SimulatedTensor
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

_NAME, _CAPABILITY, _MEMORY = "simulated GPU", (9, 0), 16 << 30


class Stream:
    """A stream; there is one order of work here."""

    device = GPU

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Stream) -> None:
        """Do nothing."""

    def synchronize(self) -> None:
        """Wait for the device."""
        DEVICE.wait("synchronize")


class Event:
    """An event, which has always happened."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def record(self, *_: Any) -> None:
        """Do nothing."""

    def query(self) -> bool:
        """Return that it has happened."""
        return True

    def synchronize(self) -> None:
        """Wait for the device."""
        DEVICE.wait("synchronize", noticed=False)

    def elapsed_time(self, other: Event) -> float:
        """Return a time in ms that means nothing."""
        return 1.0


def simulate() -> None:
    """Put the functions of this module in the place of torch's, for the rest of the process."""
    memory = DEVICE.memory.allocated
    properties = SimpleNamespace(
        name=_NAME, total_memory=_MEMORY, major=_CAPABILITY[0], minor=_CAPABILITY[1], multi_processor_count=100
    )
    here: dict[str, Any] = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": _nothing,
        "_lazy_init": _nothing,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": _nothing,
        "device": contextlib.nullcontext,
        "synchronize": lambda *_: DEVICE.wait("synchronize", noticed=False),
        "get_device_name": lambda *_: _NAME,
        "get_device_capability": lambda *_: _CAPABILITY,
        "get_device_properties": lambda *_: properties,
        "is_bf16_supported": lambda *_: True,
        "mem_get_info": lambda *_: (_MEMORY - memory(), _MEMORY),
        "memory_allocated": lambda *_: memory(),
        "memory_reserved": lambda *_: memory(),
        "max_memory_allocated": lambda *_: memory(),
        "reset_peak_memory_stats": _nothing,
        "empty_cache": DEVICE.empty_cache,
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda *_: Stream(),
        "stream": lambda _: contextlib.nullcontext(),
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "get_rng_state_all": lambda: [torch.get_rng_state()],
        "manual_seed": _nothing,  # its generator is that of the CPU, which is seeded
        "manual_seed_all": _nothing,
        "CUDAGraph": CUDAGraph,
        "graph": graph,
        "graph_pool_handle": graph_pool_handle,
        "is_current_stream_capturing": lambda: DEVICE.recording is not None,
        "get_sync_debug_mode": lambda: 2 * DEVICE.waiting_refused,
        "set_sync_debug_mode": _set_sync_debug_mode,
    }
    for name, value in here.items():
        setattr(torch.cuda, name, value)
    torch._C._cuda_isInBadFork = lambda: False
    torch._C._cuda_endAllocateToPool = DEVICE.end_allocation
    torch._C._cuda_releasePool = _nothing
    torch.Generator = Generator
    torch.Tensor.cuda = lambda tensor, *_, **__: tensor.to(GPU)
    torch.load = _loading_to_gpu(torch.load)
    nn.GRU.forward = _gru
    Operations().__enter__()
    Calls().__enter__()


def _nothing(*_: Any) -> None:
    pass


def _set_sync_debug_mode(mode: int | str) -> None:
    DEVICE.waiting_refused = mode in (2, "error")


def _loading_to_gpu(load: Any) -> Any:
    """Return a ``torch.load`` that moves to the device what was read to the CPU."""

    def loading(file: Any, map_location: Any = None, **options: Any) -> Any:
        to_gpu = isinstance(map_location, (str, torch.device)) and torch.device(map_location).type == "cuda"
        found = load(file, map_location="cpu" if to_gpu else map_location, **options)
        return tree_map(lambda one: one.to(GPU) if isinstance(one, Tensor) else one, found) if to_gpu else found

    return loading


def _gru(self: nn.GRU, values: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Compute a GRU from other operations: torch's own on a GPU has no counterpart on the CPU."""
    if not isinstance(values, SimulatedTensor):
        return _torch_gru(self, values, state)
    if self.bidirectional or not self.batch_first:
        raise NotImplementedError("The simulated GPU has GRUs with `batch_first` and in one direction.")
    last = []
    for layer in range(self.num_layers):
        hidden = values.new_zeros(len(values), self.hidden_size) if state is None else state[layer]
        weights = [getattr(self, f"{kind}_l{layer}") for kind in ("weight_ih", "weight_hh")]
        biases = [getattr(self, f"{kind}_l{layer}") if self.bias else None for kind in ("bias_ih", "bias_hh")]
        steps = []
        for step in values.unbind(1):
            of_input = F.linear(step, weights[0], biases[0]).chunk(3, dim=-1)
            of_state = F.linear(hidden, weights[1], biases[1]).chunk(3, dim=-1)
            reset, update = ((a + b).sigmoid() for a, b in zip(of_input[:2], of_state[:2], strict=True))
            new = (of_input[2] + reset * of_state[2]).tanh()
            hidden = (1 - update) * new + update * hidden
            steps.append(hidden)
        values = torch.stack(steps, dim=1)
        last.append(hidden)
    return values, torch.stack(last)


_torch_gru = nn.GRU.forward
