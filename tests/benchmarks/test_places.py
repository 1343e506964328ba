"""The places in which benchmarks/reliability/kill.py kills a run."""

from __future__ import annotations

import pytest

from benchmarks.reliability.places import PLACES, SEAMS, Whereabouts


def test_every_place_is_a_function_of_the_program() -> None:
    for owner, name, _ in SEAMS:
        assert callable(getattr(owner, name, None)), f"{owner.__name__}.{name}"


def test_a_process_is_where_the_innermost_of_its_calls_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for owner, name, _ in SEAMS:  # what follow() replaces is put back
        monkeypatch.setattr(owner, name, getattr(owner, name))
    where = Whereabouts()
    where.follow()
    assert where.place == PLACES[0] == "elsewhere"
    with where.at("ranking"):
        with where.at("saving"):
            assert where.place == "saving"
        assert where.place == "ranking"
    assert where.place == "elsewhere"
    assert where.visit_seconds("saving") <= where.seconds("ranking") + where.seconds("saving")
