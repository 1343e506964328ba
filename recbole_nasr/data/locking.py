"""A lock between processes that may create the same file or folder."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

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
    path = target.with_name(f".{target.name}.lock")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        _LOG.info("another process makes %s; waiting for it", target.name)
        lock.acquire()
    try:
        yield
        path.unlink(missing_ok=True)  # only after success: whoever waits for it then finds the target
    finally:
        lock.release()
