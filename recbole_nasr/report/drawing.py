"""An architecture as text for the screen."""

from __future__ import annotations

from recbole_nasr.space.architecture import Architecture

_PER_LINE = 6


def architecture_text(architecture: Architecture) -> str:
    """Return one line per block with the operation names in columns; long blocks take several lines.

    Example:
        >>> from recbole_nasr.space import Architecture
        >>> print(architecture_text(Architecture.parse("transformer_h4,tcn_d1_2/tcn_d1_4,transformer_h8")))
        block 1   transformer_h4  tcn_d1_2
        block 2   tcn_d1_4        transformer_h8
    """
    width = max(len(name) for name in architecture.layers)
    label = f"block {len(architecture.blocks)}"
    lines = []
    for number, block in enumerate(architecture.blocks, start=1):
        for start in range(0, len(block), _PER_LINE):
            head = f"block {number}" if start == 0 else ""
            names = "  ".join(f"{name:<{width}}" for name in block[start : start + _PER_LINE])
            lines.append(f"{head:<{len(label)}}   {names}".rstrip())
    return "\n".join(lines)
