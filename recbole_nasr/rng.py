"""One seed governs named, independent random generators."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

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


class RandomPlace:
    """The place that random streams have come to; what is drawn from here on can be drawn once more.

    Reading it never waits for the device: a state is on the host, whatever the device.

    Args:
        device: Whose own stream, that of dropout, is among them.
        generators: The others.
    """

    def __init__(self, device: torch.device, generators: Sequence[torch.Generator] = ()) -> None:
        self._device, self._generators = device, tuple(generators)
        self._own = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()
        self._others = [stream.get_state() for stream in self._generators]

    def go_back(self) -> None:
        """Put every stream back to this place."""
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(self._own, self._device)
        else:
            torch.set_rng_state(self._own)
        for stream, state in zip(self._generators, self._others, strict=True):
            stream.set_state(state)
