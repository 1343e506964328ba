"""What a pickle may do to the objects that it makes.

Naming only harmless things is not enough. A pickle calls what it has, sets attributes of what it has, and hands states
to what it has: to NumPy a data type that takes any bytes for a pointer, to a class another method.
"""

from __future__ import annotations

import pickle
import types
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from scipy import sparse

from recbole_nasr.errors import CheckpointError

_COMPILED = type(pd.api.types.infer_dtype)  # the functions of Cython have a type of their own
_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, _COMPILED)
_Steps: Any = pickle._Unpickler  # noqa: SLF001 - Python's own in Python, whose steps can be looked at; C's cannot


class RuledUnpickler(_Steps):  # type: ignore[misc]  # it has no types
    """An unpickler that calls types and plain functions only, and gives a state only to objects that may have it.

    Raises:
        CheckpointError: If a file asks for more.
    """

    dispatch = dict(_Steps.dispatch)  # noqa: RUF012 - as in the base class

    def get_extension(self, code: int) -> NoReturn:
        """Refuse a number that stands for a class somewhere in the program."""
        _refuse(f"uses the registered number {code}")

    def _instantiate(self, klass: Any, args: Any) -> None:
        _check_callable(klass)
        super()._instantiate(klass, args)


def _below(unpickler: Any) -> Any:
    """Return what is below the top of the stack: what is called, or gets a state."""
    return unpickler.stack[-2]


def _before_mark(unpickler: Any) -> Any:
    """Return what gets all that lies above the last mark."""
    return unpickler.metastack[-1][-1]


def _check_callable(function: Any) -> None:
    # An array of objects made from bytes has addresses of the file's choice; a storage asks for memory.
    kind = function if isinstance(function, type) else type(None)
    raw = issubclass(kind, np.ndarray) or kind.__name__.endswith("Storage")
    if raw or not isinstance(function, (type, *_FUNCTIONS)):
        _refuse(f"calls {getattr(function, '__qualname__', type(function).__name__)}")


def _check_kind(target: Any, kind: type) -> None:
    if not isinstance(target, kind):
        _refuse(f"puts entries into a {type(target).__qualname__}, which is no {kind.__name__}")


def _check_state(target: Any, state: Any) -> None:
    if isinstance(target, (type, *_FUNCTIONS)):
        _refuse(f"changes {target.__qualname__}")
    if isinstance(target, np.dtype):
        _check_dtype(target, state)


def _check_dtype(dtype: np.dtype[Any], state: Any) -> None:
    """Refuse a state that says of a data type more than its order of bytes, or of a time more than its unit.

    What NumPy writes for a plain type is what that type already says of itself, apart from these; with another set of
    flags it would take numbers from the file for the addresses of objects.
    """
    reduced: Any = dtype.__reduce__()
    own: tuple[Any, ...] = reduced[2]
    same = isinstance(state, tuple) and dtype.fields is None and (state[:1], state[2:8]) == (own[:1], own[2:8])
    if not same or not (state[8:] == own[8:] or (dtype.kind in "mM" and len(state) == len(own))):
        _refuse(f"changes NumPy's type {dtype}")


def _check_matrix(unpickler: Any) -> None:
    built = unpickler.stack[-1]
    if sparse.issparse(built) and hasattr(built, "check_format"):
        built.check_format(full_check=True)  # SciPy reads wherever a matrix points to


def _refuse(what: str) -> NoReturn:
    msg = f"The file {what}, which no value needs, so it was not read. Use a file that you wrote yourself."
    raise CheckpointError(msg)


_BEFORE: dict[bytes, Callable[[Any], None]] = {
    pickle.REDUCE: lambda unpickler: _check_callable(_below(unpickler)),
    pickle.NEWOBJ: lambda unpickler: _check_callable(_below(unpickler)),
    pickle.BUILD: lambda unpickler: _check_state(_below(unpickler), unpickler.stack[-1]),
    pickle.APPEND: lambda unpickler: _check_kind(_below(unpickler), list),
    pickle.APPENDS: lambda unpickler: _check_kind(_before_mark(unpickler), list),
    pickle.SETITEM: lambda unpickler: _check_kind(unpickler.stack[-3], dict),
    pickle.SETITEMS: lambda unpickler: _check_kind(_before_mark(unpickler), dict),
    pickle.ADDITEMS: lambda unpickler: _check_kind(_before_mark(unpickler), set),
}
_AFTER = {pickle.BUILD: _check_matrix}


def _ruled(opcode: bytes) -> Callable[[Any], None]:
    step, before, after = _Steps.dispatch[opcode[0]], _BEFORE[opcode], _AFTER.get(opcode)

    def take(unpickler: Any) -> None:
        before(unpickler)
        step(unpickler)
        if after is not None:
            after(unpickler)

    return take


RuledUnpickler.dispatch.update({opcode[0]: _ruled(opcode) for opcode in _BEFORE})
