"""Ctrl-C and SIGTERM: during a training they take effect between two steps, so that its state can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Terminated(KeyboardInterrupt):
    """The process was asked to end by SIGTERM."""


class _Asked:
    """The signal that waits for the present step to end; one for the process, which has one handler."""

    within_steps = 0
    by: int | None = None


def asked_to_stop() -> bool:
    """Return whether a signal waits for the present step to end."""
    return _Asked.by is not None


def stop_if_asked() -> None:
    """Stop now if a signal came meanwhile.

    Raises:
        KeyboardInterrupt: For Ctrl-C; its subclass :class:`Terminated` for SIGTERM.
    """
    if _Asked.by is not None:
        number, _Asked.by = _Asked.by, None
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


@contextmanager
def within_steps() -> Iterator[None]:
    """Let signals wait for the end of a step; the caller checks for them after each step."""
    _Asked.within_steps += 1
    try:
        yield
    finally:
        _Asked.within_steps -= 1
    stop_if_asked()


@contextmanager
def outside_steps() -> Iterator[None]:
    """Let signals stop at once what is done here, though a caller lets them wait.

    Raises:
        KeyboardInterrupt: If one has waited.
    """
    before, _Asked.within_steps = _Asked.within_steps, 0
    try:
        stop_if_asked()
        yield
    finally:
        _Asked.within_steps = before


def _on_signal(number: int, _frame: FrameType | None) -> None:
    first = _Asked.by is None
    _Asked.by = number
    if not _Asked.within_steps or not first:  # a second signal does not wait
        stop_if_asked()


@contextmanager
def signals_stop() -> Iterator[None]:
    """Handle SIGINT and SIGTERM as above within the block; outside the main thread this does nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, _on_signal) for number in numbers]
    try:
        yield
    finally:
        _Asked.by = None
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
