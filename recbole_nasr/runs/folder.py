"""The folder that one run owns: created once, never overwritten, every file whole or absent."""

from __future__ import annotations

import gzip
import io
import json
import math
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_nasr.documents import RUN_SCHEMA, RUN_VERSION, check_version, read_document, write_rows, write_whole
from recbole_nasr.errors import ConfigError, StoppedError, WriteError
from recbole_nasr.machine import environment, peak_gpu_memory, peak_memory
from recbole_nasr.stages import StageClock

FILE_VERSIONS = {
    "settings.yaml": 1,
    "config.yaml": 1,
    "items.csv.gz": 1,
    "ranks.csv.gz": 1,
    "model.pth": 1,
    "ranking/block.csv": 1,
    "candidates.csv": 1,
    "front.csv": 1,
}
"""Version of every kind of file of a run that has no place for one itself; ``run.json`` says it for them."""


@dataclass(frozen=True)
class RunFolder:
    """One folder ``<runs_dir>/<dataset>/<time>-<model>[-<name>]``.

    Args:
        path: The folder; it exists.
    """

    path: Path

    @classmethod
    def create(cls, runs_dir: Path, dataset: str, label: str, name: str = "") -> RunFolder:
        """Make a new folder; one that exists already is left alone and ``-2``, ``-3``, … is added.

        Args:
            runs_dir: Folder of all runs; made when absent.
            dataset: Name of the data set.
            label: Name of the model, or what else the folder holds.
            name: The user's own ending; may be empty.

        Raises:
            ConfigError: If nothing can be written there.
        """
        stamp = datetime.now().astimezone().strftime("%Y%m%d-%H%M%S")
        base = "-".join(part for part in (stamp, label, name) if part)
        parent = runs_dir / dataset
        try:
            parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            msg = f"Results are written below `runs_dir`, but {parent} cannot be made ({error.strerror}); name another."
            raise ConfigError(msg) from None
        number = 1
        while True:
            path = parent / (base if number == 1 else f"{base}-{number}")
            try:
                path.mkdir()
            except FileExistsError:
                number += 1
            else:
                return cls(path)

    def write_text(self, name: str, text: str) -> Path:
        """Write ``name`` below the folder, whole or not at all."""
        return self.write_bytes(name, text.encode("utf-8"))

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Write ``name`` below the folder, whole or not at all.

        Raises:
            WriteError: If it cannot be written; an earlier file of that name is untouched.
        """
        target = self.path / name
        write_whole(target, content)
        return target

    def write_json(self, name: str, content: Any) -> Path:
        """Write ``content`` as JSON; numbers that JSON has no word for (nan, inf) become ``null``."""
        return self.write_text(name, json.dumps(_finite(content), indent=2) + "\n")

    def write_csv(self, name: str, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Path:
        """Write a table; a name that ends in ``.gz`` is compressed, with no time stamp inside."""
        buffer = io.StringIO(newline="")
        write_rows(buffer, header, rows)
        content = buffer.getvalue().encode("utf-8")
        return self.write_bytes(name, gzip.compress(content, mtime=0) if name.endswith(".gz") else content)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass
class RunRecord:
    """What ``run.json`` says about one run: who, where, when, for how long, how it ended.

    Args:
        folder: Where it is written, at every change.
        model: Name of the model.
        dataset: Name of the data set.
        command: The command line that started the run.
        facts: More to write down, such as the seed; filled while the run goes on.
        clock: Times the stages of the run.
    """

    folder: RunFolder
    model: str
    dataset: str
    command: Sequence[str]
    facts: dict[str, Any] = field(default_factory=dict)
    clock: StageClock = field(default_factory=StageClock)

    @contextmanager
    def running(self) -> Iterator[RunRecord]:
        """Write the record at the start and at the end, whichever way the run ends."""
        started = str(self._before().get("started") or _now())
        command = shlex.join(self.command)
        self._write("running", started, None, command)
        status = "finished"
        try:
            yield self
        except KeyboardInterrupt:
            status = "interrupted"
            raise
        except StoppedError:
            status = "stopped early"
            raise
        except BaseException as error:
            status = "failed"
            self.facts["error"] = f"{type(error).__name__}: {error}"
            raise
        finally:
            # On a full disk this cannot be written either, and what must be heard of is what went wrong first.
            with suppress(WriteError) if status != "finished" else nullcontext():
                self._write(status, started, _now(), command)

    def _before(self) -> dict[str, Any]:
        """Return what the run wrote before it was interrupted, and count the interruption."""
        try:
            content = read_document(self.folder.path / "run.json", RUN_SCHEMA, RUN_VERSION)
        except (OSError, ValueError):
            return {}
        before = content.get("interruptions")
        self.facts["interruptions"] = (before if isinstance(before, int) else 0) + 1
        return content

    def _write(self, status: str, started: str, finished: str | None, command: str) -> None:
        content = {
            "schema": RUN_SCHEMA,
            "schema_version": RUN_VERSION,
            "status": status,
            "model": self.model,
            "dataset": self.dataset,
            "command": command,
            "started": started,
            "finished": finished,
            **self.facts,
            "seconds": self.clock.seconds,
            "file_versions": FILE_VERSIONS,
            "peak_memory_bytes": peak_memory(),
            **peak_gpu_memory(),
            "environment": environment(),
        }
        self.folder.write_json("run.json", content)


def check_file_versions(facts: Mapping[str, Any], folder: Path) -> None:
    """Check the versions that ``run.json`` states for the other files of its folder.

    Args:
        facts: Its content; one that says nothing is of the time when all files were of version 1.
        folder: The folder.

    Raises:
        NewerFileError: If one of them is of a newer version.
        ValueError: If what it says is no version.
    """
    said = facts.get("file_versions")
    for name, version in said.items() if isinstance(said, Mapping) else ():
        if name in FILE_VERSIONS:
            check_version(version, FILE_VERSIONS[name], str(folder / name))


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
