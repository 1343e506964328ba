from __future__ import annotations

import hashlib
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recbole_nasr.data import locking, transfer
from recbole_nasr.data.download import ARCHIVES, Archive, fetch
from recbole_nasr.errors import ConfigError, DataError

BODY = bytes(range(256)) * 1200  # five blocks
CHANGED = BODY[::-1]


@dataclass
class Publisher:
    """A file server on this machine, and how it misbehaves."""

    body: bytes = BODY
    checksum: str | None = None
    cut_after: list[int] = field(default_factory=list)  # bytes sent before the connection ends, for each request
    status: list[int] = field(default_factory=list)  # answers instead of the file, for each request
    with_length: bool = True
    minds_if_range: bool = True
    asked: list[str] = field(default_factory=list)
    held: threading.Event = field(default_factory=threading.Event)  # answers wait for it

    @property
    def tag(self) -> str:
        return f'"{hashlib.sha1(self.body).hexdigest()}"'  # noqa: S324  # a name for the content


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:  # the name that the base class calls
        publisher: Publisher = self.server.publisher
        publisher.asked.append(self.path + " " + self.headers.get("Range", "whole"))
        publisher.held.wait(20)
        if publisher.status:
            self.send_error(publisher.status.pop(0))
        elif self.path.endswith(".md5"):
            self._answer_checksum(publisher.checksum)
        else:
            self._answer(publisher)

    def _answer_checksum(self, text: str | None) -> None:
        if text is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def _answer(self, publisher: Publisher) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if publisher.minds_if_range and self.headers.get("If-Range") != publisher.tag:
            start = 0
        if start >= len(publisher.body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("ETag", publisher.tag)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(publisher.body) - 1}/{len(publisher.body)}")
        rest = publisher.body[start:]
        if publisher.with_length:
            self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: publisher.cut_after.pop(0)] if publisher.cut_after else rest)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def publisher(monkeypatch: pytest.MonkeyPatch) -> Iterator[Publisher]:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfer, "_WAITS_S", (0.0, 0.0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.publisher = Publisher()
    server.publisher.held.set()
    url = f"http://127.0.0.1:{server.server_port}/files/ml-1m.zip?download=1"
    archive = Archive(url, hashlib.md5(BODY).hexdigest(), limit=len(BODY))  # noqa: S324
    monkeypatch.setitem(ARCHIVES, "ml-1m", archive)
    monkeypatch.setitem(ARCHIVES, "ml-latest", Archive(url.removesuffix("?download=1"), None, len(BODY)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server.publisher
    server.publisher.held.set()
    server.shutdown()
    thread.join()
    server.server_close()


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def _ranges(publisher: Publisher) -> list[str]:
    return [line.split()[1] for line in publisher.asked]


def test_a_file_is_downloaded_whole_and_nothing_else_is_left(publisher: Publisher, tmp_path: Path) -> None:
    path = fetch("ml-1m", tmp_path / "new" / "folder")
    assert path == tmp_path / "new" / "folder" / "ml-1m.zip"
    assert path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]


def test_after_a_cut_only_the_rest_is_asked_for(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut_after = [100_000, 50_000]
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY
    assert _ranges(publisher) == ["whole", "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(publisher: Publisher, tmp_path: Path) -> None:
    publisher.cut_after = [1000, 1000, 1000]
    with pytest.raises(DataError, match=r"ended after 3,000 of 307,200 bytes.*Run again"):
        fetch("ml-1m", tmp_path)
    assert (tmp_path / "ml-1m.zip.part").read_bytes() == BODY[:3000]
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY
    assert _ranges(publisher)[-1] == "bytes=3000-"
    assert _names(tmp_path) == ["ml-1m.zip"]


@pytest.mark.parametrize("minds_if_range", [True, False])
@pytest.mark.parametrize("changed", [CHANGED, CHANGED[:100]], ids=["same_length", "shorter"])
def test_a_file_that_changed_is_not_stitched_to_the_old_beginning(
    publisher: Publisher, tmp_path: Path, *, minds_if_range: bool, changed: bytes
) -> None:
    publisher.cut_after = [1000, 1000, 1000]
    with pytest.raises(DataError):
        fetch("ml-latest", tmp_path)
    publisher.body, publisher.minds_if_range = changed, minds_if_range
    assert fetch("ml-latest", tmp_path).read_bytes() == changed


def test_a_complete_download_that_was_not_renamed_yet_is_not_asked_for_again(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(transfer.Transfer, "finish", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch("ml-1m", tmp_path)
    assert _names(tmp_path) == ["ml-1m.zip.part", "ml-1m.zip.part.json"]
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY
    assert len(publisher.asked) == 1


@pytest.mark.parametrize("notes", ["{", "{}", "[]"])
def test_damaged_notes_mean_a_new_beginning(publisher: Publisher, tmp_path: Path, notes: str) -> None:
    (tmp_path / "ml-1m.zip.part").write_bytes(b"of something else")
    (tmp_path / "ml-1m.zip.part.json").write_text(notes)
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY


def test_a_wrong_checksum_names_both_and_leaves_no_file(publisher: Publisher, tmp_path: Path) -> None:
    publisher.body = CHANGED
    wrong, right = hashlib.md5(CHANGED).hexdigest(), hashlib.md5(BODY).hexdigest()  # noqa: S324
    with pytest.raises(DataError, match=f"must have the MD5 {right}.*it has {wrong}.*run again"):
        fetch("ml-1m", tmp_path)
    assert _names(tmp_path) == []


@pytest.mark.parametrize("layout", ["{}  ml-latest.zip\n", "MD5 (ml-latest.zip) = {}\n"])
def test_a_file_that_may_change_is_checked_against_the_published_checksum(
    publisher: Publisher, tmp_path: Path, layout: str
) -> None:
    publisher.checksum = layout.format(hashlib.md5(BODY).hexdigest().upper())  # noqa: S324
    assert fetch("ml-latest", tmp_path / "right").read_bytes() == BODY
    publisher.checksum = layout.format("0" * 32)
    with pytest.raises(DataError, match="must have the MD5 " + "0" * 32):
        fetch("ml-latest", tmp_path / "wrong")


def test_without_a_published_checksum_there_is_a_warning(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert fetch("ml-latest", tmp_path).read_bytes() == BODY
    assert "gives no checksum" in caplog.text


@pytest.mark.parametrize("with_length", [True, False])
def test_a_file_above_the_limit_is_refused(publisher: Publisher, tmp_path: Path, *, with_length: bool) -> None:
    publisher.body, publisher.with_length = BODY + b"x", with_length
    with pytest.raises(DataError, match=r"at most 307,200 bytes, it has 307,201"):
        fetch("ml-1m", tmp_path)
    assert _names(tmp_path) == []


def test_a_file_of_unknown_length_is_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    publisher.with_length = False
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY


def test_a_missing_file_is_not_asked_for_twice(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status = [404]
    with pytest.raises(DataError, match=r"ml-1m\.zip\?download=1 cannot be downloaded.*404 Not Found.*--source"):
        fetch("ml-1m", tmp_path)
    assert len(publisher.asked) == 1


def test_a_passing_trouble_is_waited_for(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status = [503, 429]
    assert fetch("ml-1m", tmp_path).read_bytes() == BODY


def test_a_trouble_that_stays_ends_after_a_bounded_number_of_attempts(publisher: Publisher, tmp_path: Path) -> None:
    publisher.status = [503] * 9
    with pytest.raises(DataError, match="503 Service Unavailable"):
        fetch("ml-1m", tmp_path)
    assert len(publisher.asked) == 3


def test_without_a_connection_the_message_says_what_to_download_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(transfer, "_WAITS_S", ())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # ours, so that no other process of the tests gets it, and nobody listens there
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/ml-1m.zip"
        monkeypatch.setitem(ARCHIVES, "ml-1m", Archive(url, None, 10))
        with pytest.raises(DataError, match=f"{url} could not.*refused.*by hand and put ml-1m.zip into {tmp_path}"):
            fetch("ml-1m", tmp_path)


def test_a_silent_server_is_given_up(publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_TIMEOUT_S", 0.05)
    publisher.held.clear()
    with pytest.raises(DataError, match="timed out"):
        fetch("ml-1m", tmp_path)


def test_a_disk_without_room_is_noticed_before_the_download(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = transfer.shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError, match=r"307,200 bytes are needed, 1,000 are free; free space there"):
        fetch("ml-1m", tmp_path)
    assert not (tmp_path / "ml-1m.zip.part").exists()


def test_a_folder_that_cannot_be_made_is_an_error_of_the_data(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set data_path"):
        fetch("ml-1m", tmp_path / "file")


def test_a_file_that_is_there_is_checked_and_not_downloaded(publisher: Publisher, tmp_path: Path) -> None:
    path = tmp_path / "ml-1m.zip"
    path.write_bytes(BODY)
    assert fetch("ml-1m", tmp_path) == path
    path.write_bytes(BODY[:-1])
    with pytest.raises(DataError, match=f"Remove {path} and run again"):
        fetch("ml-1m", tmp_path)
    assert path.read_bytes() == BODY[:-1]
    assert publisher.asked == []


def test_of_several_at_once_one_downloads_and_the_others_say_that_they_wait(
    publisher: Publisher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[str] = []

    def hear(text: str, *values: object) -> None:
        waiting.append(text % values)
        if len(waiting) == 3:
            publisher.held.set()

    monkeypatch.setattr(locking._LOG, "info", hear)
    publisher.held.clear()
    with ThreadPoolExecutor(4) as pool:
        paths = set(pool.map(lambda _: fetch("ml-1m", tmp_path), range(4)))
    assert [path.read_bytes() for path in paths] == [BODY]
    assert len(publisher.asked) == 1
    assert waiting[:3] == ["another process makes ml-1m.zip; waiting for it"] * 3
    assert list(tmp_path.iterdir()) == list(paths)


def test_progress_is_logged_where_there_is_no_terminal(
    publisher: Publisher, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"):
        fetch("ml-1m", tmp_path)
    assert "Downloading ml-1m.zip: done" in caplog.text


def test_an_unknown_archive_names_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'ml-25m'"):
        fetch("ml25m", tmp_path)


@pytest.mark.parametrize("name", ARCHIVES)
def test_every_archive_comes_over_https_and_fixed_releases_have_a_checksum(name: str) -> None:
    archive = ARCHIVES[name]
    assert archive.url.startswith("https://")
    assert archive.file_name.endswith((".zip", ".tar.gz"))
    assert (archive.md5 is None) == name.startswith("ml-latest")
    assert archive.md5 is None or len(bytes.fromhex(archive.md5)) == 16
