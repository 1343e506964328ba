"""Opens raw files in place: plain, compressed, or inside an archive. Nothing is unpacked to disk."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from recbole_nasr.errors import DataError
from recbole_nasr.unpacking import DAMAGE, bounded

_TAR = (".tar.gz", ".tgz", ".tar")
ENDINGS = (".zip", *_TAR)
"""Of the names of archives."""


@contextmanager
def open_member(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Open a file, or the most wanted of the files inside an archive.

    Args:
        path: A plain file, ``.gz``, ``.zip`` or ``.tar.gz``.
        wanted: File names in order of preference, then patterns such as ``*.csv``, which one file may match.

    Yields:
        The name of the file without folders and without ``.gz``, and its bytes.

    Raises:
        DataError: If the archive is damaged or truncated, has none of the files, has several of the patterns, or names
            a path outside its folder.
    """
    try:
        if path.name.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                name = _choose(path, archive.namelist(), wanted)
                with archive.open(name) as file, _unzipped(path, name, file) as plain:
                    yield _plain_name(name), plain
        elif path.name.endswith(_TAR):
            yield from _open_tar(path, wanted)
        else:
            with path.open("rb") as file, _unzipped(path, path.name, file) as plain:
                yield _plain_name(path.name), plain
    except (*DAMAGE, gzip.BadGzipFile) as error:
        msg = f"{path} must be a complete archive, but it is damaged or cut off ({error}); get it again."
        raise DataError(msg) from error
    except FileNotFoundError as error:
        msg = f"{path} does not exist; check --source and data_path."
        raise DataError(msg) from error
    except OSError as error:
        msg = f"{path} cannot be read ({error}); check --source and data_path."
        raise DataError(msg) from error


def _open_tar(path: Path, wanted: Sequence[str]) -> Iterator[tuple[str, IO[bytes]]]:
    with tarfile.open(path, "r:*") as archive:
        names = []
        for member in archive:  # one by one: the end of a large archive is read only if it must be
            names.append(member.name)
            _check_inside(path, member.name)
            if member.isfile() and _rank(member.name, wanted) == 0 and not _is_pattern(wanted[0]):
                break
        name = _choose(path, names, wanted)
        member = archive.getmember(name)
        file = archive.extractfile(member) if member.isfile() else None
        if file is None:
            msg = f"{path}: {name!r} must be a file, it is a link or a folder; get the archive again."
            raise DataError(msg)
        with file, _unzipped(path, name, file) as plain:
            yield _plain_name(name), plain


@contextmanager
def _unzipped(path: Path, name: str, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the decompressed bytes; those of anything compressed are limited in number."""
    packed = path.stat().st_size
    if not name.endswith(".gz"):
        yield file if path.name == name else bounded(file, str(path), packed)
        return
    with gzip.open(file) as plain:
        yield bounded(plain, str(path), packed)


def _plain_name(name: str) -> str:
    return PurePosixPath(name).name.removesuffix(".gz")


def _rank(name: str, wanted: Sequence[str]) -> int:
    """Return the index of a name among the wanted ones, or their number if it is not among them, as no hidden one is.

    To ``a.csv`` macOS adds a hidden ``._a.csv``.
    """
    plain = PurePosixPath(_plain_name(name))
    found = (place for place, pattern in enumerate(wanted) if plain.match(pattern))
    return len(wanted) if plain.name.startswith(".") else next(found, len(wanted))


def _choose(path: Path, names: list[str], wanted: Sequence[str]) -> str:
    for name in names:
        _check_inside(path, name)
    ranked = sorted((_rank(name, wanted), name.count("/"), name) for name in names if not name.endswith("/"))
    if not ranked or ranked[0][0] == len(wanted):
        msg = f"{path} must contain {' or '.join(wanted)}, it has {', '.join(names[:10]) or 'nothing'}; check --source."
        raise DataError(msg)
    rank, _, chosen = ranked[0]
    alike = [name for other, _, name in ranked if other < len(wanted)]
    if _is_pattern(wanted[rank]) and len(alike) > 1:
        msg = (
            f"{path} must contain one file of interactions, it has {', '.join(alike[:10])}; unpack it, and name one by "
            "--source."
        )
        raise DataError(msg)
    return chosen


def _is_pattern(wanted: str) -> bool:
    return "*" in wanted


def _check_inside(path: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or PureWindowsPath(name).drive:
        msg = f"{path}: entries must lie inside the archive's folder, but one is {name!r}; do not trust this archive."
        raise DataError(msg)
