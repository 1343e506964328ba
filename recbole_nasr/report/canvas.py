"""Figures without a screen: each on a canvas of its own, saved as SVG and PNG, equal figures as equal files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

PARAMETERS: dict[Any, Any] = {
    "svg.hashsalt": "recbole-nasr",  # an SVG has random names within, without
    "text.parse_math": False,  # names of rows and items may have dollar signs
}
"""Of matplotlib, for every figure."""


@contextmanager
def drawing(
    width: float,
    height: float,
    *,
    font_size: float,
    layout: Literal["constrained"] | None = "constrained",
    style: Mapping[Any, Any] | None = None,
) -> Iterator[Any]:
    """Yield an empty figure to draw and to save within the block; matplotlib's global state is not changed.

    Args:
        width: In inches.
        height: In inches.
        font_size: In points.
        layout: What places the axes, for matplotlib; ``None`` for nothing.
        style: More of matplotlib's parameters.
    """
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with mpl.rc_context({**PARAMETERS, "font.size": font_size, **(style or {})}):
        figure = Figure(figsize=(width, height), facecolor="white", layout=layout)
        FigureCanvasAgg(figure)
        yield figure


def save_both(figure: Any, stem: Path, dpi: int = 160, **how: Any) -> list[Path]:
    """Save a figure as ``<stem>.svg`` and ``<stem>.png``, without date and version; return the two files.

    Args:
        figure: One of matplotlib.
        stem: The files without their endings.
        dpi: Pixels per inch of the PNG.
        **how: Further arguments of matplotlib's ``savefig``.
    """
    files = [stem.with_suffix(".svg"), stem.with_suffix(".png")]
    figure.savefig(files[0], metadata={"Date": None}, **how)
    figure.savefig(files[1], dpi=dpi, metadata={"Software": None}, **how)
    return files
