"""What was asked for, beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.floors import published_ranking_flops, ranking_work
from benchmarks.speed.shapes import SCALES
from benchmarks.speed.tables import find_case, find_line, table

SHIPPED = "published, as shipped"


@dataclass(frozen=True)
class Target:
    """A ratio that is asked for.

    Args:
        text: What it is, for people.
        case: Section, title and shape.
        slow: Line that is compared with.
        ours: Line of ours.
        asked: How many times as fast it should be.
        most: How many times fewer FLOPs it has, where that limits the ratio.
    """

    text: str
    case: tuple[str, str, str]
    slow: str
    ours: str
    asked: float
    most: float | None = None

    def ratio(self, results: dict[str, Any]) -> float | None:
        """Return how many times as fast it is, or nothing where it was not measured or refused."""
        case = find_case(results, *self.case)
        slow, ours = (find_line(case, name).get("median_s") for name in (self.slow, self.ours))
        return slow / ours if slow and ours else None


def _both(text: str, section: str, title: str, ours: str, asked: float) -> list[Target]:
    return [
        Target(f"{text}, `{shape.name}`", (section, title, shape.name), SHIPPED, ours, asked)
        for shape in SCALES["paper"]
    ]


def _rankings() -> Iterator[Target]:
    for shape in SCALES["paper"]:
        case, flops = ("ranking", "first block", shape.name), published_ranking_flops(shape, shared=False)
        shared = published_ranking_flops(shape, shared=True)
        two_views = ranking_work(shape, 0, 2).flops / shape.ranking_rows
        like = f"ranking, like for like, `{shape.name}`"
        yield Target(like, case, SHIPPED, "published, like for like", 3, flops / shared)
        yield Target(f"ranking, two views, `{shape.name}`", case, SHIPPED, "fast", 2, flops / two_views)


TARGETS = (
    *(target for name in ("mask", "crop", "reorder") for target in _both(f"views: {name}", "data", name, "fast", 20)),
    *_rankings(),
    *_both("evaluation scoring", "evaluation", "scoring and ranking", "fast", 20),
    Target(
        "ml-100k epoch, RecBole's SASRec and a network as deep",
        ("recbole", "SASRec, 2 layers", "ml-100k"),
        "RecBole's SASRec",
        "NASR",
        8,
    ),
)


READY = "published, batches ready"
NETWORK = ("evaluation", "with the network")
GPU_TARGETS = tuple(
    Target(f"{text}, `{shape.name}`", (section, title, shape.name), slow, "fast", asked)
    for shape in SCALES["paper"]
    for text, section, title, slow, asked in (
        ("search step, first block", "search_step", "first block", SHIPPED, 20),
        ("search step, last block", "search_step", "last block", SHIPPED, 20),
        ("search step, first block, batches ready", "search_step", "first block", READY, 8),
        ("search step, last block, batches ready", "search_step", "last block", READY, 8),
        ("ranking", "ranking", "first block", SHIPPED, 100),
        ("retraining step", "retraining", "16 layers", SHIPPED, 12),
        ("full-ranking evaluation", *NETWORK, SHIPPED, 100),
    )
)
SEARCH_S, OF_THE_FLOOR = 90.0, 3.0


def _verdict(found: float | None, asked: float, *, at_most: bool = False) -> str:
    """Return whether what was found is what was asked, in words."""
    if found is None:
        return "not measured"
    return "yes" if (found <= asked if at_most else found >= asked) else "no"


def gpu_targets_table(results: dict[str, Any] | None) -> str:
    """Return a row for every target of a GPU; without results all are "not measured"."""
    known = results or {"cases": []}
    rows = []
    for target in GPU_TARGETS:
        found = target.ratio(known)
        shown = "-" if found is None else f"{found:.3g}"
        rows.append([target.text, f"{target.asked:g} times", shown, _verdict(found, target.asked)])
    seconds = find_line(find_case(known, "search", "whole search", "ml"), "whole search").get("wall_s")
    verdict = _verdict(seconds, SEARCH_S, at_most=True)
    shown = "-" if seconds is None else f"{seconds:.1f} s"
    rows.append(["whole search, `ml`", f"at most {SEARCH_S:g} s", shown, verdict])
    for case in known["cases"]:
        line = find_line(case, "fast")
        if "floor" in line and "median_s" in line:
            times = line["median_s"] / line["floor"]["seconds"]
            name = f"{case['section'].replace('_', ' ')}, {case['title']}, `{case['shape']}`: of its floor"
            verdict = _verdict(times, OF_THE_FLOOR, at_most=True)
            rows.append([name, f"at most {OF_THE_FLOOR:g}", f"{times:.3g}", verdict])
    return table(["", "asked", "found", "met"], rows)


def targets_table(results: dict[str, Any]) -> str:
    """Return a row for every target: asked, found, met or not."""
    rows = []
    for target in TARGETS:
        found = target.ratio(results)
        verdict = _verdict(found, target.asked)
        most = f"{target.most:.2f}" if target.most else ""
        rows.append([target.text, f"{target.asked:g}", "-" if found is None else f"{found:.3g}", verdict, most])
    own = results.get("import_time", {}).get("own_s")
    if own is not None:
        rows.append(["import, beyond torch and RecBole", "below 1 s", f"{own:.2f} s", "yes" if own < 1 else "no", ""])
    return table(["times as fast", "asked", "found", "met", "times fewer FLOPs"], rows)
