from __future__ import annotations

import doctest

from benchmarks.speed import startup, text, timing
from benchmarks.speed.sections import quality
from benchmarks.speed.timing import Seconds, take_turns


def test_examples_in_the_docstrings_hold() -> None:
    for module in (quality, startup, text, timing):
        assert doctest.testmod(module).failed == 0


def test_every_round_measures_everyone_and_begins_with_another_one() -> None:
    order: list[str] = []

    def measure(name: str) -> Seconds:
        order.append(name)
        return Seconds(1.0, 1.0)

    times = take_turns([lambda n=name: measure(n) for name in "abc"], rounds=3, budget_s=1000.0)
    assert "".join(order) == "abcbcacab"
    assert [len(one.rounds) for one in times] == [3, 3, 3]


def test_no_round_begins_after_the_budget_but_the_least_are_run() -> None:
    times = take_turns([lambda: Seconds(1.0, 1.0)], rounds=50, budget_s=-1.0, least_rounds=4)
    assert len(times[0].rounds) == 4
