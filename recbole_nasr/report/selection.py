"""The selection report: how certain the search's choice of each block is, in a short table."""

from __future__ import annotations

from recbole_nasr.alignment import as_markdown
from recbole_nasr.search.result import BlockRanking, SearchResult

_TRIVIAL = 0.7  # τ from which a rule that looks at no score says almost what the ranking says
_UNSTABLE = 0.5  # τ between view sets or persons under which the ranking is mostly a matter of chance

_HEADER = (
    "block",
    "paths ranked",
    "best",
    "median",
    "worst",
    "gap to second",
    "standard error",
    "tied",
    "τ views",
    "τ persons",
    "nearest trivial rule",
    "effective rank",
)


def selection_table(search: SearchResult) -> str:
    """Return one Markdown row per block: paths, scores, gap, noise, ties, agreement, trivial rule, effective rank."""
    rows = []
    for number, block in enumerate(search.blocks, start=1):
        evidence = block.evidence
        rule = evidence.strongest_predictor()
        cells = (
            str(number),
            f"{len(block.paths):,} of {block.n_space_paths:,}",
            f"{block.scores[block.best]:.5f}",
            f"{block.scores[block.best] + evidence.median_gap:.5f}",
            f"{block.scores.max():.5f}",
            f"{block.gap:.2e}",
            f"{block.gap_standard_error:.2e}",
            str(len(block.ties)),
            _tau(evidence.tau_views),
            _tau(evidence.tau_halves),
            f"{rule[0]} ({_tau(rule[1])})" if rule else "-",
            f"{block.effective_rank:.1f}",
        )
        rows.append(cells)
    return as_markdown([_HEADER, *rows], left=())


def _tau(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def selection_verdicts(search: SearchResult) -> list[str]:
    """Return one sentence per block on whether its choice was clear, and a warning for a block that overfits."""
    verdicts = [_verdict(number, block) for number, block in enumerate(search.blocks, start=1)]
    for number, block in enumerate(search.blocks, start=1):
        if block.change is not None and block.change > 2 * (block.change_standard_error or 0.0):
            after = block.scores[block.selected]
            verdicts.append(
                f"With block {number} the network is worse on held-out persons ({after:.3f}) than before it "
                f"({after - block.change:.3f}): it was trained too long for the data; lower `search_min_steps` or "
                "`search_epochs`."
            )
    return verdicts


def _verdict(number: int, block: BlockRanking) -> str:
    n_free = len(block.paths) - len(block.over_budget)
    if n_free == 1:
        text = "had a single path to choose from"
    elif len(block.ties) > n_free / 2:
        text = f"cannot be told from chance: {len(block.ties)} of {n_free} paths are tied"
    elif len(block.ties) > 1:
        text = f"is a tie of {len(block.ties)} paths; {_taken(block)} was taken"
    elif block.selected in block.ties:
        text = "has a best path beyond the noise of the held-out sequences"
    else:
        text = f"has a best path beyond the noise of the held-out sequences, but {_taken(block)} was taken"
    sample = (
        f"; {len(block.paths):,} of its {block.n_space_paths:,} paths were ranked, a sample" if block.sampled else ""
    )
    collapse = (
        f"; its representation has collapsed (effective rank {block.effective_rank:.1f} of {block.hidden_size}), "
        "so its scores mean little"
        if block.collapsed
        else ""
    )
    n_over = len(block.over_budget)
    budget = f"; {n_over:,} of its paths {'is' if n_over == 1 else 'are'} over budget" if n_over else ""
    return f"Block {number} {text}{budget}{sample}{_doubts(block)}{collapse}."


def _taken(block: BlockRanking) -> str:
    if block.scores[block.selected] == block.scores[block.best]:
        return "the one with the best score"
    if block.selected in block.ties and block.flops[block.selected] == min(block.flops[index] for index in block.ties):
        return "the one with the fewest FLOPs"
    return "one behind which later blocks did better"  # a beam kept it open


def _doubts(block: BlockRanking) -> str:
    """Return the evidence against the ranking as a whole, as the end of a sentence."""
    evidence = block.evidence
    rule = evidence.strongest_predictor()
    agreements = (("other views", evidence.tau_views), ("other persons", evidence.tau_halves))
    doubts = [
        f"; {what} would rank its paths otherwise (τ {_tau(tau)})"
        for what, tau in agreements
        if tau is not None and tau < _UNSTABLE
    ]
    if rule is not None and abs(rule[1]) >= _TRIVIAL:
        doubts.append(f"; its ranking is nearly that by {rule[0]} alone (τ {_tau(rule[1])})")
    return "".join(doubts)
