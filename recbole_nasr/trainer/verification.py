"""What the comparison of trained candidates found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from recbole_nasr.trainer.candidates import Trained


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What the comparison of trained candidates found.

    Args:
        trained: Every candidate that was trained, in order.
        metric: What they were compared by, on the validation cases.
        bigger: Whether more of it is better.
        kept: Origins whose candidates were trained to the end.
        rungs: Epochs after which candidates were compared.
        left_out: Pure networks that the budget excludes.
        planned_epochs: Epochs announced beforehand.
        epoch_seconds: Measured time of one, announced too.
        seconds: Wall time of everything.
    """

    trained: tuple[Trained, ...]
    metric: str
    bigger: bool
    kept: tuple[str, ...]
    rungs: tuple[int, ...]
    left_out: tuple[str, ...]
    planned_epochs: int
    epoch_seconds: float
    seconds: float

    @cached_property
    def ranking(self) -> list[Trained]:
        """All that could be trained, best first; equal scores by fewest FLOPs, then in lexicographic order."""
        sign = -1 if self.bigger else 1
        return sorted(
            (one for one in self.trained if not math.isnan(one.score)),
            key=lambda one: (sign * one.score, one.costs["flops"], str(one.candidate.architecture)),
        )

    @property
    def winner(self) -> Trained:
        """The candidate that validated best."""
        return self.ranking[0]

    @property
    def epochs(self) -> int:
        """Epochs trained, over all candidates."""
        return sum(one.epochs for one in self.trained)
