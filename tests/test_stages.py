from __future__ import annotations

import time

import pytest

from recbole_nasr.stages import StageClock


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    present = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: present[0])
    return present


def test_a_stage_that_comes_again_adds_to_its_time(now: list[float]) -> None:
    clock = StageClock({"data": 1.0, "training": 10.0})
    for _ in range(2):
        with clock.stage("training"):
            now[0] += 2.5
    assert clock.seconds == {"data": 1.0, "training": 15.0}


def test_the_present_stage_is_part_of_what_has_elapsed_alone(now: list[float]) -> None:
    clock = StageClock()
    with clock.stage("search"):
        now[0] += 3.0
        assert (clock.elapsed(), clock.seconds) == ({"search": 3.0}, {})
        now[0] += 1.0
    assert clock.elapsed() == clock.seconds == {"search": 4.0}


def test_a_stage_that_fails_has_its_time_too(now: list[float]) -> None:
    clock = StageClock()

    def fail() -> None:
        now[0] += 2.0
        raise KeyError

    with pytest.raises(KeyError), clock.stage("test"):
        fail()
    assert clock.elapsed() == {"test": 2.0}
