"""What this machine can do at best: the numbers that floors are made of, measured in the same run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.timing import seconds_per_call

REPEATS = 25


@dataclass(frozen=True)
class Roofline:
    """Ceilings of one device.

    Args:
        flops: Floating-point operations a second of a large square matrix product, by precision.
        narrow_flops: The same in fp32 at the shape of our layers: 7,680 rows, 64 in, 256 out.
        bandwidth: Bytes a second of a large copy, read and written counted.
        eager_s: Seconds of one operation on a tensor of 8 numbers, started from Python.
        launch_s: Seconds of one such kernel inside a captured graph; where nothing can be captured, ``eager_s``.
    """

    flops: dict[str, float]
    narrow_flops: float
    bandwidth: float
    eager_s: float
    launch_s: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self)


def measure_roofline(device: torch.device, *, quick: bool = False) -> Roofline:
    """Measure the ceilings of ``device``; ``quick`` takes sizes that only show that it works."""
    side = 64 if quick else (8192 if device.type == "cuda" else 1536)
    flops = {name: _gemm(device, name, (side, side, side)) for name in _precisions(device)}
    narrow = _gemm(device, "fp32", (64, 8, 32) if quick else (7680, 64, 256))
    n_bytes = 1 << (20 if quick else 28)
    source = torch.ones(n_bytes // 4, device=device)
    target = torch.empty_like(source)
    bandwidth = 2 * n_bytes / _best(lambda: target.copy_(source), device)
    eager = _eager(device)
    return Roofline(flops, narrow, bandwidth, eager, _captured(device) if device.type == "cuda" else eager)


def _precisions(device: torch.device) -> tuple[str, ...]:
    if device.type == "cuda":
        return ("fp32", "tf32", "bf16")
    return ("fp32",)  # nothing else is used there, and many CPUs have no products in bf16: they take minutes


def precision(name: str) -> AbstractContextManager[None]:
    """Return a context in which fp32 matrix products run as ``name`` says: ``tf32`` allows TF32, others do not."""
    return _TF32() if name == "tf32" else nullcontext()


class _TF32(AbstractContextManager[None]):
    def __enter__(self) -> None:
        self.before = torch.backends.cuda.matmul.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = True

    def __exit__(self, *_: object) -> None:
        torch.backends.cuda.matmul.allow_tf32 = self.before


def _gemm(device: torch.device, name: str, sizes: tuple[int, int, int]) -> float:
    dtype = torch.bfloat16 if name == "bf16" else torch.float32
    rows, inner, columns = sizes
    left, right = torch.randn(rows, inner, device=device), torch.randn(inner, columns, device=device)
    left, right = left.to(dtype), right.to(dtype)
    result = torch.empty(rows, columns, device=device, dtype=dtype)
    with precision(name):
        return 2 * rows * inner * columns / _best(lambda: torch.mm(left, right, out=result), device)


def _best(call: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds of the fastest repetition: a ceiling is not lowered by what else the machine does."""
    for _ in range(2):
        call()
    return min(seconds_per_call(call, device, 1).device for _ in range(REPEATS))


def _chain(n: int, numbers: Tensor) -> None:
    for _ in range(n):
        numbers.add_(1.0)


def _eager(device: torch.device) -> float:
    numbers = torch.zeros(8, device=device)
    _chain(200, numbers)
    return min(seconds_per_call(lambda: _chain(1000, numbers), device, 1).wall for _ in range(REPEATS)) / 1000


def _captured(device: torch.device) -> float:
    numbers = torch.zeros(8, device=device)
    stream = torch.cuda.Stream(device)
    with torch.cuda.stream(stream):
        _chain(3, numbers)
    torch.cuda.synchronize(device)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        _chain(1000, numbers)
    graph.replay()
    return min(seconds_per_call(graph.replay, device, 3).device for _ in range(REPEATS)) / 1000
