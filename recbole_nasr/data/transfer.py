"""Downloads one file over HTTP: limited in size and attempts, and resumed after a failed attempt or killed process."""

from __future__ import annotations

import http.client
import json
import logging
import re
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from recbole_nasr.documents import parse_json, write_whole
from recbole_nasr.errors import DataError
from recbole_nasr.progress import open_progress

_LOG = logging.getLogger("recbole_nasr")
_TIMEOUT_S = 30.0  # to connect, and for every read
_WAITS_S = (1.0, 2.0, 4.0)  # before each further attempt
_BLOCK = 1 << 16
_PASSING = (408, 429, 500, 502, 503, 504)  # HTTP status of a passing trouble
_T = TypeVar("_T")


class _CutError(Exception):
    """A connection that failed or ended early; another attempt may resume from there."""


class Transfer:
    """The download of one file.

    Notes beside the partial file hold the address, the length, and what identifies this version of the file. If they
    still apply, only the rest is requested; otherwise the download starts over.

    Attributes:
        part: The partial file, ``<target>.part``.
    """

    def __init__(self, url: str, target: Path, limit: int) -> None:
        """Prepare to download ``url``, of at most ``limit`` bytes, to ``target``; nothing is requested yet."""
        self.part = target.with_name(target.name + ".part")
        self._notes = target.with_name(target.name + ".part.json")
        self._url, self._target, self._limit = url, target, limit

    def receive(self) -> None:
        """Download until `part` is complete.

        Raises:
            DataError: If the server cannot be reached or has no such file, or the file is too large.
            OSError: If the disk is full or cannot be written.
        """
        self._attempt(self._receive)

    def read_beside(self, suffix: str) -> bytes | None:
        """Return the content of the small file ``<url><suffix>``; None if the server has no such file.

        Raises:
            DataError: If the server cannot be reached.
        """

        def read() -> bytes | None:
            with _open(self._url + suffix) as response:
                return _read(response, _BLOCK) if response.status == http.client.OK else None

        return self._attempt(read)

    def finish(self) -> None:
        """Rename the complete file to its final name."""
        self.part.replace(self._target)
        self._notes.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete what has been downloaded."""
        self.part.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def _attempt(self, work: Callable[[], _T]) -> _T:
        """Call ``work`` until the connection does not fail, a limited number of times."""
        for wait in _WAITS_S:
            try:
                return work()
            except _CutError as error:  # noqa: PERF203  # trying again is the purpose
                _LOG.warning("%s: %s; trying again in %.0f s", self._target.name, error, wait)
                time.sleep(wait)
        try:
            return work()
        except _CutError as error:
            msg = (
                f"{self._url} could not be downloaded: {error}. Run again to go on where it stopped, "
                f"or download it by hand and put {self._target.name} into {self._target.parent}."
            )
            raise DataError(msg) from error

    def _receive(self) -> None:
        done, notes = self._known()
        if done and done == notes["length"]:
            return  # complete, but the process ended before it had its name
        headers = {"Range": f"bytes={done}-", "If-Range": notes["validator"]} if done else {}
        with _open(self._url, headers) as response:
            if response.status not in (http.client.OK, http.client.PARTIAL_CONTENT):
                self._refuse_status(response)
            elif response.status == http.client.PARTIAL_CONTENT:
                self._check_continues(response, done, notes)
            else:
                done, notes = 0, self._begin(response)
            self._check_fits(done, notes["length"] or 0)
            self._append(response, done, notes["length"])

    def _known(self) -> tuple[int, dict[str, Any]]:
        """Return the size of the partial file and its notes; size 0 if it cannot be resumed."""
        try:
            notes = parse_json(self._notes.read_text(encoding="utf-8"))
            same = notes["url"] == self._url and notes["validator"]
            done, length = self.part.stat().st_size, int(notes["length"] or 0)
        except (FileNotFoundError, ValueError, KeyError, TypeError):  # the last three: the notes are damaged
            return 0, {}
        return (done, notes) if same and done <= length else (0, {})

    def _begin(self, response: Any) -> dict[str, Any]:
        self.discard()  # first: bytes never lie beside the notes of another file
        notes = {"url": self._url, "validator": _validator(response), "length": _length(response)}
        write_whole(self._notes, json.dumps(notes).encode())
        return notes

    def _refuse_status(self, response: Any) -> None:
        if response.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            self._begin_anew()
        msg = (
            f"{self._url} cannot be downloaded: the server answers {response.status} {response.reason}; "
            "get the file elsewhere and name it with --source."
        )
        raise DataError(msg)

    def _check_continues(self, response: Any, done: int, notes: dict[str, Any]) -> None:
        """Check that the rest starts at the right byte of the same version: some servers ignore If-Range."""
        start = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
        if start is None or int(start[1]) != done or _validator(response) != notes["validator"]:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self.discard()
        msg = "the file changed since the download began"
        raise _CutError(msg)

    def _check_fits(self, done: int, size: int) -> None:
        if size > self._limit:
            self._refuse_size(size)
        free = shutil.disk_usage(self._target.parent).free
        if size - done > free:
            msg = f"{size - done:,} bytes are needed, {free:,} are free"
            raise OSError(msg)

    def _refuse_size(self, size: int) -> None:
        self.discard()
        msg = (
            f"{self._url} may have at most {self._limit:,} bytes, it has {size:,} or more; "
            f"if that is right, download it by hand and put it into {self._target.parent}."
        )
        raise DataError(msg)

    def _append(self, response: Any, done: int, length: int | None) -> None:
        label = f"Downloading {self._target.name}"
        with self.part.open("ab") as file, open_progress(length or 0, label, "B") as progress:
            progress.advance(done)
            while block := _read(response, _BLOCK):
                done += len(block)
                if done > self._limit:
                    self._refuse_size(done)
                file.write(block)
                progress.advance(len(block))
        if length is not None and done < length:
            msg = f"the connection ended after {done:,} of {length:,} bytes"
            raise _CutError(msg)


def _open(url: str, headers: dict[str, str] | None = None) -> Any:
    """Return the server's response of any status, except one of a temporary problem, which may be retried."""
    request = urllib.request.Request(url, headers={"User-Agent": "recbole-nasr", **(headers or {})})  # noqa: S310 - as below
    try:
        return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 - addresses are ours, not a user's
    except urllib.error.HTTPError as error:
        if error.code not in _PASSING:
            return error
        error.close()
        msg = f"the server answers {error.code} {error.reason}"
        raise _CutError(msg) from error
    except (OSError, http.client.HTTPException) as error:
        msg = f"no connection ({getattr(error, 'reason', error)})"
        raise _CutError(msg) from error


def _read(response: Any, size: int) -> bytes:
    """Read from the network, and raise its errors as :class:`_CutError`, apart from those of the disk."""
    try:
        return response.read(size)
    except (OSError, http.client.HTTPException) as error:
        msg = f"the connection broke ({error})"
        raise _CutError(msg) from error


def _validator(response: Any) -> str | None:
    """Return what identifies the version of a file: a strong ETag, or else the date of its last change."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _length(response: Any) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None
