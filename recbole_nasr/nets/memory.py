"""How much memory one kind of stored values may take."""

from __future__ import annotations

import torch

HOST_SHARE = 1 << 30
"""Bytes on a CPU."""


def memory_share(device: torch.device) -> int:
    """Return the bytes that one kind of stored values may take: 1 GiB, on a GPU an eighth of its memory."""
    if device.type != "cuda":
        return HOST_SHARE
    return torch.cuda.get_device_properties(device).total_memory // 8
