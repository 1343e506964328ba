"""Files: small ones written whole or not at all, JSON with a version, which may be untrusted, and checksums."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, NoReturn

from recbole_nasr.errors import NewerFileError, WriteError

Buffer = bytes | memoryview

RUN_SCHEMA, RUN_VERSION = "recbole-nasr/run", 1
"""Of ``run.json``, which the settings of another run may name."""

MOST_BYTES = 16 << 20
"""No JSON of this package comes near it."""

_BLOCK = 1 << 20  # bytes


def write_whole(path: Path, content: bytes) -> None:
    """Write a file; also after a power cut it has its old content or the new.

    Raises:
        WriteError: If it cannot be written; what was there before is untouched, and nothing else is left.
    """
    partial = partial_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_beside(partial, path, content)
    except OSError as error:
        raise WriteError.of(path, error) from error


def partial_name(path: Path) -> Path:
    """Return a new name beside ``path`` for a file that is to take its place once it is written."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def remove_partial(path: Path) -> None:
    """Remove what killed processes left under a :func:`partial_name` of ``path``, and no other file."""
    ours = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{8}}\.partial")
    for other in path.parent.iterdir():
        if ours.fullmatch(other.name):
            other.unlink(missing_ok=True)


def write_rows(file: IO[str], header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV; a lone carriage return, which Python's own leaves without quotes, ends no row.

    Args:
        file: Open for text, without translation of line ends.
        header: Names of the columns.
        rows: Their values.
    """
    plain = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    plain.writerow(header)
    for row in rows:
        (quoted if any(isinstance(cell, str) and "\r" in cell for cell in row) else plain).writerow(row)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file of any size, as hexadecimal text.

    Raises:
        OSError: If it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def write_beside(partial: Path, path: Path, *parts: Buffer) -> None:
    """Write ``parts`` one after the other into ``partial``, and put it in the place of ``path`` once it is on disk.

    Raises:
        OSError: If it cannot be written; ``path`` is untouched, and ``partial`` is gone.
    """
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError:
        with suppress(OSError):  # in a folder that nothing can be written to
            partial.unlink(missing_ok=True)
        raise


def parse_json(text: str) -> Any:
    """Read JSON, to the letter: no NaN or Infinity, no numbers or depth that only exhaust the machine.

    Raises:
        ValueError: Says what is wrong.
    """
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_constant=_no_number)
    except RecursionError:
        msg = "it is nested too deeply"
        raise ValueError(msg) from None


def read_document(path: Path, schema: str, version: int) -> dict[str, Any]:
    """Read a JSON file that this package wrote.

    Args:
        path: The file.
        schema: What it must be; a file that does not say is taken to be that, of version 1.
        version: The newest version that can be read.

    Returns:
        Its content without ``schema`` and ``schema_version``.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is no such file; says what is wrong, without the path.
        NewerFileError: If a newer version of this package wrote it.
    """
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        msg = f"it has more than {MOST_BYTES >> 20} MiB"
        raise ValueError(msg)
    loaded = parse_json(content.decode("utf-8"))
    if not isinstance(loaded, dict):
        msg = f"it must be a table, but is a {type(loaded).__name__}"
        raise ValueError(msg)  # noqa: TRY004 - a damaged file, whatever is in it
    named, found = loaded.pop("schema", schema), loaded.pop("schema_version", 1)
    if named != schema:
        msg = f"it must be {schema}, but is {named!r:.60}"
        raise ValueError(msg)
    check_version(found, version, str(path))
    return loaded


def check_version(found: Any, newest: int, what: str) -> None:
    """Check the ``schema_version`` of a file.

    Raises:
        ValueError: If it is none.
        NewerFileError: If it is newer than ``newest``.
    """
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        msg = f"its schema_version must be a whole number from 1, but is {found!r:.60}"
        raise ValueError(msg)
    if found > newest:
        msg = (
            f"{what} was written by a newer version of recbole-nasr (schema_version {found!s:.12}, this one reads "
            f"up to {newest}); upgrade recbole-nasr."
        )
        raise NewerFileError(msg)


def _no_number(word: str) -> NoReturn:
    msg = f"{word} is no JSON"
    raise ValueError(msg)
