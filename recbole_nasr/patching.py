"""Replacing a function or module of another package, for good or for the length of a block."""

from __future__ import annotations

import contextlib
import functools
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

_WRAPPERS = "_recbole_nasr_wrappers"


def wrap(owner: Any, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace the function ``owner.name`` by ``make(original)``, once for each ``make``.

    Args:
        owner: A module or class.
        name: The attribute to replace.
        make: Takes the original function and returns the one that calls it.
    """
    original = getattr(owner, name)
    maker = f"{make.__module__}.{make.__qualname__}"
    done: tuple[str, ...] = getattr(original, _WRAPPERS, ())
    if maker in done:
        return
    wrapper = functools.wraps(original)(make(original))
    setattr(wrapper, _WRAPPERS, (*done, maker))
    setattr(owner, name, wrapper)


def variant(module: types.ModuleType, **names: Any) -> types.ModuleType:
    """Return a copy of ``module`` in which ``names`` are others, for the one module that is to see them."""
    copied = types.ModuleType(module.__name__)
    vars(copied).update(vars(module), **names)
    return copied


@contextlib.contextmanager
def swapped(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set ``owner.name`` to ``value`` inside the ``with`` block."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextlib.contextmanager
def stubbed(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Put stand-ins into ``sys.modules`` inside the ``with`` block, then restore what was there."""
    before = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            sys.modules.pop(name, None)
        sys.modules.update(before)
