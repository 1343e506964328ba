"""Reading the files that RecBole saves without running what they name.

These are checkpoints, and the caches of ``save_dataset`` and ``save_dataloaders``. Both are pickles; checkpoints are
of protocol 4, which ``torch.load(weights_only=True)`` cannot read. What they may name is in
`recbole_nasr.checkpoints.unpickling`.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from recbole_nasr.checkpoints.unpickling import RestrictedUnpickler
from recbole_nasr.documents import check_version
from recbole_nasr.errors import CheckpointError, NewerFileError
from recbole_nasr.patching import swapped

CHECKPOINT_VERSION = 1
"""Of what our models write into RecBole's checkpoints, beside the weights."""

_FOLDER_NAME = re.compile(r"(?!\.)[\w.+-]{1,200}")
_MOST_VALUES = 1_000_000


def _load(*_args: Any, **_kwargs: Any) -> Any:
    # torch calls this only for the format before torch 1.6, which `load_checkpoint` has already refused.
    msg = "The checkpoint is in the format of torch before 1.6; write it again with a current torch."
    raise CheckpointError(msg)


class _CheckpointUnpickler(RestrictedUnpickler):
    """Refuses a tensor that says it is larger than its record: torch 2.4 would read on in the memory behind it.

    Raises:
        ValueError: If there is one.
    """

    sizes: Mapping[str, int]
    """Bytes of every record of the archive."""

    persistent_load: Callable[[Any], Any]

    def load(self) -> Any:
        """Return the object in the file."""
        given = self.persistent_load  # torch has put it here

        def checked(saved_id: Any) -> Any:
            _, kind, key, _, n_numbers = saved_id
            n_bytes = n_numbers * (1 if kind is torch.UntypedStorage else kind.dtype.itemsize)
            if not 0 <= n_bytes <= self.sizes[f"data/{key}"]:
                msg = f"a tensor says it has {n_bytes} bytes, its record has {self.sizes[f'data/{key}']}"
                raise ValueError(msg)
            return given(saved_id)

        self.persistent_load = checked
        return super().load()


def _pickle_module(sizes: Mapping[str, int]) -> types.ModuleType:
    module = types.ModuleType("recbole_nasr_restricted_pickle")
    unpickler = type("Unpickler", (_CheckpointUnpickler,), {"sizes": sizes})
    vars(module).update(Unpickler=unpickler, load=_load)
    return module


def _check_archive(path: Path) -> dict[str, int]:
    """Check that the file is an archive of torch's; return the bytes of each record, by its name in the archive."""
    if not path.is_file():
        msg = f"There is no checkpoint file {str(path)!r}; check the path."
        raise CheckpointError(msg)
    if not zipfile.is_zipfile(path):
        msg = f"{str(path)!r} is damaged or not a checkpoint: it is not an archive written by torch.save."
        raise CheckpointError(msg)
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_kind(members, path)
            bad = archive.testzip()  # torch reads a weight whose bits have flipped as it is
    except CheckpointError:
        raise
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        msg = f"{str(path)!r} is damaged: its records cannot be read ({error})."
        raise CheckpointError(msg) from error
    if bad is not None:
        msg = f"{str(path)!r} is damaged: the checksum of its record {bad.partition('/')[2]} does not fit."
        raise CheckpointError(msg)
    return {member.filename.partition("/")[2]: member.file_size for member in members}


def _check_kind(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    # torch.load would hand such an archive to torch.jit.load.
    if any(member.filename.endswith("constants.pkl") for member in members):
        msg = f"{str(path)!r} is a TorchScript program, not a checkpoint of RecBole."
        raise CheckpointError(msg)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        msg = f"{str(path)!r} was not written by torch.save, which stores records as they are: one is compressed."
        raise CheckpointError(msg)


def _settle(checkpoint: Any, path: Path) -> dict[str, Any]:
    """Check that this is a checkpoint, and bring its Config from a GPU machine to this one."""
    from recbole.config import Config

    if not isinstance(checkpoint, dict):
        msg = f"{str(path)!r} holds a {type(checkpoint).__name__}, not a checkpoint of RecBole."
        raise CheckpointError(msg)
    config = checkpoint.get("config")
    if config is None:
        return checkpoint
    if not isinstance(config, Config) or type(vars(config).get("final_config_dict")) is not dict:
        msg = f"The configuration in {str(path)!r} is a {type(config).__name__}, not one of RecBole."
        raise CheckpointError(msg)
    options = config.final_config_dict
    _check_settings(options, path)
    teacher = options.get("teacher")
    if teacher is not None and not (isinstance(teacher, str) and teacher.isidentifier()):
        # RecBole's KD_DAGFM (kd_dagfm.py:44) evaluates this value as Python.
        msg = f"teacher must be the name of a network, but {str(path)!r} says {teacher!r}; it was not read."
        raise CheckpointError(msg)
    if getattr(options.get("device"), "type", "cpu") == "cuda" and not torch.cuda.is_available():
        options["device"] = torch.device("cpu")
    return checkpoint


def _check_settings(options: dict[Any, Any], path: Path) -> None:
    """Refuse settings that would write elsewhere, or that no memory holds once they are written out."""
    for key in ("model", "dataset"):  # RecBole makes a folder of each
        if not isinstance(options.get(key), str) or not _FOLDER_NAME.fullmatch(options[key]):
            msg = f"`{key}` in {str(path)!r} must be a plain name, not {str(options.get(key))[:60]!r}; it was not read."
            raise CheckpointError(msg)
    if not all(isinstance(key, str) for key in options) or _extent(options, {}) > _MOST_VALUES:
        msg = f"The configuration in {str(path)!r} stands for more than {_MOST_VALUES:,} values; it was not read."
        raise CheckpointError(msg)
    # They say where to write; whoever only reads a checkpoint has not asked for that.
    options.update({key: False for key in ("save_dataset", "save_dataloaders") if options.get(key)})


def _extent(value: Any, known: dict[int, float]) -> float:
    """Count the values that ``value`` stands for, shared ones as often as they occur; infinite inside itself."""
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    if id(value) not in known:
        known[id(value)] = math.inf
        parts = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_extent(part, known) for part in parts)
    return known[id(value)]


def load_checkpoint(path: str | os.PathLike[str], map_location: Any = None) -> dict[str, Any]:
    """Read a checkpoint that RecBole or this package has written.

    Args:
        path: The ``.pth`` file.
        map_location: As in `torch.load`; by default the CPU where there is no GPU.

    Returns:
        What `Trainer._save_checkpoint` wrote: ``config``, ``epoch``, ``cur_step``, ``best_valid_score``,
        ``state_dict``, ``other_parameter``, ``optimizer``.

    Raises:
        CheckpointError: If the file is missing or damaged, or names anything but plain values and classes of
            RecBole, this package, ``torch.nn``, or derived from RecBole's by the running program.
        NewerFileError: If a newer version of this package wrote it.
    """
    path = Path(path)
    sizes = _check_archive(path)
    if map_location is None and not torch.cuda.is_available():
        map_location = "cpu"
    module = _pickle_module(sizes)
    try:
        # The open door of weights_only=False leads to `RestrictedUnpickler` only.
        loaded = _torch_load(path, map_location=map_location, pickle_module=module, weights_only=False)
        settled = _settle(loaded, path)
        _check_version(settled, path)
    except (CheckpointError, NewerFileError):
        raise
    except Exception as error:
        msg = f"The checkpoint {str(path)!r} is damaged or incomplete ({type(error).__name__}: {error})."
        raise CheckpointError(msg) from error
    return settled


def _check_version(loaded: dict[str, Any], path: Path) -> None:
    """Check the version that our models write beside their weights; RecBole's have none."""
    other = loaded.get("other_parameter")
    if isinstance(other, dict) and "schema_version" in other:
        check_version(other["schema_version"], CHECKPOINT_VERSION, str(path))


def load_cache(file: BinaryIO) -> Any:
    """Read a data set or the data loaders that RecBole has saved; takes the place of `pickle.load` there.

    Args:
        file: Open file, as RecBole writes it with ``save_dataset`` or ``save_dataloaders``.

    Raises:
        CheckpointError: If it is damaged, or names what neither needs.
    """
    advice = f"Delete {getattr(file, 'name', 'the file')!r}: RecBole builds it anew."
    try:
        return RestrictedUnpickler(file).load()
    except CheckpointError as error:
        msg = f"{error} {advice}"
        raise CheckpointError(msg) from error
    except Exception as error:
        msg = f"The cached data are damaged or incomplete ({type(error).__name__}: {error}). {advice}"
        raise CheckpointError(msg) from error


_torch_load = torch.load


@contextlib.contextmanager
def restricted_loading() -> Iterator[None]:
    """Let `torch.load` mean `load_checkpoint` inside the ``with`` block: RecBole calls it with no options."""

    def load(f: str | os.PathLike[str], map_location: Any = None, **_options: Any) -> dict[str, Any]:
        return load_checkpoint(f, map_location)

    with swapped(torch, "load", load):
        yield
