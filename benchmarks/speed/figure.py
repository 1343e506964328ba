"""The roofline: what was reached, below what can be reached at that many FLOPs for each byte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

MARKERS = {"search_step": "o", "ranking": "s", "retraining": "D", "softmax": "^", "evaluation": "v"}


def points(results: dict[str, Any]) -> list[tuple[str, str, float, float]]:
    """Return section, title, FLOPs per byte of the work that must be done, and FLOP/s reached by our way."""
    found = []
    for case in results["cases"]:
        for line in case["lines"]:
            floor = line.get("floor")
            if line["implementation"] == "fast" and floor and floor["flops"] and "median_s" in line:
                title = f"{case['section'].replace('_', ' ')}, {case['title']}, {case['shape']}"
                found.append(
                    (case["section"], title, floor["flops"] / floor["bytes"], floor["flops"] / line["median_s"])
                )
    return found


def save_roofline(results: dict[str, Any], path: Path) -> None:
    """Draw the figure as SVG; equal results give an equal file."""
    figure = Figure(figsize=(10, 5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    roof = results["roofline"]
    peak, bandwidth = roof["flops"]["fp32"], roof["bandwidth"]
    drawn = points(results)
    highest = max([point[2] for point in drawn] + [10 * peak / bandwidth])
    intensity = np.geomspace(1, 2 * highest, 200)
    axes.plot(
        intensity, np.minimum(peak, intensity * bandwidth) / 1e9, color="black", label="large matrix product, copy"
    )
    axes.axhline(
        roof["narrow_flops"] / 1e9, color="black", linestyle=":", label="matrix product of a layer (64 to 256 wide)"
    )
    colours = mpl.colormaps["tab20"].colors  # type: ignore[attr-defined]  # a map of a list
    for index, (section, title, x, y) in enumerate(drawn):
        axes.plot(
            x,
            y / 1e9,
            MARKERS.get(section, "x"),
            color=colours[index % len(colours)],
            markersize=8,
            markeredgecolor="black",
            label=title,
        )
    axes.set(xscale="log", yscale="log", xlabel="FLOPs that must be done for each byte", ylabel="GFLOP/s")
    figure.legend(fontsize=7, loc="outside right upper")
    with mpl.rc_context({"svg.hashsalt": "recbole-nasr"}):
        figure.savefig(path, metadata={"Date": None})
