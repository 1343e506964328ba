"""The screen: log lines of this package as they come, and finished text at the end."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # names of files, models and items may come from strangers


class _Screen(logging.Handler):
    """Writes messages to standard output, above any progress bar being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            _write_nowhere(sys.stdout)
        except OSError:
            self.handleError(record)


@contextmanager
def shown_on_screen() -> Iterator[None]:
    """Show messages of the logger ``recbole_nasr`` (the progress of a run) as plain lines."""
    logger = logging.getLogger("recbole_nasr")
    handler, level = _Screen(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def accept_any_character() -> None:
    """Let characters that the encoding of a console lacks, such as τ on some Windows, become question marks."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def show(text: str = "") -> None:
    """Write ``text`` and a line end to standard output; what steers a terminal becomes a question mark."""
    _write(sys.stdout, _CONTROL.sub("?", text) + "\n")


def show_error(text: str) -> None:
    """Write one line that starts with ``error:`` to standard error."""
    _write(sys.stderr, f"error: {_CONTROL.sub('?', ' '.join(text.split()))}\n")


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _write_nowhere(stream)


def _write_nowhere(stream: TextIO) -> None:
    """Drop what is still written to ``stream``: who closes a pager, or reads with ``head``, does not end the work."""
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
