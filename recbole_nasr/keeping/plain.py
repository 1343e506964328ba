"""Objects as plain values and back, so that a saved state names nothing that could be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

_KIND, _VALUE = "__kind__", "__value__"
_ARRAY, _TYPE = "array", "dtype"
_SIGNED = {"uint16": "int16", "uint32": "int32", "uint64": "int64"}
"""Types whose tensors torch 2.4 cannot write or read; their bits are kept as those of the signed ones."""

_SIMPLE = (bool, int, float, str, bytes)


def plain(value: Any) -> Any:
    """Return ``value`` as dictionaries, lists, tuples, numbers, text and tensors on the CPU.

    Args:
        value: Made of those, NumPy arrays and scalars, paths and dataclasses.

    Raises:
        TypeError: If it holds anything else.
    """
    if value is None or type(value) in _SIMPLE:
        return value
    if isinstance(value, Tensor):
        return _own_copy(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return _plain_array(np.array(value))
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        content = {field.name: plain(getattr(value, field.name)) for field in fields(value)}
        return {_KIND: type(value).__name__, _VALUE: content}
    msg = f"A {type(value).__name__} is no plain value."
    raise TypeError(msg)


def rebuilt(value: Any, classes: Iterable[type] = ()) -> Any:
    """Return what :func:`plain` was given; paths stay text.

    Args:
        value: Plain values.
        classes: The dataclasses that may be among them.

    Raises:
        ValueError: If it names another class.
    """
    known = {cls.__name__: cls for cls in classes}

    def build(part: Any) -> Any:
        if isinstance(part, dict) and _KIND in part:
            if part[_KIND] == _ARRAY:
                return _rebuilt_array(part)
            if part[_KIND] not in known:
                msg = f"The state names a {part[_KIND]!r}, which has no place there."
                raise ValueError(msg)
            return known[part[_KIND]](**{key: build(item) for key, item in part[_VALUE].items()})
        if isinstance(part, dict):
            return {key: build(item) for key, item in part.items()}
        return type(part)(build(item) for item in part) if type(part) in (list, tuple) else part

    return build(value)


def _plain_array(array: np.ndarray[Any, Any]) -> dict[str, Any]:
    name = array.dtype.name
    if name not in _SIGNED:
        return {_KIND: _ARRAY, _VALUE: torch.from_numpy(array)}
    return {_KIND: _ARRAY, _VALUE: torch.from_numpy(array.view(_SIGNED[name])), _TYPE: name}


def _rebuilt_array(part: dict[str, Any]) -> np.ndarray[Any, Any]:
    array: np.ndarray[Any, Any] = part[_VALUE].numpy()
    name = part.get(_TYPE)
    return array.view(name) if name in _SIGNED else array


def _own_copy(value: Tensor) -> Tensor:
    """Return a tensor on the CPU with a storage of its own: a file would otherwise hold all that a view is part of."""
    tensor = value.detach().cpu()
    return tensor.clone() if tensor.untyped_storage().nbytes() != tensor.numel() * tensor.element_size() else tensor
