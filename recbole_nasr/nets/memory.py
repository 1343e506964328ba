"""The memory of a device, the share of it that one kind of values may take, and torch's errors when it runs out."""

from __future__ import annotations

import gc
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil
import torch

HOST_SHARE = 1 << 30
"""Bytes on a CPU."""

_REFUSALS = ("out of memory", "can't allocate memory", "not enough memory", "ALLOC_FAILED", "ALLOCATION_FAILED")


class Container(NamedTuple):
    """Files in which Linux gives the memory of a container.

    Args:
        limit: Bytes that it may take, or a word.
        used: Bytes that it takes, with files of which the system keeps a copy in memory.
        parts: What they are for, a name and a number of bytes a line.
        files: Name of those copies that the system drops when the memory is needed.
    """

    limit: str
    used: str
    parts: str
    files: str


_V2, _V1 = "/sys/fs/cgroup/memory.", "/sys/fs/cgroup/memory/memory."
_CONTAINERS = (
    Container(f"{_V2}max", f"{_V2}current", f"{_V2}stat", "inactive_file"),
    Container(f"{_V1}limit_in_bytes", f"{_V1}usage_in_bytes", f"{_V1}stat", "total_inactive_file"),
)
"""Of cgroups v2 and v1."""


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
    for container in _CONTAINERS:
        with suppress(OSError, ValueError):  # not in such a container, or "max"
            most = int(Path(container.limit).read_text(encoding="ascii"))
            all_of_it = min(all_of_it, most)
            used = int(Path(container.used).read_text(encoding="ascii"))
            free = min(free, most - used + _files_in_memory(container))
    return max(free, 0), all_of_it


def _files_in_memory(container: Container) -> int:
    """Return the bytes that the system drops when they are needed: an installation alone can fill a container."""
    with suppress(OSError, ValueError):
        parts = dict(line.split() for line in Path(container.parts).read_text(encoding="ascii").splitlines())
        return int(parts.get(container.files, 0))
    return 0


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
