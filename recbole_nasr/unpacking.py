"""Compressed files, read within bounds: a few kilobytes may unpack into more than any memory holds."""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from typing import IO, Any, Protocol

from recbole_nasr.errors import DataError

ALWAYS = 256 << 20
"""Bytes that any compressed file may unpack into."""

MOST_TIMES = 200
"""How often its own size a larger one may unpack into; text of interactions shrinks to a third or a tenth."""

DAMAGE = (
    EOFError, struct.error, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError,
    NotImplementedError,  # a way to compress that zipfile does not know
    OverflowError, RuntimeError,  # sizes that are none; an archive with a password
)  # fmt: skip
"""What a damaged or foreign file makes the readers of Python raise, beside `OSError` and `ValueError`."""


class Readable(Protocol):
    """Reads like a binary file."""

    def read(self, size: int = ..., /) -> bytes:
        """Return at most ``size`` bytes; none at the end."""
        ...


class _Bounded(io.RawIOBase):
    def __init__(self, file: Readable, name: str, most: int) -> None:
        self._file, self._name, self._most, self._done = file, name, most, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(min(len(buffer), 1 << 20))
        self._done += len(block)
        if self._done > self._most:
            msg = (
                f"{self._name} unpacks into more than {self._most:,} bytes, {MOST_TIMES} times what it has; if that is "
                "right, unpack it by hand and name the plain file."
            )
            raise DataError(msg)
        buffer[: len(block)] = block
        return len(block)


def bounded(file: Readable, name: str, packed: int) -> IO[bytes]:
    """Return ``file``, which unpacks as it is read, so that reading fails once it is too much.

    Args:
        file: What unpacks.
        name: Name for the message.
        packed: Bytes of the compressed file.

    Raises:
        DataError: When more than :data:`ALWAYS` bytes and :data:`MOST_TIMES` the size of the file have been read.
    """
    return io.BufferedReader(_Bounded(file, name, max(ALWAYS, MOST_TIMES * packed)), 1 << 18)
