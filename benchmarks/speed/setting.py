"""What every section is told: where to measure, at which sizes, and beside whom."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from benchmarks.speed.shapes import SCALES, Shape

if TYPE_CHECKING:
    from benchmarks.speed.published import Published


@dataclass(frozen=True)
class Setting:
    """Where and what to measure.

    Args:
        device: Where.
        scale: ``tiny`` or ``paper``.
        published: A user's own checkout of the published code, in a process of its own.
        cap_s: Seconds that a section is meant to take at most; nothing but patience limits it if not given.
    """

    device: torch.device
    scale: str
    published: Published | None = None
    cap_s: float | None = None

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The sizes of the scale; on a CPU with fewer sequences at a time, items, lengths and widths as they are."""
        shapes = SCALES[self.scale]
        if self.scale == "tiny" or self.device.type != "cpu":
            return shapes
        fewer = ((64, 256), (16, 32))  # sequences of a step, cases
        return tuple(
            replace(shape, ranking_rows=16, batch_size=batch_size, cases=cases)
            for shape, (batch_size, cases) in zip(shapes, fewer, strict=True)
        )

    @property
    def training_precision(self) -> str:
        """Precision that training is held against: bf16 where a GPU has it."""
        return "bf16" if self.device.type == "cuda" else "fp32"

    @property
    def ranking_precision(self) -> str:
        """Precision that rankings are held against."""
        return "tf32" if self.device.type == "cuda" else "fp32"
