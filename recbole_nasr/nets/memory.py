"""The memory of a device, the share of it that one kind of values may take, and torch's errors when it runs out."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path

import psutil
import torch

HOST_SHARE = 1 << 30
"""Bytes on a CPU."""

_REFUSALS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "ALLOCATION_FAILED")

_CONTAINER = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Files in which Linux gives the memory limit and usage of a container, for cgroups v2 and v1."""


def memory_share(device: torch.device) -> int:
    """Return the bytes that one kind of stored values may take: 1 GiB, or on a GPU an eighth of its memory."""
    if device.type != "cuda":
        return HOST_SHARE
    return torch.cuda.get_device_properties(device).total_memory // 8


def device_memory(device: torch.device) -> tuple[int, int]:
    """Return the free bytes of ``device``, and the total that this process may use there."""
    if device.type == "cuda":
        free, all_of_it = torch.cuda.mem_get_info(device if device.index is not None else None)  # torch 2.4 insists
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), all_of_it
    memory = psutil.virtual_memory()
    free, all_of_it = int(memory.available), int(memory.total)
    for limit, used in _CONTAINER:
        with suppress(OSError, ValueError):  # not in such a container, or "max"
            most = int(Path(limit).read_text(encoding="ascii"))
            all_of_it = min(all_of_it, most)
            free = min(free, most - int(Path(used).read_text(encoding="ascii")))
    return max(free, 0), all_of_it


def size_text(n_bytes: float) -> str:
    """Return a human-readable size.

    Example:
        >>> size_text(3 << 29)
        '1.5 GiB'
    """
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if n_bytes < 1024 or unit == "TiB":
            break
        n_bytes /= 1024
    return f"{n_bytes:,.0f} {unit}" if unit in ("B", "KiB", "MiB") else f"{n_bytes:,.1f} {unit}"


def ran_out(error: BaseException) -> bool:
    """Return whether ``error`` means that memory ran out.

    Torch's GPU allocator has an exception class of its own; CUDA, its libraries and the CPU allocator raise a
    ``RuntimeError`` that says so in its text.
    """
    if isinstance(error, (torch.cuda.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _REFUSALS)


def give_back_unused() -> None:
    """Return memory cached by a GPU's allocator to the device; call it once nothing refers to that memory."""
    if torch.cuda.is_available():
        gc.collect()  # what was captured of an earlier training may still be referred to in a circle
        torch.cuda.empty_cache()
