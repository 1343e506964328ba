"""Timing calls: wall clock and device clock, in rounds that take turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any

import torch

SHORTEST_ROUND_S = 0.15
MOST_CALLS = 200


@dataclass(frozen=True)
class Seconds:
    """Seconds of one call, the mean over the calls of a round.

    Args:
        wall: Until the device has finished, by the host's clock.
        device: Between two events on a GPU. On a CPU processor time, which other work on the machine hardly lengthens;
            with several threads, whose times would add up, the same as ``wall``.
    """

    wall: float
    device: float


def seconds_per_call(call: Callable[[], Any], device: torch.device, n_calls: int) -> Seconds:
    """Run ``call`` ``n_calls`` times and return the mean."""
    if device.type != "cuda":
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(n_calls):
            call()
        used = (time.process_time() - processor) / n_calls
        wall = (time.perf_counter() - start) / n_calls
        return Seconds(wall, used if torch.get_num_threads() == 1 else wall)
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize(device)
    start = time.perf_counter()
    before.record()
    for _ in range(n_calls):
        call()
    after.record()
    torch.cuda.synchronize(device)
    wall = (time.perf_counter() - start) / n_calls
    return Seconds(wall, before.elapsed_time(after) / 1000 / n_calls)


def calls_per_round(seconds: float, shortest: float = SHORTEST_ROUND_S) -> int:
    """Return how many calls of ``seconds`` each make a round that a clock can measure.

    Example:
        >>> calls_per_round(0.02), calls_per_round(3.0)
        (8, 1)
    """
    return min(MOST_CALLS, max(1, round(shortest / max(seconds, 1e-9))))


@dataclass
class Times:
    """The rounds of one implementation."""

    rounds: list[Seconds] = field(default_factory=list)

    def summary(self) -> dict[str, float | int]:
        """Return median and quartiles of the device's clock, the median of the wall clock, and the number of rounds."""
        first, middle, third = quartiles([one.device for one in self.rounds])
        return {
            "median_s": middle,
            "q1_s": first,
            "q3_s": third,
            "wall_s": quartiles([one.wall for one in self.rounds])[1],
            "rounds": len(self.rounds),
        }


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Return first quartile, median and third quartile; of one value, three times that.

    Example:
        >>> quartiles([1.0, 2.0, 3.0, 4.0, 5.0])
        (2.0, 3.0, 4.0)
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    first, middle, third = quantiles(values, n=4, method="inclusive")
    return first, middle, third


def take_turns(
    measures: Sequence[Callable[[], Seconds]], *, rounds: int, budget_s: float, least_rounds: int = 3
) -> list[Times]:
    """Measure everyone once a round, each round starting with another one.

    What else the machine does hits all of them alike, so that their ratios hold even where their times do not.

    Args:
        measures: One function for each, that runs it and returns its seconds per call.
        rounds: Rounds at most.
        budget_s: No further round begins after so many seconds.
        least_rounds: Rounds at least, whatever they take.
    """
    times = [Times() for _ in measures]
    start = time.perf_counter()
    for number in range(rounds):
        if number >= least_rounds and time.perf_counter() - start > budget_s:
            break
        for turn in range(len(measures)):
            index = (number + turn) % len(measures)
            times[index].rounds.append(measures[index]())
    return times
