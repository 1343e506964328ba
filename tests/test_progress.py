from __future__ import annotations

import io
import logging
import sys

import pytest

from recbole_nasr import progress
from recbole_nasr.progress import Progress, open_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that progress sees, in a list of one."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    return now


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "recbole_nasr"]


def test_off_a_terminal_a_line_comes_every_20_seconds_and_one_at_the_end(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"), open_progress(10, "search") as shown:
        for _ in range(10):
            clock[0] += 8.0
            shown.advance(loss=0.5)
    assert messages(caplog) == [
        "search: 30 %, about 56 s left, loss 0.5",
        "search: 60 %, about 32 s left, loss 0.5",
        "search: 90 %, about 8 s left, loss 0.5",
        "search: done in 1 min 20 s, loss 0.5",
    ]


def test_what_was_said_last_stays_beside_the_work(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"), open_progress(4, "search") as shown:
        shown.advance(0, loss=0.5)  # before any work is done nothing is known of the time left
        for seconds in (30.0, 1.0, 29.0):
            clock[0] += seconds
            shown.advance()
        shown.advance(0, loss=0.25)
    assert messages(caplog) == [
        "search: 25 %, about 1 min 30 s left, loss 0.5",
        "search: 75 %, about 20 s left, loss 0.5",
        "search: done in 1 min 0 s, loss 0.25",
    ]


def test_quick_work_is_one_line(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"), open_progress(3, "rank") as shown:
        shown.advance(3)
    assert messages(caplog) == ["rank: done in 0.0 s"]


def test_work_that_fails_is_not_said_to_be_done(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"), pytest.raises(KeyError), open_progress(3, "rank"):
        raise KeyError
    assert messages(caplog) == []


def test_on_a_terminal_a_bar_is_drawn_and_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    with open_progress(4, "search") as shown:
        shown.advance(2, loss=0.5)
    assert "search" in screen.getvalue()
    assert "\n" not in screen.getvalue()


def test_progress_may_be_shown_to_nobody() -> None:
    assert Progress().advance(3, loss=1) is None
