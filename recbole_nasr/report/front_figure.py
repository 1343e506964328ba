"""The figure of accuracy against cost: as the search predicts it, and as trainings measured it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_nasr.report.canvas import drawing, save_both
from recbole_nasr.runs.candidates import Fronts
from recbole_nasr.search.costs import COSTS
from recbole_nasr.search.shortlist import CHOSEN, KEPT_OPEN, NEXT, TIED
from recbole_nasr.trainer.candidates import Trained
from recbole_nasr.trainer.strategies import PREDICTED, PURE, RANDOM
from recbole_nasr.trainer.verification import Verification

_AXES = {  # title and unit
    "parameters": ("thousand parameters", 1e3),
    "flops": ("MFLOPs of a recommendation", 1e6),
    "latency_ms": ("latency at batch 1, ms", 1.0),
}
_RING = {"marker": "o", "markersize": 11, "markerfacecolor": "none", "color": "black", "linestyle": "none"}
_MARKERS = {  # of the first origin; shapes, so that no colour is needed
    CHOSEN: ("o", "black"),
    KEPT_OPEN: ("o", "white"),
    NEXT: ("D", "white"),
    TIED: ("^", "white"),
    PURE: ("s", "#999999"),
    RANDOM: ("x", "black"),
    PREDICTED: ("*", "black"),
}


def save_front_figure(found: Fronts, verification: Verification | None, stem: Path, title: str) -> list[Path]:
    """Draw ``<stem>.svg`` and ``<stem>.png``: by the search's scores at the top, by validation below, if any.

    Args:
        found: The networks on the fronts.
        verification: All candidates that were trained, if any were.
        stem: Path without an ending.
        title: Title of the figure.

    Returns:
        The two files; none if there is nothing to draw.
    """
    n_rows = bool(found.searched) + (verification is not None)
    if not n_rows:
        return []
    with drawing(9.0, 0.6 + 2.5 * n_rows, font_size=8.0) as figure:
        figure.suptitle(title)
        panels = figure.subplots(n_rows, len(COSTS), squeeze=False)
        for column, cost in enumerate(COSTS):
            if found.searched:
                _draw_searched(panels[0, column], found, cost)
            if verification is not None:
                _draw_trained(panels[-1, column], found, verification, cost)
                panels[-1, column].set_ylabel(f"{verification.metric}, validation" if column == 0 else "")
            panels[-1, column].set_xlabel(_AXES[cost][0])
        if found.searched:
            panels[0, 0].set_ylabel("score of the search, above\nthat of its choice (circle)")
        if verification is not None:
            figure.legend(*panels[-1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
        return save_both(figure, stem)


def _draw_searched(axes: Any, found: Fronts, cost: str) -> None:
    unit = _AXES[cost][1]
    points = [(point.costs[cost] / unit, point.excess) for point in found.searched if point.cost == cost]
    axes.step(*zip(*points, strict=True), where="post", color="black", linewidth=0.8)
    axes.plot(*zip(*points, strict=True), ".", color="black", markersize=4)
    if found.choice is not None:
        axes.plot([found.choice[cost] / unit], [0.0], **_RING)
    axes.set_title("lower is better", fontsize=7)


def _draw_trained(axes: Any, found: Fronts, verification: Verification, cost: str) -> None:
    indices = dict(found.trained)[cost]
    axes.step(
        *_places([verification.trained[index] for index in indices], cost),
        where="post",
        color="black",
        linewidth=0.8,
        label="front",
    )
    for origin, (marker, face) in _MARKERS.items():
        ended = [one for one in verification.ranking if not one.stopped and one.candidate.origins[0] == origin]
        if ended:
            axes.scatter(
                *_places(ended, cost),
                marker=marker,
                label=origin,
                s=22,
                zorder=3,
                **({"color": face} if marker == "x" else {"facecolor": face, "edgecolor": "black"}),
            )
    stopped = [one for one in verification.ranking if one.stopped]
    if stopped:
        axes.scatter(*_places(stopped, cost), marker="+", color="#777777", label="stopped early", s=18)
    axes.plot(*_places([verification.winner], cost), label="taken", **_RING)
    axes.set_title("higher is better" if verification.bigger else "lower is better", fontsize=7)


def _places(trained: list[Trained], cost: str) -> tuple[list[float], list[float]]:
    return [one.costs[cost] / _AXES[cost][1] for one in trained], [one.score for one in trained]
