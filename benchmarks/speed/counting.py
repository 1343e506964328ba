"""How much work one call hands to the device: kernels, and the memory it needs at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

IDLE = ("detach", "empty", "empty_like", "empty_strided", "new_empty", "lift_fresh", "_unsafe_view")


class CountOps(TorchDispatchMode):
    """Counts the operations that reach a kernel; views and empty tensors, which compute nothing, do not.

    Attributes:
        count: Operations so far.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]  # as torch's
        """Count ``func``, unless it computes nothing, and run it."""
        if not _is_view(func) and func.overloadpacket.__name__ not in IDLE:
            self.count += 1
        return func(*args, **(kwargs or {}))


def _is_view(func: Any) -> bool:
    aliases = [value.alias_info for value in func._schema.returns]
    return bool(aliases) and all(alias is not None and not alias.is_write for alias in aliases)


def count_kernels(call: Callable[[], Any], device: torch.device) -> int:
    """Return how many kernels one call runs: on a GPU as its profiler saw them, on a CPU operations dispatched."""
    if device.type != "cuda":
        with CountOps() as counter:
            call()
        return counter.count
    activities = [torch.profiler.ProfilerActivity.CUDA]
    torch.cuda.synchronize(device)
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize(device)
    results = profile.profiler.kineto_results if profile.profiler else None  # torch's own list of 200,000 takes long
    on_gpu = torch.autograd.DeviceType.CUDA  # type: ignore[attr-defined]  # its types lack it
    names = [event.name() for event in results.events() if event.device_type() == on_gpu] if results else []
    return sum(not name.startswith(("Memcpy", "Memset")) for name in names)


def peak_bytes(call: Callable[[], Any], device: torch.device) -> int:
    """Return the most memory that one call holds at once, beyond what was held before."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        call()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        call()
    held = most = 0
    results = profile.profiler.kineto_results if profile.profiler else None
    events = [event for event in results.events() if event.name() == "[memory]"] if results else []
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most
