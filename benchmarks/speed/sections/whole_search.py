"""The whole search, stage by stage: every block trained and ranked, on as many sequences as the paper has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch

from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SEED, Shape, item_sequences, without_last
from benchmarks.speed.timing import Seconds
from recbole_nasr.keeping import Keeper
from recbole_nasr.nets.acceleration import choose
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, search

CPU_SEQUENCES = 400
"""On a CPU the whole would take days: so many sequences show every stage."""

REHEARSAL_STEPS = 40
"""Of each block before the clock starts, so that what is compiled is compiled."""

PAPER_S = {"ml": 9128.0, "lastfm": 15429.0}
"""What the paper says its search takes on a V100, supernet and selection together."""


class StageClock(Keeper):
    """Notes when each stage of a search begins; what it saves is nothing.

    Args:
        device: Waited for before the time is taken.

    Attributes:
        marks: Seconds at the beginning of the search and of every stage after the first.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.marks = [self._now()]

    def stage(self, name: str) -> None:
        """Note the time; what stage it is follows from the order."""
        super().stage(name)
        self.marks.append(self._now())

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time() if torch.get_num_threads() == 1 else time.perf_counter()  # as in `timing`

    def stages(self) -> list[float]:
        """Return what every stage took."""
        return [end - start for start, end in pairwise(self.marks)]


def cases(setting: Setting) -> Iterator[Case]:
    """Search once for every size."""
    for shape in setting.shapes:
        on_cpu = setting.device.type == "cpu" and setting.scale == "paper"
        yield _search(setting.device, replace(shape, n_sequences=CPU_SEQUENCES) if on_cpu else shape)


def _search(device: torch.device, shape: Shape) -> Case:
    from torch._dynamo.utils import counters  # slow to import

    rehearsal_s = 0.0
    if device.type == "cuda":
        few = min(shape.n_sequences, REHEARSAL_STEPS * shape.batch_size)
        rehearsal_s = sum(run_search(replace(shape, n_sequences=few), device))
    before = counters["stats"]["unique_graphs"]
    stages = run_search(shape, device)
    titles = [f"{what} block {block + 1}" for block in range(shape.n_blocks) for what in ("train", "rank")]
    lines = [_line("whole search", sum(stages)), *(_line(*stage) for stage in zip(titles, stages, strict=True))]
    return Case(
        section="search",
        title="whole search",
        shape=shape.name,
        unit=f"search on {shape.n_sequences:,} sequences, run once",
        implementations=lines,
        details={
            "n_sequences": shape.n_sequences,
            "paper_v100_s": PAPER_S.get(shape.name),
            "rehearsal_s": rehearsal_s,
            "compiled_after_rehearsal": counters["stats"]["unique_graphs"] - before,
        },
    )


def _line(name: str, seconds: float) -> Implementation:
    return Implementation(name=name, remote=lambda: Seconds(seconds, seconds))


def run_search(shape: Shape, device: torch.device) -> list[float]:
    """Search as preset ``paper`` does, and return the seconds of every stage, training and ranking in turn."""
    items, length = without_last(*item_sequences(shape, shape.n_sequences), 2)
    problem = SearchProblem(
        sequences=SearchSequences(items, length, torch.arange(shape.n_sequences)),
        space=shape.space,
        n_items=shape.n_items + 1,
        layer_settings=shape.layer_settings,
        settings=SearchSettings(n_paths=shape.n_paths, batch_size=shape.batch_size),
        seed=SEED,
        device=device,
        acceleration=choose(device),
    )
    clock = StageClock(device)
    search(problem, keeper=clock)
    return clock.stages()
