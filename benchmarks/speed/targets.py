"""What was asked for, beside what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

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
    """

    text: str
    case: tuple[str, str, str]
    slow: str
    ours: str
    asked: float

    def ratio(self, results: dict[str, Any]) -> float | None:
        """Return how many times as fast it is, or nothing where it was not measured or refused."""
        case = find_case(results, *self.case)
        slow, ours = (find_line(case, name).get("median_s") for name in (self.slow, self.ours))
        return slow / ours if slow and ours else None


def _both(text: str, section: str, title: str, ours: str, asked: float) -> list[Target]:
    return [Target(f"{text}, `{shape}`", (section, title, shape), SHIPPED, ours, asked) for shape in ("ml", "lastfm")]


TARGETS = (
    *(target for name in ("mask", "crop", "reorder") for target in _both(f"views: {name}", "data", name, "fast", 20)),
    *_both("ranking, like for like", "ranking", "first block", "published, like for like", 3),
    *_both("ranking, as shipped, two views", "ranking", "first block", "fast", 2),
    *_both("evaluation scoring", "evaluation", "scoring and ranking", "fast", 20),
    Target(
        "ml-100k epoch, RecBole's SASRec and a network as deep",
        ("recbole", "SASRec, 2 layers", "ml-100k"),
        "RecBole's SASRec",
        "NASR",
        8,
    ),
)


def targets_table(results: dict[str, Any]) -> str:
    """Return a row for every target: asked, found, met or not."""
    rows = []
    for target in TARGETS:
        found = target.ratio(results)
        verdict = "not measured" if found is None else ("yes" if found >= target.asked else "no")
        rows.append([target.text, f"{target.asked:g} times", "-" if found is None else f"{found:.3g} times", verdict])
    own = results.get("import_time", {}).get("own_s")
    if own is not None:
        rows.append(["import, beyond torch and RecBole", "< 1 s", f"{own:.2f} s", "yes" if own < 1 else "no"])
    return table(["", "asked", "found", "met"], rows)
