"""How fast arithmetic is asked for: precision of training, compiled operations, CUDA graphs; what a device can do."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from recbole_nasr.errors import ConfigError
from recbole_nasr.ops import Operation

_LOG = logging.getLogger("recbole_nasr")

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
VARIANTS = 64
"""Compiled variants of one operation: modes, gradients, heads and so on; torch gives up after eight by default."""


@dataclass(frozen=True)
class Acceleration:
    """What is in force on one device; the default is plain torch.

    Args:
        precision: Of training: ``fp32``, ``tf32`` (every product, also of rankings and evaluations), or ``bf16`` with
            weights, sums and losses in fp32. Whatever ranks or measures is computed in fp32 unless it is ``tf32``.
        backend: Of ``torch.compile`` for the operations and the loss; empty for none.
        graphs: Capture a training step once and replay it, without work on the host.
        required: Graphs were asked for: what cannot be captured is an error.
    """

    precision: str = "fp32"
    backend: str = ""
    graphs: bool = False
    required: bool = False

    def __str__(self) -> str:
        return ", ".join(
            [self.precision, *(["compiled"] if self.backend else []), *(["CUDA graphs"] if self.graphs else [])]
        )

    @contextmanager
    def training(self, device: torch.device) -> Iterator[None]:
        """Compute a loss in the chosen precision.

        Casts of weights are not cached: one made for a target, without gradient, would serve the student as well.
        """
        half = self.precision == "bf16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            yield

    @contextmanager
    def products(self) -> Iterator[None]:
        """Multiply fp32 matrices as chosen, in TF32 or exactly, and put torch back as it was."""
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("high" if self.precision == "tf32" else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)

    def compile_operations(self, network: nn.Module) -> None:
        """Compile every operation of the package in ``network``, in place; those of users stay as they are.

        Compiled is the code of an operation rather than a network, so that neither an architecture nor a path makes
        torch compile anew.
        """
        if not self.backend:
            return
        from torch._dynamo import config  # slow to import

        limit = "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit"
        setattr(config, limit, max(VARIANTS, getattr(config, limit)))
        for module in network.modules():
            if isinstance(module, Operation) and type(module).__module__.startswith("recbole_nasr."):
                module.compile(backend=self.backend)


def choose(
    device: torch.device,
    *,
    precision: str = "auto",
    compiled: object = "auto",
    graphs: object = "auto",
    n_processes: int = 1,
) -> Acceleration:
    """Return what ``device`` is to do: what is asked for, and otherwise what suits it.

    On a CPU plain fp32. On a GPU bf16 where it has it, compiled, in CUDA graphs; what of these cannot be is left out
    with a line that says why.

    Args:
        device: Where to compute.
        precision: Of :data:`PRECISIONS`.
        compiled: ``auto``, True, False, or the name of a backend of ``torch.compile``.
        graphs: ``auto``, True or False.
        n_processes: Processes that share each step.

    Raises:
        ConfigError: If a value is none of these, or asks for what cannot be done here.
    """
    return Acceleration(
        _precision(device, precision),
        _backend(device, compiled),
        _graphs(device, graphs, n_processes),
        required=graphs is True,
    )


def _precision(device: torch.device, asked: str) -> str:
    if asked not in PRECISIONS:
        msg = f"`precision` must be one of {', '.join(PRECISIONS)}, but is {asked!r}."
        raise ConfigError(msg)
    on_gpu = device.type == "cuda"
    lacks = ""
    if on_gpu and asked in ("tf32", "bf16", "auto") and torch.cuda.get_device_capability(device) < (8, 0):
        lacks = f"{torch.cuda.get_device_name(device)} has no fast bf16 and TF32"
    elif not on_gpu and asked == "tf32":
        lacks = f"it is for NVIDIA GPUs, and the device is {device}"
    if asked == "auto":
        if lacks:
            _LOG.info("precision: fp32, since %s", lacks)
        return "bf16" if on_gpu and not lacks else "fp32"
    if lacks:
        msg = f"`precision: {asked}` cannot be had: {lacks}; use fp32."
        raise ConfigError(msg)
    return asked


def _backend(device: torch.device, asked: object) -> str:
    if asked is False or (asked == "auto" and device.type == "cpu"):
        return ""
    if not isinstance(asked, (bool, str)):
        msg = f"`compile` must be auto, True, False or a backend of torch.compile, but is {asked!r}."
        raise ConfigError(msg)
    backend = asked if isinstance(asked, str) and asked != "auto" else "inductor"
    lacks = _lack_of_compiler(device) if backend == "inductor" else ""
    try:
        torch.compile(_nothing, backend=backend)  # refuses unknown backends and Python versions
    except Exception as error:  # torch has several classes of its own for it
        lacks = str(error).strip().splitlines()[0]
    if not lacks:
        return backend
    if asked == "auto":
        _LOG.info("compile: off, since %s", lacks)
        return ""
    msg = f"`compile: {asked}` cannot be had: {lacks}; use False."
    raise ConfigError(msg)


def _nothing() -> None:
    """Stand for something to compile."""


def _lack_of_compiler(device: torch.device) -> str:
    if device.type == "cuda":
        return "" if importlib.util.find_spec("triton") else "triton is not installed"
    compilers = (os.environ.get("CXX", ""), "g++", "clang++")
    return "" if any(name and shutil.which(name) for name in compilers) else "there is no C++ compiler"


def _graphs(device: torch.device, asked: object, n_processes: int) -> bool:
    if asked not in ("auto", True, False):
        msg = f"`cuda_graphs` must be auto, True or False, but is {asked!r}."
        raise ConfigError(msg)
    lacks = ""
    if device.type != "cuda":
        lacks = f"the device is {device}"
    elif n_processes > 1:
        lacks = f"{n_processes} processes exchange gradients within a step"
    if asked is True and lacks:
        msg = f"`cuda_graphs: True` cannot be had: {lacks}; use auto or False."
        raise ConfigError(msg)
    if asked == "auto" and lacks and device.type == "cuda":
        _LOG.info("cuda_graphs: off, since %s", lacks)
    return asked is not False and not lacks
