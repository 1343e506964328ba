"""Downloads the original archives of the data sets from their publishers, and verifies them."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from recbole_nasr.data.locking import only_process
from recbole_nasr.data.transfer import Transfer
from recbole_nasr.errors import ConfigError, DataError, did_you_mean, way_out

_LOG = logging.getLogger("recbole_nasr")
_MB = 10**6
_GROUPLENS = "https://files.grouplens.org/datasets/movielens/"


@dataclass(frozen=True)
class Archive:
    """A published archive.

    Attributes:
        url: Its address.
        md5: Its MD5, as published; None for a file that changes from time to time, whose MD5 is read from
            ``<url>.md5``.
        limit: Size in bytes above which a download is refused.
    """

    url: str
    md5: str | None
    limit: int

    @property
    def file_name(self) -> str:
        """Name of the file, such as ``ml-25m.zip``."""
        return PurePosixPath(urlsplit(self.url).path).name


ARCHIVES = {
    "ml-100k": Archive(_GROUPLENS + "ml-100k.zip", "0e33842e24a9c977be4e0107933c0723", 10 * _MB),
    "ml-1m": Archive(_GROUPLENS + "ml-1m.zip", "c4d9eecfca2ab87c1945afe126590906", 10 * _MB),
    "ml-10m": Archive(_GROUPLENS + "ml-10m.zip", "ce571fd55effeba0271552578f2648bd", 100 * _MB),
    "ml-20m": Archive(_GROUPLENS + "ml-20m.zip", "cd245b17a1ae2cc31bb14903e1204af3", 300 * _MB),
    "ml-25m": Archive(_GROUPLENS + "ml-25m.zip", "6b51fb2759a8657d3bfcbfc42b592ada", 400 * _MB),
    "ml-32m": Archive(_GROUPLENS + "ml-32m.zip", "d472be332d4daa821edc399621853b57", 400 * _MB),
    "ml-latest": Archive(_GROUPLENS + "ml-latest.zip", None, 1000 * _MB),
    "ml-latest-small": Archive(_GROUPLENS + "ml-latest-small.zip", None, 10 * _MB),
    "lastfm-1k": Archive(
        "https://zenodo.org/records/6090214/files/lastfm-dataset-1K.tar.gz?download=1",
        "a79a6808f54f73354789a9fb02cb1e41",
        1000 * _MB,
    ),
}
"""The archives by name. Last.FM-1K is its author's deposit at Zenodo: the older address has no https."""


def fetch(name: str, folder: Path) -> Path:
    """Download an archive into a folder, unless it is there, and verify its checksum.

    The download is ``<file>.part`` until it is complete and its checksum is right. The next call resumes an
    interrupted download, if the published file is still the same. If several processes call this at once, one
    downloads and the others wait for it.

    Args:
        name: One of `ARCHIVES`.
        folder: Where the archive is stored; created if missing.

    Returns:
        Path of the complete file.

    Raises:
        ConfigError: If there is no archive of this name.
        DataError: If the publisher cannot be reached or has no such file, the file is too large or its checksum is
            wrong, or the folder cannot be written.
    """
    if name not in ARCHIVES:
        msg = f"The archives that can be downloaded are {', '.join(ARCHIVES)}, not {name!r}; choose one of them."
        raise ConfigError(msg + did_you_mean(name, ARCHIVES))
    archive = ARCHIVES[name]
    target = folder / archive.file_name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with only_process(target):
            if target.exists():
                advice = f"Remove {target} and run again, or name the file with --source if it is right."
                _check(target, archive.md5, advice)
            else:
                _download(archive, target)
    except OSError as error:
        msg = f"{archive.url} is downloaded into {folder}, but: {error}; {way_out(error)} or set data_path."
        raise DataError(msg) from error
    return target


def _download(archive: Archive, target: Path) -> None:
    transfer = Transfer(archive.url, target, archive.limit)
    transfer.receive()
    md5 = archive.md5 or _published_md5(transfer, target.name)
    try:
        _check(transfer.part, md5, "What was received is removed; run again, or name a file of yours with --source.")
    except DataError:
        transfer.discard()
        raise
    transfer.finish()


def _published_md5(transfer: Transfer, name: str) -> str | None:
    """Return the MD5 that is published beside the file; None, with a warning, if there is none."""
    found = re.search(rb"\b[0-9a-fA-F]{32}\b", transfer.read_beside(".md5") or b"")
    if found is None:
        _LOG.warning("%s: the publisher gives no checksum, so none is checked", name)
        return None
    return found[0].decode().lower()


def _check(path: Path, md5: str | None, advice: str) -> None:
    if md5 is None:
        return
    found = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    if found.hexdigest() != md5:
        msg = (
            f"{path.name.removesuffix('.part')} must have the MD5 {md5} that its publisher gives, "
            f"it has {found.hexdigest()}. {advice}"
        )
        raise DataError(msg)
