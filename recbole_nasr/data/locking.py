"""Locks between processes that may create the same file or folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from recbole_nasr.errors import ConfigError

_LOG = logging.getLogger("recbole_nasr")


@contextmanager
def only_process(target: Path) -> Iterator[None]:
    """Let one process at a time create ``target``; the others wait until it is done or has ended.

    The process that holds the lock must first check whether ``target`` exists.

    Args:
        target: The file or folder to create, in a folder that exists; the lock is a hidden file beside it.

    Raises:
        OSError: If the lock cannot be written.
    """
    path, lock = _lock_beside(target)
    if not _taken(lock):
        _LOG.info("another process makes %s; waiting for it", target.name)
        lock.acquire()
    try:
        yield
        path.unlink(missing_ok=True)  # only after success: whoever waits for it then finds the target
    finally:
        lock.release()


@contextmanager
def not_at_once(target: Path) -> Iterator[None]:
    """Refuse to write ``target`` while another process does.

    Args:
        target: The file or folder, in a folder that exists; the lock is a hidden file beside it, gone at the end.

    Raises:
        ConfigError: If another process writes it.
        OSError: If the lock cannot be written.
    """
    path, lock = _lock_beside(target)
    if not _taken(lock):
        msg = f"Another process writes {target} at this moment; wait for its end, or name another with --output."
        raise ConfigError(msg)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # nobody waits for it
        lock.release()


def _lock_beside(target: Path) -> tuple[Path, FileLock]:
    path = target.with_name(f".{target.name}.lock")
    return path, FileLock(path)


def _taken(lock: FileLock) -> bool:
    """Take ``lock`` if no process has it; return whether that was so."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    return True
