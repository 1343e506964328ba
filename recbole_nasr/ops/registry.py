"""Operation names: a family and its numbers, such as ``transformer_h4`` or ``tcn_d1_2``.

A name is never digits alone, and always starts with a letter: RecBole evaluates strings of its configuration as
Python, and these survive it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from recbole_nasr.errors import ArchitectureError, did_you_mean
from recbole_nasr.ops.base import LayerSettings, Operation

_FAMILIES: dict[str, tuple[re.Pattern[str], type[Operation], str]] = {}
_NAME = re.compile(r"[A-Za-z]\w*", re.ASCII)
_MAX_NAME = 64
_MAX_DIGITS = 4

OperationT = TypeVar("OperationT", bound=type[Operation])


def register_operation(family: str, pattern: str, *, example: str) -> Callable[[OperationT], OperationT]:
    """Make the decorated class the builder of every name that matches ``pattern``.

    Args:
        family: Short name of the family. Defining the same class again, as a notebook does, replaces it.
        pattern: Regular expression of the whole name. Each named group holds numbers joined by ``_`` and reaches
            the constructor, :meth:`Operation.check` and :meth:`Operation.flops` as a tuple of integers; a group
            that does not match is left out.
        example: A valid name, shown in error messages.

    Raises:
        ArchitectureError: If the family or one of its names is taken, the pattern cannot be used, or what is
            decorated is no operation.
    """

    def register(cls: OperationT) -> OperationT:
        _check_entry(family, pattern, example, cls)
        _FAMILIES[family] = (re.compile(pattern, re.ASCII), cls, example)
        return cls

    return register


def _check_entry(family: str, pattern: str, example: str, cls: type) -> None:
    what = f"The operation family {family!r}"
    if not (isinstance(cls, type) and issubclass(cls, Operation)):
        msg = f"{what} must be a class derived from recbole_nasr.ops.Operation, but is {cls!r:.80}."
        raise ArchitectureError(msg)
    try:
        compiled = re.compile(pattern, re.ASCII)
    except re.error as error:
        msg = f"{what} must have a regular expression as its pattern, but {pattern!r} is none: {error}."
        raise ArchitectureError(msg) from None
    match = compiled.fullmatch(example)
    if not _NAME.fullmatch(example) or not match or not all(map(_is_numbers, match.groupdict().values())):
        msg = (
            f"{what} must have an example of letters, digits and `_` that its pattern matches, with numbers in "
            f"every named group, but has {example!r} for {pattern!r}."
        )
        raise ArchitectureError(msg)
    for other, (known, owner, name) in _FAMILIES.items():
        if (owner.__module__, owner.__qualname__) == (cls.__module__, cls.__qualname__):
            continue  # the same class, defined again
        if other == family or known.fullmatch(example) or compiled.fullmatch(name):
            taken = f"{what} ({example!r}) is taken by {owner.__module__}.{owner.__qualname__} ({name!r})"
            msg = f"{taken}; choose another name or a narrower pattern."
            raise ArchitectureError(msg)


def _is_numbers(text: str | None) -> bool:
    return text is None or all(part.isdigit() for part in text.split("_"))


@contextmanager
def registering(forget: str | None = None) -> Iterator[None]:
    """Put all families back if what is registered inside fails; first forget those of a module that is run again."""
    before = dict(_FAMILIES)
    for family in families_of(forget) if forget else ():
        del _FAMILIES[family]
    try:
        yield
    except BaseException:
        _FAMILIES.clear()
        _FAMILIES.update(before)
        raise


def families_of(module: str) -> list[str]:
    """Return the families whose classes are defined in ``module`` or below it."""
    return [name for name, (_, cls, _) in _FAMILIES.items() if f"{cls.__module__}.".startswith(f"{module}.")]


def operation_class(name: str) -> tuple[type[Operation], dict[str, tuple[int, ...]]]:
    """Return the class behind ``name`` and the numbers in it.

    Raises:
        ArchitectureError: If no registered family knows the name.
    """
    family, match = _matched(name)
    given = {key: text for key, text in match.groupdict().items() if text is not None}
    return _FAMILIES[family][1], {key: _numbers(name, text) for key, text in given.items()}


def family_of(name: str) -> str:
    """Return the family of operation ``name``.

    Raises:
        ArchitectureError: If no registered family knows the name.

    Example:
        >>> family_of("transformer_h4")
        'transformer'
    """
    return _matched(name)[0]


def _matched(name: str) -> tuple[str, re.Match[str]]:
    if len(name) <= _MAX_NAME:
        for family, (pattern, _, _) in _FAMILIES.items():
            match = pattern.fullmatch(name)
            if match:
                return family, match
    examples = known_operations().values()
    shown = name if len(name) <= _MAX_NAME else name[:_MAX_NAME] + "…"
    hint = did_you_mean(shown, examples) or " Operations of your own come from `ops_module`."
    msg = f"An operation must be one of the known families ({', '.join(examples)}), but got {shown!r}.{hint}"
    raise ArchitectureError(msg)


def _numbers(name: str, text: str) -> tuple[int, ...]:
    parts = text.split("_")
    if any(not part.isdigit() or len(part) > _MAX_DIGITS or part.startswith("0") for part in parts):
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


def known_operations() -> dict[str, str]:
    """Return each registered family with one of its names, in the order in which they were registered."""
    return {family: example for family, (_, _, example) in _FAMILIES.items()}


def operation_flops(name: str, settings: LayerSettings, length: int) -> int:
    """Return the forward FLOPs of operation ``name`` for one sequence of ``length`` items."""
    cls, numbers = operation_class(name)
    return cls.flops(settings, length, **numbers)
