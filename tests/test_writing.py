"""A full disk, a read-only folder or another process costs nothing that was there before."""

from __future__ import annotations

import errno
import logging
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from recbole.trainer import Trainer

from recbole_nasr.commands import cli
from recbole_nasr.commands.cli import main
from recbole_nasr.data.locking import only_process
from recbole_nasr.documents import write_whole
from recbole_nasr.errors import WriteError
from recbole_nasr.runs.folder import RunFolder, RunRecord
from recbole_nasr.space import Architecture


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["fsync", "open"])
def test_a_file_that_cannot_be_written_leaves_the_earlier_one(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(*((os, "fsync") if place == "fsync" else (Path, "open")), full)
    (target := tmp_path / "a.json").touch()
    os.truncate(target, 7)
    folder = RunFolder(tmp_path)
    for write in (
        lambda: write_whole(target, b"new"),
        lambda: folder.write_json("a.json", {}),
        lambda: folder.write_csv("a.json", ("a",), [(1,)]),
        lambda: Architecture.parse("tcn_d1_2").save(target),
    ):
        with pytest.raises(WriteError, match=r"a\.json cannot be written \(No space left on device\); free space"):
            write()
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("a.json", 7)]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_checkpoint_that_cannot_be_written_leaves_the_earlier_one(
    error: Exception, toy: Path, assemble: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trainer = assemble("SASRec", toy, checkpoint_dir=str(tmp_path / "saved")).trainer
    assert isinstance(trainer, Trainer)
    trainer._save_checkpoint(0, verbose=False)
    file = Path(trainer.saved_model_file)
    before = file.read_bytes()

    def half(_value: Any, path: Path, **_options: Any) -> None:
        path.write_bytes(b"half of it")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", half)
        with pytest.raises(WriteError, match="cannot be written"):
            trainer._save_checkpoint(1, verbose=False)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_on_a_full_disk_the_file_that_could_not_be_written_is_named_not_the_record_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = RunRecord(RunFolder(tmp_path), "NASR", "toy", ["run"])

    def run() -> None:
        with record.running():
            monkeypatch.setattr(os, "fsync", full)
            record.folder.write_json("metrics.json", {})

    with pytest.raises(WriteError, match=r"metrics\.json cannot be written"):
        run()
    with pytest.raises(WriteError, match=r"run\.json cannot be written"):
        run()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_command_that_cannot_write_ends_with_one_line(
    number: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number), "runs/a")

    monkeypatch.setattr(cli, "_run", refuse)
    assert main(["--model=NASR", "--dataset=ml"]) == 2
    advice = "make it writable" if number == errno.EROFS else "free space there"
    assert capsys.readouterr().err.startswith(f"error: runs/a cannot be written ({os.strerror(number)}); {advice}")


def test_a_file_without_permission_may_be_one_that_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "operations.py")

    monkeypatch.setattr(cli, "_run", refuse)
    assert main(["--model=NASR", "--dataset=ml"]) == 2
    assert capsys.readouterr().err == (
        "error: operations.py cannot be read or written (Permission denied); check its permissions, or name another.\n"
    )


def test_an_error_of_the_program_is_not_taken_for_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(OSError, match="Bad file"):
        main(["--model=NASR", "--dataset=ml"])


def test_a_lock_that_a_killed_process_left_behind_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / ".made.lock").touch()
    with only_process(tmp_path / "made"):
        (tmp_path / "made").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_lock_that_is_held_is_waited_for_with_a_line_that_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    held = FileLock(tmp_path / ".made.lock")
    held.acquire()

    class Release(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            held.release()

    logger, handler = logging.getLogger("recbole_nasr"), Release()
    logger.addHandler(handler)
    try:
        with caplog.at_level(logging.INFO, "recbole_nasr"), only_process(tmp_path / "made"):
            assert not held.is_locked
    finally:
        logger.removeHandler(handler)
    assert "another process makes made; waiting for it" in caplog.text
