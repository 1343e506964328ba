"""Equal inputs, equal results: torch takes deterministic algorithms, and refuses what has none.

On a CPU that concerns sums over picked rows, which several threads otherwise add up in any order; on a GPU much more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.utils.deterministic as filling

from recbole_nasr.errors import ConfigError, NASRError

WORKSPACE, SIZES = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""Without workspaces of fixed size cuBLAS adds up in an order that depends on what else runs; NVIDIA names two sizes
that are safe, of which this one is the faster."""

_REFUSAL = "does not have a deterministic implementation"  # torch has no error class of its own for it


def be_deterministic(device: torch.device, *, strict: bool) -> None:
    """Let torch compute deterministically from now on.

    For a GPU to be called before the first product there, when cuBLAS reads its setting; one that the user has made
    stands.

    Args:
        device: Where the run computes.
        strict: Refuse an operation that has no deterministic algorithm; else torch warns, once for each, and attention
            in its fused forms stays as it is.
    """
    if device.type == "cuda":
        os.environ.setdefault(WORKSPACE, SIZES)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # for debugging, and slow
    torch.use_deterministic_algorithms(mode=True, warn_only=not strict)


@contextmanager
def restored_determinism() -> Iterator[None]:
    """Put torch back to how it was before the block, so that a run decides nothing for the next."""
    mode = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filled = filling.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(mode=mode, warn_only=warn_only)
        filling.fill_uninitialized_memory = filled  # type: ignore[attr-defined]


@contextmanager
def explained_refusals() -> Iterator[None]:
    """Say in one line which operation has no deterministic algorithm.

    Raises:
        ConfigError: Instead of what torch raises.
    """
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, NASRError) or _REFUSAL not in str(error):
            raise
        reason = str(error).partition(", but you set")[0].partition("\n")[0]
        msg = f"`reproducibility=True` allows operations with equal results only, but: {reason}; set it to False."
        raise ConfigError(msg) from error
