"""Reading RecBole's checkpoints without running what they name.

A checkpoint is a pickle, and a pickle may name any function and call it. RecBole's hold a whole `Config`, in
protocol 4, which ``torch.load(weights_only=True)`` cannot read. The unpickler here builds tensors, plain
containers and one `Config`, and nothing else: a class of RecBole or of this package (the ``model_class`` of
the `Config`) is read as a name and looked up only after unpickling is over, so that nothing in the file can
call it. That matters: ``Config(config_dict=…)`` evaluates strings.
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import os
import pickle
import types
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from recbole_nasr.errors import CheckpointError
from recbole_nasr.patching import swapped

_OWN_PACKAGES = ("recbole", "recbole_nasr")

_PLAIN = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),  # bytes, in protocol 2
    ("__builtin__", "set"),
    ("builtins", "set"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
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


@dataclass(frozen=True)
class _ClassName:
    """A class of ours that the file names: not callable, hence of no use to a hostile pickle."""

    module: str
    name: str

    def resolve(self) -> type:
        # Asked again, because a pickle can overwrite the attributes of what it has been given.
        if not _may_be_named(self.module, self.name):
            raise _refusal(self.module, self.name)
        found = getattr(importlib.import_module(self.module), self.name, None)
        if not isinstance(found, type) or found.__module__ != self.module:
            raise _refusal(self.module, self.name)
        return found


def _may_be_named(module: str, name: str) -> bool:
    in_ours = module.partition(".")[0] in _OWN_PACKAGES and "." not in name
    return in_ours or (module, name) == ("yaml.loader", "FullLoader")


def _refusal(module: str, name: str) -> CheckpointError:
    msg = (
        f"The checkpoint names {module}.{name}, which no RecBole checkpoint needs, so it was not read. "
        "Use a checkpoint that you wrote yourself with RecBole or recbole_nasr."
    )
    return CheckpointError(msg)


def _blank_config() -> type:
    """Return a class that makes an empty Config: `Config.__init__` must not run on what a file says."""
    from recbole.config import Config

    class Blank(Config):  # type: ignore[misc]
        def __new__(cls) -> Any:
            return object.__new__(Config)

    return Blank


class _Unpickler(pickle.Unpickler):
    """Knows tensors, containers, RecBole's enumerations and one Config."""

    def find_class(self, module: str, name: str) -> Any:
        # Protocol 4 resolves dots in a name: "recbole.utils" and "os.system" would reach anything.
        if "." in name:
            raise _refusal(module, name)
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if module == "torch" and name.endswith("Storage") and isinstance(getattr(torch, name, None), type):
            return getattr(torch, name)
        if (module, name) == ("recbole.config.configurator", "Config"):
            return _blank_config()
        if not _may_be_named(module, name):
            raise _refusal(module, name)
        named = _ClassName(module, name)
        if module != "recbole.utils.enum_type":
            return named
        found = named.resolve()
        if not issubclass(found, enum.Enum):
            raise _refusal(module, name)
        return found


def _load(*_args: Any, **_kwargs: Any) -> Any:
    # torch calls this only for the format before torch 1.6, which `load_checkpoint` has already refused.
    msg = "The checkpoint is in the format of torch before 1.6; write it again with a current torch."
    raise CheckpointError(msg)


def _pickle_module() -> types.ModuleType:
    module = types.ModuleType("recbole_nasr_restricted_pickle")
    vars(module).update(Unpickler=_Unpickler, load=_load)
    return module


def _check_archive(path: Path) -> None:
    if not path.is_file():
        msg = f"There is no checkpoint file {str(path)!r}; check the path."
        raise CheckpointError(msg)
    if not zipfile.is_zipfile(path):
        msg = f"{str(path)!r} is damaged or not a checkpoint: it is not an archive written by torch.save."
        raise CheckpointError(msg)
    with zipfile.ZipFile(path) as archive:
        # torch.load would hand such an archive to torch.jit.load.
        if any(name.endswith("constants.pkl") for name in archive.namelist()):
            msg = f"{str(path)!r} is a TorchScript program, not a checkpoint of RecBole."
            raise CheckpointError(msg)


def _settle(checkpoint: Any, path: Path) -> dict[str, Any]:
    """Look up the class names, and bring a Config from a GPU machine to this one."""
    if not isinstance(checkpoint, dict):
        msg = f"{str(path)!r} holds a {type(checkpoint).__name__}, not a checkpoint of RecBole."
        raise CheckpointError(msg)
    config = checkpoint.get("config")
    if config is None:
        return checkpoint
    if not hasattr(config, "final_config_dict"):
        msg = f"The configuration in {str(path)!r} is a {type(config).__name__}, not one of RecBole."
        raise CheckpointError(msg)
    for key, value in list(vars(config).items()):
        if isinstance(value, _ClassName):
            setattr(config, key, value.resolve())
    options = config.final_config_dict
    if getattr(options.get("device"), "type", "cpu") == "cuda" and not torch.cuda.is_available():
        options["device"] = torch.device("cpu")
    return checkpoint


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint that RecBole or this package has written.

    Args:
        path: The ``.pth`` file.
        map_location: As in `torch.load`; by default the CPU where there is no GPU.

    Returns:
        What `Trainer._save_checkpoint` wrote: ``config``, ``epoch``, ``cur_step``, ``best_valid_score``,
        ``state_dict``, ``other_parameter``, ``optimizer``.

    Raises:
        CheckpointError: If the file is missing or damaged, or names anything but tensors, plain values and
            classes defined in RecBole or in this package.
    """
    path = Path(path)
    _check_archive(path)
    if map_location is None and not torch.cuda.is_available():
        map_location = "cpu"
    module = _pickle_module()
    try:
        # The open door of weights_only=False leads to `_Unpickler` only.
        loaded = _torch_load(path, map_location=map_location, pickle_module=module, weights_only=False)
        return _settle(loaded, path)
    except CheckpointError:
        raise
    except Exception as error:
        msg = f"The checkpoint {str(path)!r} is damaged or incomplete ({type(error).__name__}: {error})."
        raise CheckpointError(msg) from error


_torch_load = torch.load


@contextlib.contextmanager
def restricted_loading() -> Iterator[None]:
    """Let `torch.load` mean `load_checkpoint` inside the ``with`` block: RecBole calls it with no options."""

    def load(f: str | os.PathLike[str], map_location: Any = None, **_options: Any) -> dict[str, Any]:
        return load_checkpoint(f, map_location)

    with swapped(torch, "load", load):
        yield
