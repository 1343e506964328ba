from __future__ import annotations

import contextlib
import errno
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock
from optuna.exceptions import StorageInternalError

from recbole_nasr.errors import ConfigError
from recbole_nasr.studies import storage
from recbole_nasr.studies.engine import Engine
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.storage import explained_faults, mend_journal, open_study
from recbole_nasr.studies.trials import choice

from .conftest import Worker

KILLED_WRITER = """
import os, signal, sqlite3
database = sqlite3.connect("study.db", isolation_level=None)
database.execute("PRAGMA cache_size = 1")  # pages reach the file before the transaction ends
database.execute("BEGIN")
attribute = "INSERT INTO study_user_attributes(study_id, key, value_json) VALUES (1, ?, ?)"
database.executemany(attribute, [(str(number), "x" * 500) for number in range(500)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_file_that_is_no_journal_is_refused_in_one_line(ask: Callable[..., StudyRequest]) -> None:
    Path("notes.log").write_text("not a journal\n")
    with pytest.raises(ConfigError, match=r"notes.log cannot be used.*records"):
        open_study(ask("table2", "--storage=notes.log"))
    assert Path("notes.log").read_text() == "not a journal\n"


def test_a_journal_cut_off_in_a_line_goes_on(engine: Callable[..., Engine], cells: list[Cell]) -> None:
    engine(Worker(), "--n_trials=2").run()
    journal = Path("study.log")
    journal.write_bytes(journal.read_bytes()[:-10])  # the end of the second trial was not written
    worker = Worker()
    after = engine(worker)
    after.run()
    assert {cell.key for cell in cells[2:]} <= set(worker.ran) <= {cell.key for cell in cells[1:]}
    assert len(after.queue.finished()) + after.queue.unfinished() == 4


def test_a_whole_journal_is_left_as_it_is() -> None:
    journal = Path("study.log")
    for content in (b"", b'{"op_code": 1}\n', b'{"op_code": 1}\n{"op_code": 2}\n'):
        journal.write_bytes(content)
        mend_journal(journal)
        assert journal.read_bytes() == content
    journal.write_bytes(b'{"op_code": 1}\n{"op_')
    mend_journal(journal)
    assert journal.read_bytes() == b'{"op_code": 1}\n'


def test_a_locked_database_is_one_line_that_says_what_to_do(
    ask: Callable[..., StudyRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ask("table2", "--storage=sqlite:///study.db")
    open_study(asked)
    monkeypatch.setattr(storage, "_PATIENCE", 0)
    with contextlib.closing(sqlite3.connect("study.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="locked by another process"):
            open_study(asked)
    open_study(asked)


def test_a_database_whose_writer_was_killed_within_a_transaction_goes_on(ask: Callable[..., StudyRequest]) -> None:
    asked = ask("table2", "--storage=sqlite:///study.db")
    open_study(asked)
    killed = subprocess.run([sys.executable, "-c", KILLED_WRITER], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert Path("study.db-journal").is_file()
    attributes = open_study(asked).user_attrs
    assert attributes["settings"]
    assert "0" not in attributes  # of the transaction
    assert not Path("study.db-journal").exists()


def test_a_folder_that_cannot_be_written_is_no_fault_of_the_storage(
    ask: Callable[..., StudyRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "study.lock")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    with pytest.raises(OSError, match=r"study\.lock"):
        open_study(ask("table2", "--storage=study.log"))


def test_a_storage_that_fails_while_a_study_runs_is_one_line(ask: Callable[..., StudyRequest]) -> None:
    with pytest.raises(ConfigError, match="disk I/O error"), explained_faults(ask("table2")):
        raise StorageInternalError from OSError("disk I/O error")


def test_a_grid_may_vary_a_list_of_numbers(ask: Callable[..., StudyRequest], tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(
        "title: T\npaper: P\nclaim: C\nruns: {A: {model: NASR}}\ngrid: {layers_per_block: [[1, 2], [2, 1]]}\n"
    )
    asked = ask("mine.yaml")
    assert open_study(asked).user_attrs["settings"]["grid"] == {"layers_per_block": [[1, 2], [2, 1]]}
    assert [choice(value) for value in asked.definition.varied["layers_per_block"]] == ["1+2", "2+1"]


@pytest.mark.parametrize("name", ["a b", "50%20", "really?", "a#1", "ü"])
def test_a_study_is_kept_in_its_folder_whatever_that_is_called(name: str, ask: Callable[..., StudyRequest]) -> None:
    asked = ask("table2", f"--runs_dir={name}")
    open_study(asked)
    open_study(asked)
    assert (Path(name) / "toy" / "table2" / "study.db").is_file()
    assert [path.name for path in Path().iterdir()] == [name]
