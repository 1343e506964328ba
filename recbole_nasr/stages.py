"""How long each stage of some work takes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class StageClock:
    """Wall time of stages that follow one another; a stage that comes again adds to its time.

    Args:
        seconds: Stages that are over, such as those of a run before it was interrupted.

    Attributes:
        seconds: Wall time of each stage that is over.
    """

    def __init__(self, seconds: Mapping[str, float] | None = None) -> None:
        self.seconds = dict(seconds or {})
        self._open: tuple[str, float] | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the block as the stage ``name``, also if it ends with an error."""
        self._open = (name, time.perf_counter())
        try:
            yield
        finally:
            self.seconds, self._open = self.elapsed(), None

    def elapsed(self) -> dict[str, float]:
        """Return the wall time of each stage so far, that of the present one included."""
        if self._open is None:
            return dict(self.seconds)
        name, started = self._open
        return {**self.seconds, name: self.seconds.get(name, 0.0) + time.perf_counter() - started}
