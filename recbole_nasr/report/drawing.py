"""An architecture as text: names in columns for files, and a small drawing for the screen."""

from __future__ import annotations

from collections.abc import Callable

from recbole_nasr.report.figure import (
    ATTENTION,
    CONVOLUTION,
    FEED_FORWARD,
    OTHER,
    RECURRENT,
    SKIP,
    Kind,
    describe_operation,
)
from recbole_nasr.space.architecture import Architecture

_PER_LINE = 6

_GLYPHS: dict[Kind, str] = {
    ATTENTION: "▓",
    CONVOLUTION: "░",
    RECURRENT: "≈",
    FEED_FORWARD: "■",
    SKIP: "·",
    OTHER: "?",
}


def architecture_text(architecture: Architecture) -> str:
    """Return one line per block with the operation names in columns; long blocks take several lines.

    Example:
        >>> from recbole_nasr.space import Architecture
        >>> print(architecture_text(Architecture.parse("transformer_h4,tcn_d1_2/tcn_d1_4,transformer_h8")))
        block 1   transformer_h4  tcn_d1_2
        block 2   tcn_d1_4        transformer_h8
    """
    return "\n".join(_block_lines(architecture, lambda name: name))


def architecture_drawing(architecture: Architecture) -> str:
    """Return the network from input to output, each layer with a symbol for its kind, and a legend.

    Example:
        >>> from recbole_nasr.space import Architecture
        >>> print(architecture_drawing(Architecture.parse("transformer_h4,tcn_d1_2/tcn_d1_4,skip")))
        items → embedding + positions
         │ block 1   ▓ transformer_h4  ░ tcn_d1_2
         │ block 2   ░ tcn_d1_4        · skip
         ▼
        output layer → scores of all items      ▓ self-attention  ░ convolution  · skip
    """
    kinds = {name: describe_operation(name)[0] for name in architecture.layers}
    lines = _block_lines(architecture, lambda name: f"{_GLYPHS[kinds[name]]} {name}")
    legend = "  ".join(f"{_GLYPHS[kind]} {kind.title}" for kind in dict.fromkeys(kinds.values()))
    return "\n".join(
        [
            "items → embedding + positions",
            *(f" │ {line}" for line in lines),
            " ▼",
            f"output layer → scores of all items      {legend}",
        ]
    )


def _block_lines(architecture: Architecture, shown: Callable[[str], str]) -> list[str]:
    width = max(len(shown(name)) for name in architecture.layers)
    label = f"block {len(architecture.blocks)}"
    lines = []
    for number, block in enumerate(architecture.blocks, start=1):
        for start in range(0, len(block), _PER_LINE):
            head = f"block {number}" if start == 0 else ""
            names = "  ".join(f"{shown(name):<{width}}" for name in block[start : start + _PER_LINE])
            lines.append(f"{head:<{len(label)}}   {names}".rstrip())
    return lines
