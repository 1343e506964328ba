"""The figure of a comparison: every test metric of every run with its interval, readable in black and white."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_nasr.report.canvas import drawing, save_both
from recbole_nasr.report.table import Interval, heading
from recbole_nasr.runs.results import RunResult

_ROW_HEIGHT, _PANEL_WIDTH, _MOST_PANELS = 0.32, 2.2, 4


def save_comparison_figure(
    results: Sequence[RunResult], intervals: Sequence[Mapping[str, Interval]], stem: Path
) -> list[Path]:
    """Draw one panel per metric as ``<stem>.svg`` and ``<stem>.png``: a dot for each run, a line for its interval.

    Args:
        results: The runs, drawn from top to bottom.
        intervals: Intervals of each run, by metric; a missing one is not drawn.
        stem: Path without an ending.

    Returns:
        The two files; none if the runs have no metric.
    """
    metrics = list(dict.fromkeys(name for result in results for name in result.test))[:_MOST_PANELS]
    if not metrics:
        return []
    width, height = 1.2 + _PANEL_WIDTH * len(metrics), 0.9 + _ROW_HEIGHT * len(results)
    with drawing(width, height, font_size=8.5) as figure:
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for axes, metric in zip(panels, metrics, strict=True):
            for row, (result, own) in enumerate(zip(results, intervals, strict=True)):
                if metric in own:
                    axes.plot(own[metric], (row, row), color="#555555", linewidth=1.4)
                if metric in result.test:
                    axes.plot(result.test[metric], row, "o", color="black", markersize=4.5)
            axes.set_title(heading(metric), fontsize=9)
            axes.grid(axis="x", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.tick_params(axis="y", length=0)
        panels[0].set_yticks(range(len(results)), [result.name for result in results])
        panels[0].set_ylim(len(results) - 0.5, -0.5)
        return save_both(figure, stem)
