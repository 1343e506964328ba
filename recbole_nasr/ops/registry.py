"""Operation names: a family and its numbers, such as ``transformer_h4`` or ``tcn_d1_2``.

A name is never digits alone, and always starts with a letter: RecBole evaluates strings of its configuration as
Python, and these survive it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from recbole_nasr.errors import ArchitectureError, did_you_mean
from recbole_nasr.ops.base import LayerSettings, Operation

_FAMILIES: dict[str, tuple[re.Pattern[str], type[Operation], str]] = {}
_MAX_NAME = 64
_MAX_DIGITS = 4

OperationT = TypeVar("OperationT", bound=type[Operation])


def register_operation(family: str, pattern: str, *, example: str) -> Callable[[OperationT], OperationT]:
    """Make the decorated class the builder of every name that matches ``pattern``.

    Args:
        family: Short name of the family; registering it twice replaces the first.
        pattern: Regular expression of the whole name. Each named group holds numbers joined by ``_`` and reaches
            the constructor, :meth:`Operation.check` and :meth:`Operation.flops` as a tuple of integers.
        example: A valid name, shown in error messages.
    """

    def register(cls: OperationT) -> OperationT:
        _FAMILIES[family] = (re.compile(pattern, re.ASCII), cls, example)
        return cls

    return register


def operation_class(name: str) -> tuple[type[Operation], dict[str, tuple[int, ...]]]:
    """Return the class behind ``name`` and the numbers in it.

    Raises:
        ArchitectureError: If no registered family knows the name.
    """
    if len(name) <= _MAX_NAME:
        for pattern, cls, _ in _FAMILIES.values():
            match = pattern.fullmatch(name)
            if match:
                return cls, {key: _numbers(name, text) for key, text in match.groupdict().items()}
    examples = [example for _, _, example in _FAMILIES.values()]
    shown = name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"
    msg = (
        f"An operation must be one of the known families ({', '.join(examples)}), "
        f"but got {shown!r}.{did_you_mean(shown, examples)}"
    )
    raise ArchitectureError(msg)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    parts = text.split("_")
    if any(len(part) > _MAX_DIGITS or part.startswith("0") for part in parts):
        msg = f"Numbers in an operation name must lie in 1..9999, without leading zeros, but got {name!r}."
        raise ArchitectureError(msg)
    return tuple(int(part) for part in parts)


def validate_operation(name: str, settings: LayerSettings) -> None:
    """Check that ``name`` can be built under ``settings``, without building it.

    Raises:
        ArchitectureError: If the name is unknown or its numbers do not fit the settings.
    """
    cls, numbers = operation_class(name)
    cls.check(settings, **numbers)


def build_operation(name: str, settings: LayerSettings) -> Operation:
    """Build the operation called ``name`` with fresh weights.

    Raises:
        ArchitectureError: If the name is unknown or its numbers do not fit the settings.
    """
    validate_operation(name, settings)
    cls, numbers = operation_class(name)
    return cls(settings, **numbers)


def operation_flops(name: str, settings: LayerSettings, length: int) -> int:
    """Return the forward FLOPs of operation ``name`` for one sequence of ``length`` items."""
    cls, numbers = operation_class(name)
    return cls.flops(settings, length, **numbers)
