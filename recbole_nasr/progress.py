"""Progress of long work: a bar with the time left on a terminal, plain log lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_LOG = logging.getLogger("recbole_nasr")
_LOG_EVERY_S = 20.0


def duration(seconds: float, digits: int = 1) -> str:
    """Return a time span for people, with ``digits`` after the point where it is under a minute.

    Example:
        >>> duration(8.25), duration(8.25, 0), duration(75), duration(7260)
        ('8.2 s', '8 s', '1 min 15 s', '2 h 1 min')
    """
    if round(seconds) < 60:
        return f"{seconds:.{digits}f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def plural(n: int, noun: str, ending: str = "s") -> str:
    """Return ``noun`` as it follows the number ``n``.

    Example:
        >>> plural(1, "seed"), plural(0, "seed"), plural(2, "search", "es")
        ('seed', 'seeds', 'searches')
    """
    return noun if n == 1 else noun + ending


class Progress:
    """Counts work done; this base class shows nothing."""

    def advance(self, n: int = 1, **info: object) -> None:
        """Count ``n`` more units as done, and show ``info`` beside them until there is other."""


class _Bar(Progress):
    def __init__(self, bar: tqdm) -> None:
        self._bar = bar

    def advance(self, n: int = 1, **info: object) -> None:
        if info:
            self._bar.set_postfix({key: str(value) for key, value in info.items()}, refresh=False)
        self._bar.update(n)


class _Lines(Progress):
    def __init__(self, total: int, label: str) -> None:
        self._total, self._label, self._done, self._info = total, label, 0, ""
        self._start = self._last = time.monotonic()

    def advance(self, n: int = 1, **info: object) -> None:
        self._done += n
        if info:
            self._info = "".join(f", {key} {value}" for key, value in info.items())
        now = time.monotonic()
        if now - self._last < _LOG_EVERY_S or not 0 < self._done < self._total:
            return
        self._last = now
        left = (now - self._start) * (self._total - self._done) / self._done
        share = 100 * self._done // self._total
        _LOG.info("%s: %d %%, about %s left%s", self._label, share, duration(left, 0), self._info)

    def finish(self) -> None:
        _LOG.info("%s: done in %s%s", self._label, duration(time.monotonic() - self._start), self._info)


@contextmanager
def open_progress(total: int, label: str, unit: str = "step") -> Iterator[Progress]:
    """Show the progress of ``total`` units of work called ``label`` until the block ends.

    On a terminal a bar with the time left; otherwise a log line at the end and, while it lasts, every 20 seconds.
    """
    if sys.stderr.isatty():
        with tqdm(
            total=total, desc=label, unit=unit, unit_scale=total > 10_000, leave=False, dynamic_ncols=True
        ) as bar:
            yield _Bar(bar)
        return
    lines = _Lines(total, label)
    yield lines
    lines.finish()
