"""Equal inputs, equal results: torch takes deterministic algorithms, and refuses what has none.

On a CPU that concerns sums over picked rows, which several threads otherwise add up in any order; on a GPU much more.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
import torch.utils.deterministic as filling

from recbole_nasr.errors import ConfigError, NASRError

WORKSPACE, SIZES = "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
"""Without workspaces of fixed size cuBLAS adds up in an order that depends on what else runs; NVIDIA names two sizes
that are safe, of which this one is the faster."""

_LOG = logging.getLogger("recbole_nasr")

_REFUSAL = "does not have a deterministic implementation"  # torch has no error class of its own for it


def be_deterministic(device: torch.device, *, strict: bool) -> None:
    """Let torch compute deterministically from now on.

    The setting of cuBLAS is made when this package is imported; one that the user has made stands. Where products were
    computed on a GPU before, torch would refuse all that follow, so that it is only told to warn, which is said.

    Args:
        device: Where the run computes.
        strict: Refuse an operation that has no deterministic algorithm; else torch warns, once for each, and attention
            in its fused forms stays as it is.
    """
    if device.type == "cuda":
        os.environ.setdefault(WORKSPACE, SIZES)
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
    # Filling is for debugging, and slow.
    filling.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # its types lack it
    torch.use_deterministic_algorithms(mode=True, warn_only=not strict)
    if strict and device.type == "cuda" and not _products_allowed(device):
        torch.use_deterministic_algorithms(mode=True, warn_only=True)
        _LOG.warning(
            "reproducibility: the GPU was used before recbole_nasr was imported, so that cuBLAS may round otherwise in "
            "another run; import it first, or set %s=%s.",
            WORKSPACE,
            SIZES,
        )


def _products_allowed(device: torch.device) -> bool:
    if not torch.cuda.is_available():
        return True
    one = torch.ones(1, 1, device=device)
    try:
        torch.mm(one, one)
    except RuntimeError as error:
        if WORKSPACE not in str(error):
            raise
        return False
    return True


@contextmanager
def restored_determinism() -> Iterator[None]:
    """Put torch back to how it was before the block, so that a run decides nothing for the next."""
    mode, warn_only = _determinism()
    filled = filling.fill_uninitialized_memory  # type: ignore[attr-defined]  # as above
    of_cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = of_cudnn
        # For this torch imports its compiler. Where Ctrl-C broke that off nothing is switched, and it would fail again.
        if (mode, warn_only) != _determinism():
            torch.use_deterministic_algorithms(mode=mode, warn_only=warn_only)
        filling.fill_uninitialized_memory = filled  # type: ignore[attr-defined]  # as above


def _determinism() -> tuple[bool, bool]:
    """Return whether torch computes deterministically, and whether it only warns where it cannot."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


_ASKED: ContextVar[bool] = ContextVar("asked", default=False)


@contextmanager
def deterministic(config: Mapping[str, Any] | Any, device: torch.device) -> Iterator[None]:
    """Let torch compute deterministically within the block, strictly, if ``reproducibility`` says so; then as before.

    A block within another changes nothing.
    """
    if not config["reproducibility"] or _ASKED.get():
        yield
        return
    token = _ASKED.set(True)
    try:
        with restored_determinism():
            be_deterministic(device, strict=True)
            yield
    finally:
        _ASKED.reset(token)


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
