"""The figure of the study `fidelity`: scores against trainings, and rank correlations with their intervals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from recbole_nasr.report.canvas import drawing, save_both
from recbole_nasr.studies.fidelity_signals import CEILING, SEARCH, SHORT, TRIVIAL, Signal
from recbole_nasr.studies.fidelity_tables import FidelityTable

_COLUMNS = 3
_MARKERS = "osD^vP*X"
_HATCHES = {SEARCH: "", TRIVIAL: "////", SHORT: "....", CEILING: "xxxx"}


def save_fidelity_figure(table: FidelityTable, folder: Path, title: str) -> list[str]:
    """Draw ``figure.svg`` and ``figure.png`` in ``folder`` and return their names; none if there is no signal.

    Args:
        table: The results so far, of at least two networks.
        folder: Where the files are written.
        title: Title of the figure.
    """
    signals = table.signals()
    if not signals:
        return []
    search = [signal for signal in signals if signal.kind == SEARCH]
    n_rows = -(-len(search) // _COLUMNS)
    n_bars = len([one for one in table.fidelity(table.metrics[0]) if one.part == "valid"])
    heights = [max(2.3 * n_rows, 0.1), 0.8 + 0.27 * n_bars]
    with drawing(8.5, sum(heights) + 0.4, font_size=8.0) as figure:
        figure.suptitle(f"{title}: {len(table.networks)} networks")
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        if search:
            panels = upper.subplots(n_rows, _COLUMNS, squeeze=False, sharey=True).flatten()
            for panel, signal in zip(panels, search, strict=False):
                _scatter(panel, table, signal)
            for panel in panels[len(search) :]:
                panel.set_axis_off()
            panels[0].legend(fontsize=6, loc="best")
        _bars(lower.subplots(), table)
        return [file.name for file in save_both(figure, folder / "figure", dpi=150)]


def _scatter(axes: Any, table: FidelityTable, signal: Signal) -> None:
    """Plot the mean results of trainings against the scores of the first search seed; further right is better."""
    metric = table.metrics[0]
    seed, scores = next(iter(signal.scores.items()))
    truth = table.truth("valid", metric)
    strata = np.array([network.sampled.stratum for network in table.networks])
    for number, stratum in enumerate(dict.fromkeys(strata.tolist())):
        own = strata == stratum
        marker = _MARKERS[number % len(_MARKERS)]
        face = "white" if number % 2 else "black"
        axes.plot(scores[own], truth[own], marker, color="black", markerfacecolor=face, markersize=4, label=stratum)
    axes.set_title(f"{signal.name}, seed {seed}", fontsize=8)
    axes.set_ylabel(f"valid {metric}")
    axes.tick_params(axis="x", labelsize=6)
    axes.ticklabel_format(axis="x", useOffset=False)
    axes.locator_params(axis="x", nbins=4)


def _bars(axes: Any, table: FidelityTable) -> None:
    """Draw Kendall's τ of every signal with its interval; the dashed line is τ of another full training."""
    metric = table.metrics[0]
    found = [one for one in table.fidelity(metric) if one.part == "valid"]
    found = [one for one in found if not math.isnan(one.measures["tau"].value)]
    for place, one in enumerate(reversed(found)):
        measure = one.measures["tau"]
        axes.barh(place, measure.value, color="#e8eef4", edgecolor="black", hatch=_HATCHES[one.signal.kind])
        axes.plot([measure.low, measure.high], [place, place], color="black", linewidth=1.2)
    ceiling = [one.measures["tau"].value for one in found if one.signal.kind == CEILING]
    if ceiling:
        axes.axvline(ceiling[0], color="black", linestyle="--", linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [one.signal.name for one in reversed(found)])
    axes.set_xlim(-1, 1)
    axes.set_xlabel(f"Kendall's τ with valid {metric}; lines: 95 % bootstrap interval over networks; dashed: ceiling")
