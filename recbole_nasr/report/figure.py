"""The figure of an architecture, readable in black and white: kinds of layers differ in hatch and label."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_nasr.progress import plural
from recbole_nasr.report.canvas import drawing, save_both
from recbole_nasr.space.architecture import Architecture

LAYERS_PER_ROW = 8

_BOX_WIDTH, _BOX_HEIGHT, _GAP = 1.6, 0.78, 0.34
_PAD, _LABEL, _ROW_GAP = 0.22, 0.98, 0.2
_BLOCK_GAP = 0.3
_END_HEIGHT, _END_GAP = 0.5, 0.36
_LEGEND, _LEGEND_ROW, _LEGEND_STEP = 0.62, 0.42, 2.6
_INCH = 0.72  # inches per unit of the drawing


@dataclass(frozen=True)
class Kind:
    """The drawing style of one family of operations.

    Args:
        title: Name of the family.
        face: Fill colour, light enough for black text.
        hatch: Hatch pattern of matplotlib.
    """

    title: str
    face: str
    hatch: str


ATTENTION = Kind("self-attention", "#ffffff", "")
CONVOLUTION = Kind("convolution", "#d9e6f2", "////")
RECURRENT = Kind("recurrent", "#f3e3c3", "....")
FEED_FORWARD = Kind("feed-forward", "#dfeeda", "\\\\\\\\")
SKIP = Kind("skip", "#ffffff", "--")
OTHER = Kind("other", "#eeeeee", "xxxx")

_ATTENTION = {"transformer": "attention", "ligr": "gated attention", "hstu": "HSTU attention"}
_BY_NAME = {
    "gru4rec": (RECURRENT, "recurrent\ngru4rec"),
    "gru": (RECURRENT, "recurrent\ngru"),
    "lru": (RECURRENT, "linear recurrent\nlru"),
    "ffn": (FEED_FORWARD, "feed-forward"),
    "skip": (SKIP, "skip"),
}
_LABEL_LENGTH = 16  # characters that fit into a box


def describe_operation(name: str) -> tuple[Kind, str]:
    r"""Return kind and label of an operation.

    Example:
        >>> describe_operation("transformer_h4")[1], describe_operation("tcn_d1_4")[1]
        ('attention\n4 heads', 'convolution\ndilations 1, 4')
    """
    if match := re.fullmatch(r"(transformer|ligr|hstu)_h(\d+)", name):
        heads = int(match[2])
        return ATTENTION, f"{_ATTENTION[match[1]]}\n{heads} {plural(heads, 'head')}"
    if match := re.fullmatch(r"tcn_d(\d+(?:_\d+)*)", name):
        return CONVOLUTION, f"convolution\ndilations {match[1].replace('_', ', ')}"
    if match := re.fullmatch(r"dwconv_k(\d+)", name):
        taps = int(match[1])
        return CONVOLUTION, f"depthwise conv.\n{taps} {plural(taps, 'tap')}"
    return _BY_NAME.get(name) or (OTHER, "\n".join(textwrap.wrap(name, _LABEL_LENGTH)))


def save_figure(architecture: Architecture, stem: Path, title: str) -> list[Path]:
    """Draw ``architecture`` as ``<stem>.svg`` and ``<stem>.png``.

    Blocks are framed and read from top to bottom, the layers of a block from left to right. Equal
    architectures give equal files. Matplotlib's global state is not changed.

    Args:
        architecture: The architecture to draw.
        stem: Path without an ending.
        title: Title of the figure.

    Returns:
        The two files.
    """
    columns = min(LAYERS_PER_ROW, max(len(block) for block in architecture.blocks))
    width = max(_LABEL + columns * _BOX_WIDTH + (columns - 1) * _GAP + _PAD + 0.1, 7.0)
    height = _total_height(architecture, width)
    style = {"hatch.linewidth": 0.6}
    with drawing(width * _INCH, height * _INCH, font_size=8.5, layout=None, style=style) as figure:
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, width)
        axes.set_ylim(-height, 0)
        axes.set_axis_off()
        _Drawing(axes, width).draw(architecture, title)
        return save_both(figure, stem)


def _rows(block: tuple[str, ...]) -> list[tuple[str, ...]]:
    return [block[start : start + LAYERS_PER_ROW] for start in range(0, len(block), LAYERS_PER_ROW)]


def _block_height(block: tuple[str, ...]) -> float:
    n_rows = len(_rows(block))
    return 2 * _PAD + n_rows * _BOX_HEIGHT + (n_rows - 1) * _ROW_GAP


def _legend_rows(architecture: Architecture, width: float) -> list[list[Kind]]:
    kinds = list(dict.fromkeys(describe_operation(name)[0] for name in architecture.layers))
    per_row = int(width / _LEGEND_STEP)
    return [kinds[start : start + per_row] for start in range(0, len(kinds), per_row)]


def _total_height(architecture: Architecture, width: float) -> float:
    blocks = sum(_block_height(block) + _BLOCK_GAP for block in architecture.blocks)
    legend = _LEGEND + (len(_legend_rows(architecture, width)) - 1) * _LEGEND_ROW
    return 0.7 + 2 * _END_HEIGHT + _END_GAP + blocks + legend + 0.15


class _Drawing:
    """Draws from the top down; ``y`` is where the next piece starts."""

    def __init__(self, axes: Any, width: float) -> None:
        self._axes, self._width, self._y = axes, width, -0.7

    def draw(self, architecture: Architecture, title: str) -> None:
        self._text(self._width / 2, -0.34, title, size=11, weight="bold")
        self._end("items → embedding + positions")
        for number, block in enumerate(architecture.blocks, start=1):
            self._arrow(_BLOCK_GAP if number > 1 else _END_GAP)
            self._block(number, block)
        self._arrow(_BLOCK_GAP)
        self._end("output layer → scores of all items")
        self._legend(_legend_rows(architecture, self._width))

    def _block(self, number: int, block: tuple[str, ...]) -> None:
        height = _block_height(block)
        self._box(
            0.05,
            self._y - height,
            self._width - 0.1,
            height,
            face="none",
            edge="#555555",
            round_to=0.12,
            line=1.1,
        )
        layers = "layer" if len(block) == 1 else "layers"
        self._text(0.05 + _LABEL / 2, self._y - height / 2, f"block {number}\n{len(block)} {layers}")
        y = self._y - _PAD
        for row in _rows(block):
            for column, name in enumerate(row):
                self._layer(0.05 + _LABEL + column * (_BOX_WIDTH + _GAP), y, name)
                if column:
                    x = 0.05 + _LABEL + column * (_BOX_WIDTH + _GAP)
                    self._line((x - _GAP, y - _BOX_HEIGHT / 2), (x, y - _BOX_HEIGHT / 2))
            y -= _BOX_HEIGHT + _ROW_GAP
        self._y -= height

    def _layer(self, x: float, y: float, name: str) -> None:
        kind, label = describe_operation(name)
        self._box(x, y - _BOX_HEIGHT, _BOX_WIDTH, _BOX_HEIGHT, face=kind.face, hatch=kind.hatch)
        self._text(x + _BOX_WIDTH / 2, y - _BOX_HEIGHT / 2, label, boxed=bool(kind.hatch))

    def _end(self, label: str) -> None:
        width = 3.6
        x = (self._width - width) / 2
        self._box(x, self._y - _END_HEIGHT, width, _END_HEIGHT, face="#f4f4f4", round_to=0.2)
        self._text(self._width / 2, self._y - _END_HEIGHT / 2, label)
        self._y -= _END_HEIGHT

    def _legend(self, rows: list[list[Kind]]) -> None:
        y = self._y - _LEGEND
        for row in rows:
            x = (self._width - _LEGEND_STEP * len(row)) / 2
            for kind in row:
                self._box(x, y, 0.42, 0.26, face=kind.face, hatch=kind.hatch)
                self._text(x + 0.55, y + 0.13, kind.title, align="left")
                x += _LEGEND_STEP
            y -= _LEGEND_ROW

    def _arrow(self, length: float) -> None:
        middle = self._width / 2
        self._line((middle, self._y), (middle, self._y - length))
        self._y -= length

    def _line(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        style = {"arrowstyle": "-|>", "color": "#333333", "linewidth": 0.9, "shrinkA": 0, "shrinkB": 0}
        self._axes.annotate("", xy=end, xytext=start, arrowprops={**style, "mutation_scale": 8})

    def _box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        *,
        face: str,
        edge: str = "black",
        hatch: str = "",
        round_to: float = 0.05,
        line: float = 0.9,
    ) -> None:
        from matplotlib.patches import FancyBboxPatch

        style = f"round,pad=0,rounding_size={round_to}"
        patch = FancyBboxPatch((x, y), width, height, style, fc=face, ec=edge, hatch=hatch or None, linewidth=line)
        self._axes.add_patch(patch)

    def _text(self, x: float, y: float, text: str, *, align: str = "center", boxed: bool = False, **style: Any) -> None:
        background = {"facecolor": "white", "edgecolor": "none", "pad": 1.2} if boxed else None
        self._axes.text(x, y, text, ha=align, va="center", bbox=background, **style)
