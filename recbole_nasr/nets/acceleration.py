"""Acceleration of search and training, as far as the device allows: precision, compiled operations, CUDA graphs."""

from __future__ import annotations

import functools
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import nn

from recbole_nasr.errors import ConfigError
from recbole_nasr.ops import Operation

_LOG = logging.getLogger("recbole_nasr")

_TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])

PRECISIONS = ("auto", "fp32", "tf32", "bf16")
VARIANTS = 64
"""Compiled variants of one operation (by mode, gradient, heads and so on); torch's default limit is eight."""


@dataclass(frozen=True)
class Acceleration:
    """The acceleration used on a device; the default is plain torch.

    Args:
        precision: Precision of training: ``fp32``, ``tf32`` (every matrix product, also in rankings and evaluations),
            or ``bf16`` with weights, sums and losses in fp32. Rankings and evaluations use fp32 except with ``tf32``.
        backend: Backend of ``torch.compile`` for the operations and the loss; empty for none.
        graphs: Whether a training step is captured once and replayed, without work on the host.
        required: Whether graphs were asked for, so that a step that cannot be captured is an error.
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

        Casts of weights are not cached: one made for a target, without gradient, would be used for the student as well.
        """
        half = self.precision == "bf16"
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half, cache_enabled=False):
            yield

    @contextmanager
    def training_by_default(self, device: torch.device) -> Iterator[None]:
        """Make bf16 the type of an autocast that names none, such as RecBole's; on a GPU the default is fp16."""
        before = torch.get_autocast_dtype(device.type)
        torch.set_autocast_dtype(device.type, torch.bfloat16)
        try:
            yield
        finally:
            torch.set_autocast_dtype(device.type, before)

    @contextmanager
    def products(self) -> Iterator[None]:
        """Multiply fp32 matrices in TF32 or in full precision, as chosen; torch's settings are restored.

        cuDNN, which runs convolutions and recurrent layers, has a setting of its own, which is TF32 by default.
        """
        before, before_in_cudnn = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        fast = self.precision == "tf32"
        torch.set_float32_matmul_precision("high" if fast else "highest")
        torch.backends.cudnn.allow_tf32 = fast
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
            torch.backends.cudnn.allow_tf32 = before_in_cudnn

    def compile_operations(self, network: nn.Module) -> None:
        """Compile every operation of the package in ``network``, in place; those of users are not compiled.

        Operations are compiled instead of networks, so that a new architecture or path does not lead to another
        compilation.
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
    """Return the acceleration for ``device``: as asked for, or what suits the device.

    On a CPU that is plain fp32. On a GPU it is bf16, compiled and in CUDA graphs; what the GPU cannot do is left out,
    with a line that says why.

    Args:
        device: Where to compute.
        precision: One of :data:`PRECISIONS`.
        compiled: ``auto``, True, False, or the name of a backend of ``torch.compile``.
        graphs: ``auto``, True or False.
        n_processes: Processes that share each step.

    Raises:
        ConfigError: If a value is none of these, or asks for something that cannot be done here.
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
    lacks = lacks or _failure_to_compile(backend, str(device))
    if not lacks:
        return backend
    if asked == "auto":
        _LOG.info("compile: off, since %s", lacks)
        return ""
    msg = f"`compile: {asked}` cannot be had: {lacks}; use False."
    raise ConfigError(msg)


@functools.lru_cache(maxsize=16)
def _failure_to_compile(backend: str, device: str) -> str:
    """Return why torch cannot compile with ``backend``, or an empty text; on a GPU a small function is compiled.

    Triton needs a C compiler and Python's headers, and does not support old GPUs; it reports what is missing only when
    it compiles.
    """
    try:
        compiled = torch.compile(_small, backend=backend)  # refuses unknown backends and Python versions
        if torch.device(device).type == "cuda":
            compiled(torch.ones(8, device=device))
    except Exception as error:  # torch has several classes of its own for it
        return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return ""


def _small(values: torch.Tensor) -> torch.Tensor:
    return (2 * values).relu()


def _lack_of_compiler(device: torch.device) -> str:
    if device.type == "cuda" and _TORCH < (2, 5):
        return f"torch {torch.__version__} compiles the same operation anew in every layer"
    if device.type == "cuda":
        return "" if find_spec("triton") else "triton is not installed"
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
