"""Files of plain values: damage to them is noticed, and reading one runs no code.

One line says what it is and in which version, one has the SHA-256 of the rest, and the rest is what `torch.save` makes
of :func:`~recbole_nasr.keeping.plain.plain` values, read with ``weights_only``.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from recbole_nasr.documents import write_beside
from recbole_nasr.errors import NASRError
from recbole_nasr.keeping.plain import plain

_NAME, _VERSION = b"recbole-nasr/state", 1
_torch_load = torch.load  # while RecBole runs, `torch.load` may mean something else


class StateError(NASRError):
    """A saved state that cannot be used."""


class DamagedStateError(StateError):
    """A saved state that is damaged, or no state at all."""


def write_state(path: Path, value: Any) -> None:
    """Write ``value`` whole or not at all: also after a power cut ``path`` has the old content or the new.

    Raises:
        OSError: If it cannot be written; what was there before is untouched.
        TypeError: If ``value`` holds anything but plain values.
    """
    content = packed(value)
    digest = hashlib.sha256(content).hexdigest().encode()
    # Always of the same name: one process writes here, and what a kill leaves behind is written over.
    partial = path.with_name(path.name + ".partial")
    write_beside(partial, path, b"%s %d\n%s\n" % (_NAME, _VERSION, digest), content)


def read_state(path: Path) -> Any:
    """Return what :func:`write_state` was given, as plain values, tensors on the CPU.

    Raises:
        DamagedStateError: If the file is missing, damaged, or something else.
        StateError: If it was saved by a newer version.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise DamagedStateError(msg) from None
    first, _, rest = content.partition(b"\n")
    digest, _, payload = rest.partition(b"\n")
    name, _, version = first.partition(b" ")
    if name != _NAME or not version.isdigit():
        msg = f"{path} is no saved state."
        raise DamagedStateError(msg)
    if len(version) > len(str(_VERSION)) or int(version) > _VERSION:
        msg = f"{path} was saved by a newer version of recbole-nasr; update it, or start anew."
        raise StateError(msg)
    if hashlib.sha256(payload).hexdigest().encode() != digest:
        msg = f"{path} is damaged: its checksum does not fit."
        raise DamagedStateError(msg)
    try:
        return unpacked(payload)
    except Exception as error:  # torch has no one class for what can be wrong with a file
        msg = f"{path} is damaged ({type(error).__name__})."
        raise DamagedStateError(msg) from error


def packed(value: Any) -> bytes:
    """Return ``value`` as bytes, for a file or another process; pickle itself fails for some kinds of tensors.

    Raises:
        TypeError: If ``value`` holds anything but plain values.
    """
    buffer = io.BytesIO()
    torch.save(plain(value), buffer)
    return buffer.getvalue()


def unpacked(content: bytes) -> Any:
    """Return what :func:`packed` was given, as plain values; no code in the bytes is ever run."""
    return _torch_load(io.BytesIO(content), map_location="cpu", weights_only=True)
