"""One seed governs named, independent random generators."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, name: str) -> int:
    """Return the 63-bit seed of the stream ``name`` under ``seed``.

    Streams are independent: drawing more from one never shifts another.

    Example:
        >>> derive_seed(2020, "views") == derive_seed(2020, "views")
        True
        >>> derive_seed(2020, "views") == derive_seed(2020, "paths")
        False
    """
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(seed: int, name: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a new torch generator on ``device`` for the stream ``name`` under ``seed``."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, name))
