"""A repair: a function that fixes one place in RecBole, with the facts about that place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

BOTH = ("1.2.0", "1.2.1")


@dataclass(frozen=True)
class Repair:
    """One repair of RecBole.

    Attributes:
        apply: Applies the repair if this machine needs it; returns whether it did.
        file: File of RecBole that has the fault.
        line: Line in RecBole 1.2.1, or in 1.2.0 if only that has the fault.
        text: Code on that line.
        versions: Versions of RecBole that have the fault.
        why: What goes wrong without it, in one line.
    """

    apply: Callable[[], bool]
    file: str
    line: int
    text: str
    versions: tuple[str, ...]
    why: str

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.apply.__name__

    def __call__(self) -> bool:
        """Apply the repair if it is needed; return whether it was applied."""
        return self.apply()


def repair(
    file: str, line: int, text: str, *, why: str, versions: tuple[str, ...] = BOTH
) -> Callable[[Callable[[], bool]], Repair]:
    """Return a decorator that turns a function into a `Repair`."""
    return lambda apply: Repair(apply, file, line, text, versions, why)
