"""Finds the run that the same command has left unfinished, and locks it against other processes."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from recbole_nasr import distributed
from recbole_nasr.documents import RUN_SCHEMA, RUN_VERSION, read_document
from recbole_nasr.errors import NewerFileError
from recbole_nasr.keeping import Keeper, StateError, plain, read_state, rebuilt, write_state
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.results import DataCounts, RunResult
from recbole_nasr.trainer.searching import CHOICE_CLASSES

_LOG = logging.getLogger("recbole_nasr")

STATES = "resume"
LOCK = ".lock"
_OVER = ("finished", "stopped early")


@dataclass(frozen=True)
class RunPlace:
    """Where runs of one kind are.

    Args:
        runs_dir: Folder of all runs.
        dataset: Name of the data set.
        label: Name of the model.
        name: The user's own ending; may be empty.
    """

    runs_dir: Path
    dataset: str
    label: str
    name: str = ""


@contextmanager
def opened_run(place: RunPlace, key: str, *, fresh: bool, interval: float) -> Iterator[tuple[RunFolder, Keeper]]:
    """Yield the folder and the keeper of the latest run with ``key`` if it is unfinished, else of a new one.

    The folder is locked meanwhile. The system drops the lock of a process that has died, so none is ever stale.

    Args:
        place: Where to look, and where to make the new folder.
        key: From :func:`recbole_nasr.runs.identity.run_key`.
        fresh: Start over, whatever there is.
        interval: Seconds between two states.

    Raises:
        StateError: If the state was saved by a newer version.
    """
    if distributed.rank() > 0:  # the first process of several writes, and tells the others what it has read
        yield RunFolder.create(place.runs_dir, place.dataset, place.label, place.name), Keeper()
        return
    found = None if fresh else _locked_unfinished(place, key)
    if found is None:
        folder = RunFolder.create(place.runs_dir, place.dataset, place.label, place.name)
        lock = FileLock(folder.path / LOCK)
        lock.acquire(timeout=0)
        _LOG.info("writing to %s", folder.path)
    else:
        folder, lock = found
    keeper = Keeper(folder.path / STATES, interval)
    try:
        if found is not None:
            for path in folder.path.rglob(".*.partial"):  # of files that a kill left half written
                path.unlink(missing_ok=True)
            stage = keeper.load()
            at = f" at: {stage}" if stage else " from its start" if stage is None else ""
            _LOG.info("going on with the unfinished run %s%s (--fresh starts a new one)", folder.path, at)
        yield folder, keeper
        (folder.path / LOCK).unlink(missing_ok=True)
    finally:
        lock.release()


def _locked_unfinished(place: RunPlace, key: str) -> tuple[RunFolder, FileLock] | None:
    """Return the latest run with ``key`` that no living process has, with its lock held; ``None`` if it is over."""
    parent = place.runs_dir / place.dataset
    for path in sorted(parent.glob("*/run.json"), key=lambda path: _order(path.parent.name), reverse=True):
        folder = path.parent
        facts = _facts(folder)
        if facts.get("key") != key:
            continue
        if facts.get("status") in _OVER:
            return None
        if facts.get("status") == "failed" and not (folder / STATES).is_dir():
            continue
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except (Timeout, OSError):  # of a living process; or not ours to write
            continue
        if _facts(folder).get("status") not in _OVER:
            return RunFolder(folder), lock
        lock.release()
        return None
    return None


def _order(name: str) -> tuple[str, int, str]:
    """Sort run folders by time: the second, then the number that those of one second have got."""
    number = name.rpartition("-")[2]
    return name[:15], int(number) if number.isdigit() and len(number) < 6 else 1, name


def _facts(folder: Path) -> dict[str, Any]:
    try:
        return read_document(folder / "run.json", RUN_SCHEMA, RUN_VERSION)
    except (OSError, ValueError, NewerFileError):  # damaged or of a newer version: not to be gone on with
        return {}


class OpenComparison:
    """The finished runs of a comparison whose last model has not finished.

    Args:
        folder: Where their results are; ``None`` to keep none.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def take(self, name: str) -> RunResult | None:
        """Return the result of the run ``name`` if it was finished before, and is still there."""
        return distributed.from_first(self._read(name))

    def keep(self, result: RunResult) -> None:
        """Remember a finished run."""
        if self.folder is not None:
            write_state(self.folder / f"{result.name}.pt", plain(replace(result, folder=RunFolder(_path(result)))))

    def done(self) -> None:
        """Forget the runs: the table is written."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _read(self, name: str) -> RunResult | None:
        if self.folder is None or not (self.folder / f"{name}.pt").is_file():
            return None
        try:
            content = read_state(self.folder / f"{name}.pt")
            found: RunResult = rebuilt(content, (*CHOICE_CLASSES, DataCounts, RunFolder, RunResult))
        except (StateError, TypeError, ValueError):  # its run is then made again
            return None
        folder = RunFolder(_path(found))
        return replace(found, folder=folder) if _facts(folder.path).get("status") == "finished" else None


def _path(result: RunResult) -> Path:
    return Path(result.folder.path)


@contextmanager
def opened_comparison(runs_dir: Path, dataset: str, keys: Sequence[str], *, fresh: bool) -> Iterator[OpenComparison]:
    """Yield the comparison of runs with ``keys``; another process that makes the same one keeps its own.

    Args:
        runs_dir: Folder of all runs.
        dataset: Name of the data set.
        keys: Of all runs, in order, from :func:`recbole_nasr.runs.identity.run_key`.
        fresh: Forget what was finished before.
    """
    if len(keys) < 2 or distributed.rank() > 0:
        yield OpenComparison(None)
        return
    folder = runs_dir / dataset / f".comparison-{'-'.join(key[:4] for key in keys)}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.with_name(folder.name + ".lock"))
        lock.acquire(timeout=0)
    except (Timeout, OSError):
        yield OpenComparison(None)
        return
    try:
        if fresh:
            for path in folder.glob("*.pt"):
                path.unlink()
        yield OpenComparison(folder)
    finally:
        if not folder.is_dir():
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()
