"""Draw how the search works: ``python docs/figures/how_it_works.py`` writes ``how-it-works.svg`` beside this file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

OPS = ("attention\n4 heads", "attention\n8 heads", "convolution\n1, 2", "convolution\n1, 4")
CHOSEN = ((2, 3, 1), (0, 0, 1), (1, 3, 0))  # operation of each layer, block by block
SAMPLED = (1, 2, 0)  # a path of the block in training
FACES = ("#ffffff", "#ffffff", "#d9e6f2", "#d9e6f2")
HATCHES = ("", "", "////", "////")
GREY, DARK = "#bbbbbb", "#222222"
CELL_W, CELL_H, STEP_X, STEP_Y = 0.92, 0.46, 1.12, 0.6


def box(axes: Any, x: float, y: float, width: float, height: float, **style: Any) -> None:
    """Draw a rounded box with its lower left corner at ``(x, y)``."""
    given = {"fc": "white", "ec": DARK, "linewidth": 0.9, **style}
    axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0,rounding_size=0.07", **given))


def arrow(axes: Any, start: tuple[float, float], end: tuple[float, float], **style: Any) -> None:
    """Draw an arrow."""
    given = {"arrowstyle": "-|>", "color": DARK, "linewidth": 1.1, "shrinkA": 0, "shrinkB": 0, **style}
    axes.annotate("", xy=end, xytext=start, arrowprops={**given, "mutation_scale": 9})


def text(axes: Any, x: float, y: float, words: str, size: float = 8.5, **style: Any) -> None:
    """Write centred words."""
    axes.text(x, y, words, **{"ha": "center", "va": "center", "fontsize": size, **style})


def table(axes: Any, x: float, y: float) -> None:
    """Draw the search space: frozen first block, second block in training, third to come."""
    for block, chosen in enumerate(CHOSEN):
        left = x + block * (3 * STEP_X + 0.28)
        state = ("chosen, frozen", "in training", "to come")[block]
        box(axes, left - 0.1, y - 0.1, 3 * STEP_X - 0.0, 4 * STEP_Y + 0.06, fc="none", ec="#777777", linewidth=1.2)
        text(axes, left + 1.56, y + 4 * STEP_Y + 0.14, f"block {block + 1}: {state}", 8.5)
        for layer in range(3):
            for op in range(4):
                used = op == chosen[layer] if block == 0 else (op == SAMPLED[layer] if block == 1 else False)
                faint = block == 2 or (block == 0 and not used)
                row = y + (3 - op) * STEP_Y
                style = {"ec": GREY if faint else DARK, "linewidth": 2.0 if used else 0.7}
                box(axes, left + layer * STEP_X, row, CELL_W, CELL_H, fc=FACES[op], hatch=None, **style)
                text(
                    axes,
                    left + layer * STEP_X + CELL_W / 2,
                    row + CELL_H / 2,
                    OPS[op],
                    6.2,
                    color=GREY if faint else "black",
                )
        path = chosen if block == 0 else SAMPLED
        for layer in range(2 if block < 2 else 0):
            rows = [y + (3 - path[place]) * STEP_Y + CELL_H / 2 for place in (layer, layer + 1)]
            arrow(axes, (left + layer * STEP_X + CELL_W, rows[0]), (left + (layer + 1) * STEP_X, rows[1]))


def network(axes: Any, x: float, y: float) -> None:
    """Draw the network that was found, as nine boxes in a row."""
    layers = [op for block in CHOSEN for op in block]
    for number, op in enumerate(layers):
        box(axes, x + number * 0.56, y, 0.44, 0.62, fc=FACES[op], hatch=HATCHES[op])
        if number:
            arrow(axes, (x + number * 0.56 - 0.12, y + 0.31), (x + number * 0.56, y + 0.31), mutation_scale=5)


def draw() -> Figure:
    """Return the figure."""
    figure = Figure(figsize=(9.4, 4.7), facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, 12.2)
    axes.set_ylim(0, 6.1)
    axes.set_axis_off()
    text(axes, 0.25, 5.85, "1  Search, block by block", 11, ha="left", weight="bold")
    text(
        axes,
        0.25,
        5.53,
        "every column is a layer, every row an operation it can be; a path takes one of each column",
        8.5,
        ha="left",
    )
    table(axes, 0.35, 2.55)
    text(
        axes,
        6.1,
        2.08,
        "train: 4 sampled paths predict the next item, each on a share of the batch (the paper: views of a sequence)\n"
        "rank: all paths of the block, on people left out of the training; the best is kept, ties are reported",
        8.5,
    )
    arrow(axes, (6.1, 1.78), (6.1, 1.5))
    text(axes, 0.25, 1.33, "2  Retrain", 11, ha="left", weight="bold")
    network(axes, 0.35, 0.42)
    text(
        axes,
        0.3,
        0.18,
        "the network that was found, built afresh, trained on the next item (hatched: convolution)",
        7.6,
        ha="left",
    )
    arrow(axes, (5.5, 0.73), (6.5, 0.73))
    text(axes, 6.75, 1.33, "3  Evaluate", 11, ha="left", weight="bold")
    text(
        axes,
        6.75,
        0.73,
        "all items ranked, by RecBole's evaluator, beside RecBole's models;\nthe rank of every test case "
        "kept, so that differences have\nintervals and p-values",
        8.2,
        ha="left",
    )
    return figure


def main() -> int:
    """Write the figure."""
    with mpl.rc_context({"svg.hashsalt": "recbole-nasr", "hatch.linewidth": 0.6, "svg.fonttype": "path"}):
        draw().savefig(Path(__file__).with_name("how-it-works.svg"), metadata={"Date": None})
    return 0


if __name__ == "__main__":
    sys.exit(main())
