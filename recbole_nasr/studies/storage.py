"""Where Optuna keeps a study: SQLite in its folder, any database, or a journal file."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from recbole_nasr.documents import check_version
from recbole_nasr.errors import ConfigError, NewerFileError
from recbole_nasr.studies.plan import identity, refuse_other_data, refuse_other_settings
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.trials import choice

SCHEMA_VERSION = 1
"""Of what a study says about itself in its storage; the storage has one of Optuna's own."""

HEARTBEAT_SECONDS = 60
"""A database hears this often from a running trial; one that was silent three times as long counts as killed."""

_TABLES = {"studies", "trials", "version_info"}  # some of Optuna's

_PATIENCE = 60  # seconds that SQLite waits for another process to finish writing


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's own lines off the screen: the study says what happens, and what failed."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def default_storage(asked: StudyRequest) -> str:
    """Return the storage that the command names, or SQLite in the folder of the study."""
    own = URL.create("sqlite", database=str(asked.folder / "study.db"))  # which escapes what has a meaning in addresses
    return asked.storage or own.render_as_string()


def study_lock(asked: StudyRequest) -> FileLock:
    """Return the lock that processes take in turn before they change what is queued."""
    asked.folder.mkdir(parents=True, exist_ok=True)
    return FileLock(str(asked.folder / "study.lock"))


def open_study(asked: StudyRequest) -> optuna.Study:
    """Open the study of a command, or create it.

    Raises:
        ConfigError: If the storage cannot be read, or the study was started under other settings.
        NewerFileError: If a newer version of this package started it.
        OSError: If the folder of the study cannot be written.
    """
    address = default_storage(asked)
    settings = _plain(identity(asked))
    with quiet_optuna(), study_lock(asked):  # who comes second finds all tables and settings, or none
        try:
            study = _opened(asked, address, settings)
            earlier = study.user_attrs["settings"]
        except NewerFileError:
            raise
        except Exception as error:  # Optuna, SQLAlchemy and drivers have no one class for what can be wrong with a file
            raise _fault(address, error) from error
    refuse_other_settings(asked, earlier, settings)
    return study


def _opened(asked: StudyRequest, address: str, settings: dict[str, Any]) -> optuna.Study:
    if "://" not in address:
        mend_journal(Path(address))
    elif address.startswith("sqlite"):
        check_database(Path(make_url(address).database or ""))
    study = optuna.create_study(
        storage=_storage(address),
        study_name=f"{asked.name} on {asked.request.dataset}",
        direction="maximize",
        sampler=_sampler(asked),
        pruner=_pruner(asked),
        load_if_exists=True,
    )
    study.get_trials(deepcopy=False)  # what is damaged is found now, not within the study
    if "settings" not in study.user_attrs:
        study.set_user_attr("schema_version", SCHEMA_VERSION)
        study.set_user_attr("settings", settings)
    check_version(study.user_attrs.get("schema_version", 1), SCHEMA_VERSION, address)
    return study


def keep_data(study: optuna.Study, asked: StudyRequest, checksums: Mapping[str, str]) -> None:
    """Note in the study which data it is made on; refuse others than it began with.

    Args:
        study: From :func:`open_study`.
        asked: The command.
        checksums: Of each data set, from :func:`~recbole_nasr.studies.record.data_checksum`; empty where the data are
            not here yet. Of files that settings name, from :func:`~recbole_nasr.runs.identity.named_files`.

    Raises:
        ConfigError: If a data set or such a file has changed.
    """
    now = {name: checksum for name, checksum in checksums.items() if checksum}
    with quiet_optuna(), study_lock(asked):
        earlier = study.user_attrs.get("data", {})
        refuse_other_data(asked, earlier, now)
        if {*now} - {*earlier}:
            study.set_user_attr("data", {**now, **earlier})


def mend_journal(path: Path) -> None:
    """Cut off a last line that a killed process did not finish: the next one would be written behind it.

    Whoever writes holds Optuna's lock, so what is unfinished under that lock will never be finished.

    Raises:
        ValueError: If the file is no journal of Optuna's; it is left as it is, which Optuna would not do.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("rb") as file:
        if not file.readline().startswith(b'{"op_code"'):
            msg = "it is another file, not a journal"
            raise ValueError(msg)
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        with path.open("rb+") as file:
            content = file.read()
            if not content.endswith(b"\n"):
                file.truncate(content.rfind(b"\n") + 1)
    finally:
        lock.release()


def check_database(path: Path) -> None:
    """Check that an SQLite file is whole and Optuna's own: Optuna would add its tables to any other.

    Nothing is written, unless a process was killed in the middle of a transaction: that is undone, as by any program
    that opens the file.

    Raises:
        ValueError: If it is not.
        sqlite3.Error: If it is no database.
    """
    if not path.is_file() or not path.stat().st_size:
        return
    unfinished = path.with_name(f"{path.name}-journal").is_file()  # which SQLite cannot undo in a file it only reads
    address = f"{path.resolve().as_uri()}?mode={'rw' if unfinished else 'ro'}"
    with closing(sqlite3.connect(address, uri=True, timeout=_PATIENCE)) as database:
        tables = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if tables and not tables >= _TABLES:
            msg = "it is a database of something else, not of Optuna"
            raise ValueError(msg)
        (state,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if state != "ok":
        msg = f"it is damaged ({' '.join(str(state).split()):.60})"
        raise ValueError(msg)


@contextmanager
def explained_faults(asked: StudyRequest) -> Iterator[None]:
    """Turn a fault of the storage while a study runs into one line that says how to go on.

    Raises:
        ConfigError: Instead of what the storage raised.
    """
    try:
        yield
    except (SQLAlchemyError, StorageInternalError, JSONDecodeError) as error:
        raise _fault(default_storage(asked), error) from error


def _fault(address: str, error: Exception) -> ConfigError:
    reason = str(error.__cause__ or error).partition("\n")[0].rstrip(".")
    if "locked" in reason:
        return ConfigError(
            f"The storage {address} was locked by another process for longer than {_PATIENCE} s; end that process, or "
            "wait for it, and give the same command again: finished runs are kept."
        )
    return ConfigError(
        f"The storage {address} cannot be used: {reason}. Name a database such as sqlite:///study.db or a journal file "
        "with --storage, or move the damaged file away, and its -journal with it: finished runs are taken from their "
        "records."
    )


def _storage(address: str) -> BaseStorage:
    if "://" not in address:
        return JournalStorage(JournalFileBackend(address))
    waiting: dict[str, Any] = {"connect_args": {"timeout": _PATIENCE}} if address.startswith("sqlite") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return RDBStorage(
            address,
            engine_kwargs=waiting,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=3 * HEARTBEAT_SECONDS,
        )


def trial_sampler(asked: StudyRequest, number: int) -> optuna.samplers.BaseSampler:
    """Return what draws the point ``number`` of `tune`.

    Every point has a seed of its own: processes that share one would draw the same points, and a study that was
    interrupted would begin again with those it has had.
    """
    seed = int(np.random.SeedSequence([asked.seeds[0], number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed, multivariate=False, n_startup_trials=10)


def _sampler(asked: StudyRequest) -> optuna.samplers.BaseSampler:
    definition = asked.definition
    if definition.space:
        return trial_sampler(asked, 0)
    grid = {key: [choice(value) for value in values] for key, values in definition.varied.items()}
    rows = [run.label for run in definition.runs]
    return optuna.samplers.GridSampler({"row": rows, **grid, "seed": list(asked.seeds)}, seed=asked.seeds[0])


def _pruner(asked: StudyRequest) -> optuna.pruners.BasePruner:
    if not asked.definition.space or asked.pruner == "none":
        return optuna.pruners.NopPruner()
    if asked.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3)


def _plain(value: Any) -> Any:
    """Return ``value`` as JSON gives it back, so that it can be compared with what a storage kept."""
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, Path) else value
