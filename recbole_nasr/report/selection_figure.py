"""The figure of a search: the scores of all paths of each block, and the effect of every operation by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_nasr.report.canvas import drawing, save_both
from recbole_nasr.search.result import BlockRanking, SearchResult

_COLUMNS = 4
_PANEL = 2.5, 2.1  # inches
_MOST_LAYERS_WITH_NUMBERS = 32


def operation_effects(block: BlockRanking, operations: tuple[str, ...]) -> npt.NDArray[np.float64]:
    """Return how much better than average the paths with a given operation in a given layer are.

    Args:
        block: The ranking.
        operations: Operations, one for each row.

    Returns:
        ``(operations, layers)``: the mean score of all paths minus that of those with the operation in the layer, in
        standard deviations of the scores; positive is better, ``nan`` if no ranked path has the operation there.
    """
    names = np.array(block.paths)  # (P, layers)
    spread = block.scores.std() or 1.0
    effects = np.full((len(operations), names.shape[1]), np.nan)
    for row, operation in enumerate(operations):
        for layer in range(names.shape[1]):
            having = names[:, layer] == operation
            if having.any():
                effects[row, layer] = (block.scores.mean() - block.scores[having].mean()) / spread
    return effects


def save_selection_figure(search: SearchResult, stem: Path, title: str) -> list[Path]:
    """Draw ``search`` as ``<stem>.svg`` and ``<stem>.png``; matplotlib's global state is not changed.

    Args:
        search: The search to draw.
        stem: Path without an ending.
        title: Title of the figure.

    Returns:
        The two files.
    """
    n_blocks = len(search.blocks)
    columns, rows = min(_COLUMNS, n_blocks), -(-n_blocks // _COLUMNS)
    operations = tuple(dict.fromkeys(name for block in search.blocks for path in block.paths for name in path))
    n_layers = sum(len(block.paths[0]) for block in search.blocks)
    width = max(columns * _PANEL[0], 2.6 + 0.36 * n_layers, 6.0)
    heights = [rows * _PANEL[1], 1.0 + 0.3 * len(operations)]
    with drawing(width, sum(heights) + 0.5, font_size=8.0) as figure:
        figure.suptitle(f"{title}: {search.blocks[0].metric}, lower is better")
        upper, lower = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]
        panels = upper.subplots(rows, columns, squeeze=False).flatten()
        for number, block in enumerate(search.blocks):
            _draw_scores(panels[number], block, number + 1)
        for panel in panels[n_blocks:]:
            panel.set_axis_off()
        _draw_operations(lower, search, operations)
        return save_both(figure, stem)


def _draw_scores(axes: Any, block: BlockRanking, number: int) -> None:
    """Plot the sorted scores; the band is the paired standard error to the best, and tied paths are blue."""
    from matplotlib.ticker import MaxNLocator

    order = np.argsort(block.scores, kind="stable")
    scores, errors = block.scores[order], block.paired_errors[order]
    places = np.arange(1, len(order) + 1)
    tied = np.isin(order, block.ties)
    axes.fill_between(places, scores - errors, scores + errors, color="#dddddd", linewidth=0)
    axes.plot(places[~tied], scores[~tied], ".", color="black", markersize=2.5)
    axes.plot(places[tied], scores[tied], ".", color="#1f77b4", markersize=4)
    chosen = int(np.flatnonzero(order == block.selected)[0])
    axes.plot(places[chosen], scores[chosen], "o", markerfacecolor="none", color="#c0392b", markersize=7)
    axes.set_title(f"block {number}: {len(block.ties)} of {len(order)} tied", fontsize=8)
    axes.set_xlabel("path, best first")
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.ticklabel_format(axis="y", useOffset=False)


def _draw_operations(figure: Any, search: SearchResult, operations: tuple[str, ...]) -> None:
    effects = np.concatenate([operation_effects(block, operations) for block in search.blocks], axis=1)
    limit = max(float(np.nanmax(np.abs(effects))), 1e-9)
    axes = figure.subplots()
    image = axes.imshow(effects, cmap="PuOr", vmin=-limit, vmax=limit, aspect="auto")
    chosen = [name for block in search.blocks for name in block.paths[block.selected]]
    axes.plot(range(len(chosen)), [operations.index(name) for name in chosen], "ko", markersize=4)
    ends = np.cumsum([len(block.paths[0]) for block in search.blocks])[:-1]
    for end in ends:
        axes.axvline(end - 0.5, color="black", linewidth=0.8)
    axes.set_yticks(range(len(operations)), operations)
    if len(chosen) <= _MOST_LAYERS_WITH_NUMBERS:
        axes.set_xticks(range(len(chosen)), [str(layer + 1) for layer in range(len(chosen))])
    axes.set_xlabel("layer; a dot marks what was chosen")
    bar = figure.colorbar(image, ax=axes, pad=0.01)
    bar.set_label("better than the mean,\nin SD of the block")
