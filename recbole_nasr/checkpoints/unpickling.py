"""An unpickler that builds the objects RecBole saves, and runs nothing that a file asks for.

A pickle may name any function and have it called. This one knows two kinds of names:

- plain values: containers, numbers, arrays, tensors, tables. What builds them does nothing else;
- classes of RecBole, of this package, of ``torch.nn``, and classes derived from RecBole's that the program has
  imported itself. For each the pickle gets a stand-in that makes an *empty* object of the class, which the pickle
  then fills: no ``__init__`` runs on what a file says. That matters: ``Config(config_dict=…)`` evaluates strings.

References to classes, bound methods and loggers are put in once unpickling is over, when nothing can call them.

It is the unpickler that Python has in Python (the one in C cannot be told what to do with a state): what a file may
say to the objects it makes is in `recbole_nasr.checkpoints.rules`.
"""

from __future__ import annotations

import enum
import importlib
import io
import logging
import re
import sys
import types
from typing import Any

import numpy as np
import torch

from recbole_nasr.checkpoints.rules import RuledUnpickler
from recbole_nasr.errors import CheckpointError

_OWN_PACKAGES = ("recbole", "recbole_nasr")

_PLAIN = {
    ("__builtin__", "set"),
    ("builtins", "set"),
    ("builtins", "slice"),
    ("builtins", "list"),  # the factory of a defaultdict
    ("builtins", "int"),
    ("collections", "OrderedDict"),
    ("collections", "Counter"),
    ("collections", "defaultdict"),
    ("numpy", "ndarray"),
    ("numpy", "matrix"),
    ("numpy.matrixlib.defmatrix", "matrix"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.series", "Series"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.numeric", "Int64Index"),  # before pandas 2
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas.core.internals.managers", "SingleBlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("scipy.sparse._csr", "csr_matrix"),
    ("scipy.sparse._csc", "csc_matrix"),
    ("scipy.sparse._coo", "coo_matrix"),
    ("scipy.sparse._lil", "lil_matrix"),
    ("scipy.sparse._dok", "dok_matrix"),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    # A user may hand RecBole a Path as a configuration value; Python 3.13 renamed the module.
    ("pathlib", "PosixPath"),
    ("pathlib", "WindowsPath"),
    ("pathlib._local", "PosixPath"),
    ("pathlib._local", "WindowsPath"),
}


def may_be_named(module: str, name: str) -> bool:
    """Return whether a file may name this class without anybody having imported it."""
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        # Protocol 4 resolves dots in a name: "recbole.utils" and "os.system" would reach anything.
        return False
    layer = module.startswith("torch.nn.modules.") or module == "torch.utils.data.sampler"
    return layer or module.partition(".")[0] in _OWN_PACKAGES or (module, name) == ("yaml.loader", "FullLoader")


def find_named_class(module: str, name: str) -> type | None:
    """Return the class, or None where a file may not name it."""
    if may_be_named(module, name):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            return None
        return found if isinstance(found, type) and found.__module__ == module else None
    # A class of the user or of another extension; only what the program itself has imported.
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None
    return found if isinstance(found, type) and issubclass(found, _extensible()) else None


def _extensible() -> tuple[type, ...]:
    from recbole.config import Config
    from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
    from recbole.data.dataset import Dataset
    from recbole.model.abstract_recommender import AbstractRecommender
    from recbole.sampler.sampler import AbstractSampler

    return AbstractDataLoader, AbstractRecommender, AbstractSampler, Config, Dataset


class _Method:
    """A bound method that the file names, such as the ``collate_fn`` of a loader; looked up at the end."""

    def __init__(self, owner: Any = None, name: str = "") -> None:
        self.owner, self.name = owner, name


def _attribute(owner: Any = None, name: str = "") -> Any:
    """Return the member of an enumeration, which early releases of Python 3.11 write as an attribute; else a method."""
    if isinstance(owner, type) and issubclass(owner, enum.Enum):
        if name not in owner.__members__:
            raise _refusal(owner.__qualname__, str(name))
        return owner.__members__[name]
    return _Method(owner, name)


class _Logger:
    """A logger that the file names; looked up at the end."""

    def __init__(self, name: str | None = None) -> None:
        self.name = name


def _load_storage(data: bytes) -> Any:
    """Read the numbers of one tensor; torch's own function of this place opens a free pickle for it."""
    return _torch_load(io.BytesIO(data), weights_only=True)


_ENCODE = ("_codecs", "encode")


def _encode(text: str, encoding: str) -> bytes:
    """Return bytes, which protocol 2 writes as text; other codecs import modules and unpack."""
    if encoding != "latin1":
        raise _refusal(*_ENCODE)
    return text.encode("latin1")


_DTYPE = ("numpy", "dtype")
_PLAIN_DTYPE = re.compile(r"[?biufcmMOSUVT]\d{0,6}")


def _dtype(name: str, *_options: bool) -> np.dtype[Any]:
    """Return a plain data type of its own, to be given its order of bytes; no record, whose parts could overlap."""
    if not isinstance(name, str) or not _PLAIN_DTYPE.fullmatch(name):
        raise _refusal(*_DTYPE)
    return np.dtype(name, False, True)  # noqa: FBT003 - as it is pickled


_torch_load = torch.load

_GETATTR = ("builtins", "getattr")
_REPLACED = {
    _GETATTR: _attribute,
    ("__builtin__", "getattr"): _attribute,  # its name in protocol 2, which torch.save writes
    ("logging", "getLogger"): _Logger,
    ("torch.storage", "_load_from_bytes"): _load_storage,
    _ENCODE: _encode,
    _DTYPE: _dtype,
}


class RestrictedUnpickler(RuledUnpickler):
    """Builds what the module's first lines list.

    Raises:
        CheckpointError: For any other name in the file.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stand_ins: dict[tuple[str, str], type] = {}
        self._real: dict[type, type] = {}  # beyond the reach of the pickle, unlike attributes of a stand-in
        self._made: list[Any] = []

    def load(self) -> Any:
        """Return the object in the file."""
        loaded = super().load()
        for made in self._made:
            held = vars(made)
            held.update({key: self._settled(made, key, value) for key, value in held.items()})
        return loaded

    def find_class(self, module: str, name: str) -> Any:
        """Return what a file gets for a name."""
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if (module, name) in _REPLACED:
            return _REPLACED[module, name]
        if module == "torch":
            found = getattr(torch, name, None)
            if isinstance(found, torch.dtype) or (name.endswith("Storage") and isinstance(found, type)):
                return found
        if (module, name) not in self._stand_ins:
            real = find_named_class(module, name)
            if real is None:
                raise _refusal(module, name)
            if issubclass(real, enum.Enum):
                return real
            self._stand_ins[module, name] = self._stand_in(real)
        return self._stand_ins[module, name]

    def _stand_in(self, real: type) -> type:
        made = self._made

        class StandIn:
            def __new__(cls, *_args: Any, **_kwargs: Any) -> Any:
                made.append(object.__new__(real))
                return made[-1]

        self._real[StandIn] = real
        return StandIn

    def _settled(self, owner: Any, key: str, value: Any) -> Any:
        if callable(value) and not isinstance(value, _Method) and callable(getattr(type(owner), key, None)):
            raise _refusal(type(owner).__qualname__, f"{key}, a method of its own that would be replaced")
        if isinstance(value, type):
            return self._real.get(value, value)
        if isinstance(value, _Logger):
            return logging.getLogger(value.name)
        if isinstance(value, _Method):
            function = getattr(type(owner), value.name, None)
            if value.owner is not owner or not isinstance(function, types.FunctionType):
                raise _refusal(*_GETATTR)
            return types.MethodType(function, owner)
        return value


def _refusal(module: str, name: str) -> CheckpointError:
    msg = (
        f"The file names {module}.{name}, which is no value and no class of RecBole, so it was not read. "
        "Use a file that you wrote yourself; if that is a class of your own that derives from RecBole's, import "
        "its module first."
    )
    return CheckpointError(msg)
