"""Tables as text: columns for the screen, Markdown for pages."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(lines: Sequence[Sequence[str]], *, left: Collection[int] = (0,), rule: bool = True) -> str:
    """Return rows of cells in columns, two spaces apart.

    Args:
        lines: Rows with equally many cells; the first is the header.
        left: Columns that are aligned to the left; the others are aligned to the right.
        rule: Whether a line is drawn below the header.

    Example:
        >>> print(aligned([["item", "score"], ["Fargo", "4.2"]]))
        item   score
        ------------
        Fargo    4.2
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    shown = [
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    if rule:
        shown.insert(1, "-" * max(map(len, shown)))
    return "\n".join(shown)


def as_markdown(lines: Sequence[Sequence[str]], *, left: Collection[int] = (0,)) -> str:
    """Return rows of cells as a Markdown table.

    Args:
        lines: Rows with equally many cells; the first is the header. A bar or a line break in a cell ends neither it
            nor its row.
        left: Columns that are aligned to the left; the others are aligned to the right.

    Example:
        >>> print(as_markdown([["item", "score"], ["Fargo", "4.2"]]))
        | item | score |
        | --- | ---: |
        | Fargo | 4.2 |
    """
    header, *rows = [[cell.replace("\n", " ").replace("|", "\\|") for cell in line] for line in lines]
    rule = ["---" if column in left else "---:" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))
