"""SHA-256 of files, cached by size and modification time so that a large file is read once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from recbole_nasr.documents import parse_json, sha256_of, write_whole

_LARGE = 64 << 20  # bytes; a smaller file is read again in well under a second
_SETTLED_S = 2.0  # a file that has just changed may change once more within one tick of the file system's clock


def checksum(path: Path, memory: Path | None = None) -> str:
    """Return the SHA-256 of a file as hexadecimal text.

    Args:
        path: The file.
        memory: Folder in which the checksums of large files are cached, in ``.checksums``; created if missing.

    Raises:
        OSError: If the file cannot be read.
    """
    facts = path.stat()
    if memory is None or facts.st_size < _LARGE:
        return sha256_of(path)
    name = hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]
    note = memory / ".checksums" / f"{name}.json"
    seen = [str(path.resolve()), facts.st_size, facts.st_mtime_ns]
    with suppress(OSError, ValueError, KeyError, TypeError):  # a damaged note counts as none
        known = parse_json(note.read_text(encoding="utf-8"))
        if known["file"] == seen:
            return str(known["sha256"])
    digest = sha256_of(path)
    if time.time() - facts.st_mtime > _SETTLED_S:
        with suppress(OSError):  # without the note the file is read again next time
            write_whole(note, json.dumps({"file": seen, "sha256": digest}).encode())
    return digest
