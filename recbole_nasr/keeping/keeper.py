"""The keeper of a run's state, which the code at work gives the parts of the state and calls between two steps."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from recbole_nasr.documents import sha256_of
from recbole_nasr.keeping import stopping
from recbole_nasr.keeping.files import DamagedStateError, read_state, write_state
from recbole_nasr.keeping.plain import rebuilt

_LOG = logging.getLogger("recbole_nasr")

STATE, PREVIOUS = "state.pt", "previous.pt"
SHARE_OF_TIME = 0.01
"""Saving waits until it has cost no more than this share of the time since the last one, whatever the interval."""


class Keeper:
    """Saves the state of a run at a steady interval and whenever a stage begins, and returns it after an interruption.

    The state consists of parts, one for each piece of work in progress, such as a search and, in it, the training of a
    block. The two newest states are kept, so that one that was damaged costs an interval and not the run.

    Args:
        folder: Where states are, made when the first is saved; ``None`` for a keeper that does nothing.
        interval: Seconds between two states; 0 saves after every step.

    Attributes:
        n_saved: States saved by this process.
        seconds: What they cost.
    """

    def __init__(self, folder: Path | None = None, interval: float = 30.0) -> None:
        self.folder, self.interval = folder, interval
        self.n_saved, self.seconds = 0, 0.0
        self._parts: dict[str, Callable[[], Any]] = {}
        self._found: dict[str, Any] = {}
        self._stage = self._saved_at = self._loaded_stage = ""
        self._failed = False
        self._last, self._cost = time.monotonic(), 0.0
        self._attached: list[dict[str, str]] = []
        self._kept_files: list[set[str]] = []
        self._seen: tuple[int, ...] = ()
        self._digest = ""

    def load(self) -> str | None:
        """Read the newest state that is not damaged.

        Returns:
            The stage it was saved in, or ``None`` where there is none.

        Raises:
            StateError: If it is of a newer version.
        """
        if self.folder is None:
            return None
        for name in (STATE, PREVIOUS):
            path = self.folder / name
            if not path.is_file():
                continue
            try:
                state = read_state(path)
                for file in state["attached"]:
                    self._check(file)
            except DamagedStateError as error:
                _LOG.warning("%s The state before it is used, if there is one.", error)
                path.replace(path.with_suffix(".damaged"))  # or it would take the place of a good one
                continue
            self._found, self._stage = state["parts"], state["stage"]
            self._saved_at = state["saved_at"]
            self._loaded_stage = self._stage
            return self._stage
        return None

    def describe(self) -> str:
        """Return a sentence about the last state that was saved or loaded; empty if there is none."""
        if self.folder is None or not self._saved_at:
            return ""
        return f"The last good state, of {self._saved_at} ({self._stage or 'the start'}), is in {self.folder}."

    def found(self) -> dict[str, Any]:
        """Return the loaded parts that have not been taken yet, to pass them to other processes."""
        return self._found

    def hand(self, parts: dict[str, Any]) -> None:
        """Use ``parts``, which another process has loaded, as if :meth:`load` had read them here."""
        self._found = parts

    def take(self, name: str, classes: Iterable[type] = ()) -> Any:
        """Return the saved part ``name``, once; ``None`` without one.

        Args:
            name: As in :meth:`part`.
            classes: The dataclasses that may be in it.
        """
        return rebuilt(self._found.pop(name, None), classes)

    @contextmanager
    def part(self, name: str, capture: Callable[[], Any]) -> Iterator[None]:
        """Let ``capture()`` be part of the state for the length of the block.

        Args:
            name: Of the part; see :meth:`take`.
            capture: Returns plain values, whenever a state is saved.
        """
        self._parts[name] = capture
        try:
            yield
        finally:
            del self._parts[name]

    def steps(self) -> Any:
        """Return a context for a loop over steps: in it, signals wait until :meth:`step` is called."""
        return stopping.within_steps()

    def step(self) -> None:
        """Save if it is time; called between two steps.

        Raises:
            KeyboardInterrupt: If the process was asked to stop; the state is saved.
        """
        if stopping.asked_to_stop():
            self.save()
            stopping.stop_if_asked()
        elif self.due():
            self.save()

    def stage(self, name: str) -> None:
        """Save at the beginning of a stage, called ``name``; then stop if the process was asked to.

        A stage in which the loaded state was saved is gone on with: saved anew, the state would seem to be a later one.
        """
        if name != self._loaded_stage:
            self._stage = name
            self.save()
        stopping.stop_if_asked()

    def due(self) -> bool:
        """Return whether it is time to save."""
        if self.folder is None:
            return False
        wait = max(self.interval, self._cost / SHARE_OF_TIME) if self.interval else 0.0
        return time.monotonic() - self._last >= wait

    def save(self) -> None:
        """Save the state now; the newest one becomes the previous one."""
        if self.folder is None:
            return
        started = time.monotonic()
        self._attached, self._loaded_stage = [], ""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            parts = {name: capture() for name, capture in self._parts.items()}
            saved_at = datetime.now().astimezone().isoformat(" ", "seconds")
            content = {"stage": self._stage, "saved_at": saved_at, "parts": parts, "attached": self._attached}
            fresh = self.folder / "fresh.pt"
            write_state(fresh, content)
            with suppress(FileNotFoundError):
                (self.folder / STATE).replace(self.folder / PREVIOUS)
            fresh.replace(self.folder / STATE)
        except OSError as error:
            if not self._failed:  # once is enough
                _LOG.warning("The state of the run could not be saved (%s); it goes on.", error.strerror or error)
            self._failed = True
        else:
            self.n_saved, self._saved_at = self.n_saved + 1, saved_at
            self._failed = False
            self._forget_files()
        self._last = time.monotonic()
        self._cost = self._last - started
        self.seconds += self._cost

    def attach(self, path: Path) -> dict[str, str]:
        """Keep a copy of a file with the state that is being saved; called while a part is captured.

        Returns:
            What :meth:`restore_file` needs.
        """
        assert self.folder is not None  # noqa: S101 - only `save` calls captures
        facts = path.stat()
        seen = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if seen != self._seen:  # a best network stays the best over many states
            self._seen, self._digest = seen, sha256_of(path)
        digest = self._digest
        name = f"{digest[:16]}{path.suffix}"
        if not (self.folder / name).is_file():
            partial = self.folder / f"{name}.partial"
            partial.unlink(missing_ok=True)
            try:
                os.link(path, partial)  # the owner of `path` never writes into it: it replaces it
            except OSError:
                shutil.copyfile(path, partial)
            partial.replace(self.folder / name)
        self._attached.append({"name": name, "sha256": digest})
        return self._attached[-1]

    def restore_file(self, file: dict[str, str], target: Path) -> None:
        """Copy an attached file to ``target``."""
        assert self.folder is not None  # noqa: S101 - there is a state
        partial = target.with_name(target.name + ".partial")
        shutil.copyfile(self.folder / file["name"], partial)
        partial.replace(target)

    def done(self) -> None:
        """Remove all states: the run is finished."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _check(self, file: dict[str, str]) -> None:
        assert self.folder is not None  # noqa: S101 - it has a state
        path = self.folder / Path(file["name"]).name
        if not path.is_file() or sha256_of(path) != file["sha256"]:
            msg = f"{path} is damaged or missing, and with it the state that needs it."
            raise DamagedStateError(msg)

    def _forget_files(self) -> None:
        """Remove attached files that neither of the two newest states needs."""
        assert self.folder is not None  # noqa: S101 - `save` has just written there
        self._kept_files = [*self._kept_files, {file["name"] for file in self._attached}][-2:]
        if len(self._kept_files) < 2:  # what the state before this process needs is not known
            return
        needed = set.union(*self._kept_files)
        for path in self.folder.glob("*.pth"):
            if path.name not in needed:
                path.unlink(missing_ok=True)
