"""What this package raises on purpose; every message says the rule, the value and what to do."""

from __future__ import annotations

import difflib
import errno
import math
from collections.abc import Callable, Iterable
from typing import Any

LARGEST_INTEGER = 2**31 - 1
"""No key takes a larger one: what counts or measures anything here is far below, and arrays overflow above."""


class NASRError(Exception):
    """Base of all errors a user can cause; the command line prints it in one line and exits with 2."""


class ConfigError(NASRError, ValueError):
    """A configuration key or value that cannot be used."""


class ArchitectureError(NASRError, ValueError):
    """An architecture, operation name or search space that cannot be built."""


class DataError(NASRError, ValueError):
    """Interaction data that cannot be read, or that is too small to split."""


class CheckpointError(NASRError, ValueError):
    """A checkpoint that is damaged or names objects it has no business naming."""


class NewerFileError(NASRError):
    """A file that a newer version of this package wrote."""


class WriteError(NASRError, OSError):
    """A file that cannot be written, such as on a full disk; what was there before is untouched."""

    @classmethod
    def of(cls, path: object, error: Exception) -> WriteError:
        """Say which file could not be written, and why."""
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())[:80]
        made = cls(f"{path} cannot be written ({reason}); {way_out(error)}, or name another folder.")
        made.errno = getattr(error, "errno", None)
        return made


class NumericalError(NASRError, ArithmeticError):
    """A loss or score that is not finite."""


class MemoryLimitError(NASRError, MemoryError):
    """Work that does not fit into the memory of a GPU, however small its parts."""


class ModelError(NASRError):
    """One of RecBole's own models cannot be built, trained or measured with its settings, or several runs ended so."""


class StoppedError(NASRError):
    """A run that whoever watches its validation scores has ended early."""


def way_out(error: Exception) -> str:
    """Return what to do where the system refuses to write, such as ``free space there``."""
    if isinstance(error, PermissionError):
        return "check its permissions"
    return "make it writable" if getattr(error, "errno", None) == errno.EROFS else "free space there"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of the known words, or ``""``.

    Example:
        >>> did_you_mean("lerning_rate", ["learning_rate", "epochs"])
        " Did you mean 'learning_rate'?"
    """
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), list(lowered), n=1, cutoff=0.6)
    return f" Did you mean {lowered[close[0]]!r}?" if close else ""


def is_finite(value: object) -> bool:
    """Return whether ``value`` is a number of a size that can be computed with.

    Example:
        >>> is_finite(0.5), is_finite(True), is_finite(float("nan")), is_finite(10**400)
        (True, False, False, False)
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return math.isfinite(value) if isinstance(value, float) else abs(value) < _LARGEST


def whole(low: int, high: int = LARGEST_INTEGER) -> Callable[[Any], bool]:
    """Return what says of a value whether it is a whole number from ``low`` to ``high``.

    Example:
        >>> whole(1)(3), whole(1)(0), whole(1)(True), whole(1)(3.0)
        (True, False, False, False)
    """
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def on_or_off(key: str, value: object) -> bool:
    """Return the value of a key that is on or off.

    Raises:
        ConfigError: If it is anything but True or False; the text ``no`` would count as true.

    Example:
        >>> on_or_off("quick", True)
        True
    """
    if not isinstance(value, bool):
        msg = f"`{key}` must be True or False, but is {value!r:.80}."
        raise ConfigError(msg)
    return value


_LARGEST = 2**63
