"""The sources of raw interactions: releases, their files, and where these are looked for.

To add a release of MovieLens, add an entry to `RELEASES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from recbole_nasr.data import download
from recbole_nasr.data.archives import ENDINGS
from recbole_nasr.data.layouts import LASTFM_FILE, SEPARATORS
from recbole_nasr.errors import ConfigError, DataError, did_you_mean

PUBLISHED_SETS = ("ml", "lastfm")
"""Data sets whose published files are known here."""

_COMPRESSED = ("", ".gz")


@dataclass(frozen=True)
class Release:
    """A published data set.

    Attributes:
        archive: Its name in `download.ARCHIVES`.
        folder: The folder inside the archive.
        file: The file with the interactions in that folder.
    """

    archive: str
    folder: str
    file: str


RELEASES = {
    "100k": Release("ml-100k", "ml-100k", "u.data"),
    "1m": Release("ml-1m", "ml-1m", "ratings.dat"),
    "10m": Release("ml-10m", "ml-10M100K", "ratings.dat"),
    **{
        name: Release(f"ml-{name}", f"ml-{name}", "ratings.csv")
        for name in ("20m", "25m", "32m", "latest", "latest-small")
    },
}
"""The releases of MovieLens by the value of ``ml_release``."""

LASTFM = Release("lastfm-1k", "lastfm-dataset-1K", LASTFM_FILE)


def release_of(dataset: str, ml_release: str) -> Release:
    """Return the release of a published data set.

    Raises:
        ConfigError: If MovieLens has no such release.
    """
    if dataset == "lastfm":
        return LASTFM
    if ml_release not in RELEASES:
        msg = f"ml_release names a release of MovieLens, not {ml_release!r}; set ml_release={', '.join(RELEASES)}."
        raise ConfigError(msg + did_you_mean(ml_release, RELEASES))
    return RELEASES[ml_release]


def wanted_files(dataset: str) -> tuple[str, ...]:
    """Return the names of the files with a data set's interactions; for a file of your own, patterns."""
    if dataset == "ml":
        return ("ratings.csv", "ratings.dat", "u.data", "*.inter")
    if dataset == "lastfm":
        return (LASTFM_FILE, "*.tsv")
    return tuple(f"*{ending}" for ending in SEPARATORS)


def given_source(path: Path, dataset: str) -> Path:
    """Return the file or archive that ``--source`` names, or the one in the folder it names that is not hidden.

    Raises:
        DataError: If there is none, or, of a data set of your own, several.
    """
    if path.is_file():
        return path
    if not path.exists():
        msg = f"source={path} does not exist; correct the path."
        raise DataError(msg)
    wanted = (*wanted_files(dataset), *(("*.parquet",) if dataset not in PUBLISHED_SETS else ()))
    patterns = [f"{name}{ending}" for name in wanted for ending in _COMPRESSED] + [f"*{ending}" for ending in ENDINGS]
    files = (file for pattern in patterns for file in sorted(path.glob(pattern)) if file.is_file())
    found = [file for file in files if not file.name.startswith(".")]
    if not found:
        msg = f"source={path} is a folder without {', '.join(wanted)} or an archive; name the file itself."
        raise DataError(msg)
    if dataset not in PUBLISHED_SETS and len(found) > 1:  # nothing tells which of them has the interactions
        names = ", ".join(file.name for file in found[:3]) + ", ..." * (len(found) > 3)
        msg = f"source={path} is a folder with {names}; name the file itself."
        raise DataError(msg)
    return found[0]


def local_release(release: Release, place: Path) -> Path | None:
    """Return the file of a release below ``place``, plain or in its archive; None if it must be downloaded.

    MovieLens 100K is also part of RecBole.
    """
    archive = download.ARCHIVES[release.archive].file_name
    folders = [place / release.folder, place / release.archive]
    paths = [folder / f"{release.file}{ending}" for folder in folders for ending in _COMPRESSED]
    paths += [folder / archive for folder in (place, *folders)]
    found = next((path for path in paths if path.is_file()), None)
    return _recbole_100k() if found is None and release.archive == "ml-100k" else found


def _recbole_100k() -> Path:
    # Found without importing RecBole, which takes seconds.
    spec = find_spec("recbole")
    if spec is None or spec.origin is None:
        msg = "MovieLens 100K is read from the copy inside RecBole, which is missing; pip install recbole."
        raise DataError(msg)
    path = Path(spec.origin).parent / "dataset_example" / "ml-100k" / "ml-100k.inter"
    if not path.is_file():
        msg = f"MovieLens 100K is read from {path}, RecBole's own copy, which is missing; reinstall recbole."
        raise DataError(msg)
    return path
