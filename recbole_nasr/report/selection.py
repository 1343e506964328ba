"""The selection report: how sure the search is of each block, in a table of a few lines."""

from __future__ import annotations

from recbole_nasr.search.result import BlockRanking, SearchResult


def selection_table(search: SearchResult) -> str:
    """Return one Markdown row per block: paths ranked, scores, gap, noise, ties, effective rank."""
    header = (
        "block",
        "paths ranked",
        "best",
        "worst",
        "gap to second",
        "standard error",
        "tied",
        "effective rank",
    )
    lines = ["| " + " | ".join(header) + " |", "|" + " ---: |" * len(header)]
    for number, block in enumerate(search.blocks, start=1):
        ranked = f"{len(block.paths):,} of {block.n_space_paths:,}"
        cells = (
            str(number),
            ranked,
            f"{block.scores.min():.5f}",
            f"{block.scores.max():.5f}",
            f"{block.gap:.2e}",
            f"{block.gap_standard_error:.2e}",
            str(len(block.ties)),
            f"{block.effective_rank:.1f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def selection_verdicts(search: SearchResult) -> list[str]:
    """Return one sentence per block that says whether its choice was a clear one."""
    return [_verdict(number, block) for number, block in enumerate(search.blocks, start=1)]


def _verdict(number: int, block: BlockRanking) -> str:
    if len(block.paths) == 1:
        text = "had a single path to choose from"
    elif len(block.ties) > len(block.paths) / 2:
        text = f"cannot be told from chance: {len(block.ties)} of {len(block.paths)} paths are tied"
    elif len(block.ties) > 1:
        best = block.scores[block.selected] == block.scores.min()
        taken = "the one with the best score" if best else "the one with the fewest FLOPs"
        text = f"is a tie of {len(block.ties)} paths; {taken} was taken"
    else:
        text = "has a best path beyond the noise of the held-out sequences"
    sample = (
        f"; {len(block.paths):,} of its {block.n_space_paths:,} paths were ranked, a sample" if block.sampled else ""
    )
    collapse = (
        f"; its representation has collapsed (effective rank {block.effective_rank:.1f} of {block.hidden_size}), "
        "so its scores mean little"
        if block.collapsed
        else ""
    )
    return f"Block {number} {text}{sample}{collapse}."
