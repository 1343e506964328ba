"""One thing to measure, done in several ways: gate first, then the clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks.speed.counting import count_kernels, peak_bytes
from benchmarks.speed.floors import Work
from benchmarks.speed.gates import Check, failures
from benchmarks.speed.timing import Seconds, calls_per_round, seconds_per_call, take_turns


@dataclass(kw_only=True)
class Implementation:
    """One way to do it.

    Args:
        name: ``reference``, ``fast``, or whose code it is.
        run: Does it once, here. What is timed.
        check: Compares what it gives with the plain reference; run before any timing.
        remote: Does it once in another process instead, and returns the seconds it took there.
        note: What the reader must know of this line.
        settle: Calls before anything is counted or timed: the first ones may compile and capture. Their time is kept
            apart, and so is that of compiling, in the gate as well.
        work: What it has to do, where that differs from the case's own.
        counts: Kernels and memory of one call, where another process counts them.
    """

    name: str
    run: Callable[[], Any] | None = None
    check: Callable[[], Sequence[Check]] | None = None
    remote: Callable[[], Seconds] | None = None
    note: str = ""
    settle: int = 1
    work: Work | None = None
    counts: Callable[[], dict[str, int]] | None = None


@dataclass(kw_only=True)
class Case:
    """What is measured.

    Args:
        section: Of the benchmark.
        title: What is done, such as ``first block``.
        shape: Name of the sizes.
        unit: What one call is, such as ``step of 256 sequences``.
        implementations: Ways to do it, the plain reference first.
        work: What must be done at least; its floor is set against every time.
        precision: Of the matrix products, which the floor depends on.
        details: Anything else worth keeping.
    """

    section: str
    title: str
    shape: str
    unit: str
    implementations: list[Implementation]
    work: Work | None = None
    precision: str = "fp32"
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: Rounds at most.
        budget_s: Seconds for the rounds of a case; at least ``least_rounds`` are run.
        least_rounds: Rounds at least.
        shortest_round_s: A round repeats short calls until it takes about this long.
    """

    rounds: int = 15
    budget_s: float = 60.0
    least_rounds: int = 3
    shortest_round_s: float = 0.15


def measure(case: Case, device: torch.device, effort: Effort) -> list[dict[str, Any]]:
    """Gate every implementation, time those that pass in interleaved rounds, and return a line for each.

    An implementation that differs from the reference gets a line that says how, and no time.
    """
    lines, passed = [], []
    for implementation in case.implementations:
        line, ready = _prepare(implementation, device)
        lines.append(line)
        if ready:
            passed.append((line, implementation))
    measures = [_measure_of(implementation, line, device, effort) for line, implementation in passed]
    all_times = take_turns(measures, rounds=effort.rounds, budget_s=effort.budget_s, least_rounds=effort.least_rounds)
    for (line, _), times in zip(passed, all_times, strict=True):
        line.update(times.summary())
    return lines


def compile_seconds(device: torch.device) -> float:
    """Return what this process has spent compiling so far; on a CPU, where nothing is compiled, 0."""
    if device.type != "cuda":
        return 0.0
    from torch._dynamo.utils import calculate_time_spent  # slow to import

    return float(calculate_time_spent().get("total_wall_time", 0.0))


def _prepare(implementation: Implementation, device: torch.device) -> tuple[dict[str, Any], bool]:
    """Run the gate and one call, and count what the call does."""
    line: dict[str, Any] = {"implementation": implementation.name, "note": implementation.note}
    compiling = compile_seconds(device)
    checks = list(implementation.check()) if implementation.check else []
    line["gate"] = [check.as_dict() for check in checks]
    refused = failures(checks)
    if refused:
        line["refused"] = "; ".join(refused)
        return line, False
    if implementation.counts:
        line.update(implementation.counts())
    if implementation.run is None:
        return line, True
    for name, n_calls in (("first_call_s", 1), ("settling_s", implementation.settle - 1)):
        start = time.perf_counter()
        for _ in range(n_calls):
            implementation.run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        line[name] = time.perf_counter() - start
    line["compile_s"] = compile_seconds(device) - compiling
    line["kernels"] = count_kernels(implementation.run, device)
    line["peak_bytes"] = peak_bytes(implementation.run, device)
    return line, True


def _measure_of(
    implementation: Implementation, line: dict[str, Any], device: torch.device, effort: Effort
) -> Callable[[], Seconds]:
    if implementation.remote is not None:
        return implementation.remote
    run = implementation.run
    if run is None:
        msg = f"`{implementation.name}` has neither `run` nor `remote`."
        raise ValueError(msg)
    n_calls = calls_per_round(seconds_per_call(run, device, 1).device, effort.shortest_round_s)
    line["calls_per_round"] = n_calls
    return lambda: seconds_per_call(run, device, n_calls)
