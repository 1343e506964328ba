"""A TensorBoard writer for trainings whose events are not those of the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class NoEvents:
    """Stands for a TensorBoard writer, and writes nothing."""

    def __getattr__(self, _name: str) -> Callable[..., Any]:
        return lambda *_args, **_kwargs: None
