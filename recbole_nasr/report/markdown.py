"""``report.md``: one run on a page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from recbole_nasr.machine import environment, peak_memory, program
from recbole_nasr.progress import plural
from recbole_nasr.report.candidates import candidates_table, candidates_verdict, costs_line
from recbole_nasr.report.drawing import architecture_text
from recbole_nasr.report.figure import save_figure
from recbole_nasr.report.front_figure import save_front_figure
from recbole_nasr.report.intervals import metric_intervals
from recbole_nasr.report.screen import retrain_words
from recbole_nasr.report.selection import selection_table, selection_verdicts
from recbole_nasr.report.selection_figure import save_selection_figure
from recbole_nasr.report.table import markdown_table, ranking_text
from recbole_nasr.runs.results import RunResult

_UNTOUCHED = {
    "NextItNet": "RecBole pads on the right, and its NextItNet reads the last slot: padding in short histories.",
    "SASRec": "RecBole's SASRec counts positions from the first item; on full windows it is tested at a "
    "position it never trained.",
}
"""Notes on the numbers of RecBole's own models, which run unchanged."""


def save_report(result: RunResult, command: Sequence[str]) -> None:
    """Write ``report.md``, and the figures of the architecture and its selection, if any, as SVG and PNG."""
    if result.architecture is not None:
        save_figure(result.architecture, result.folder.path / "architecture", f"{result.model} on {result.dataset}")
    if result.search is not None:
        save_selection_figure(result.search, result.folder.path / "selection", f"{result.model} on {result.dataset}")
    save_front_figure(
        result.fronts, result.verification, result.folder.path / "front", f"{result.model} on {result.dataset}"
    )
    result.folder.write_text("report.md", report_text(result, command))


def report_text(result: RunResult, command: Sequence[str]) -> str:
    """Return the report as Markdown."""
    parts = [
        f"# {result.model} on {result.dataset}",
        markdown_table([result], [metric_intervals(result)]),
        _how_measured(result),
        "## Data",
        _data(result),
        *_architecture(result),
        *_selection(result),
        *_candidates(result),
        "## How it was run",
        _run(result, command),
    ]
    return "\n\n".join(parts) + "\n"


def _how_measured(result: RunResult) -> str:
    masked = "left out of" if result.masks_history else "kept in"
    over = f"over all items; items of the history are {masked} the ranking."
    if result.ranked_among != "full":  # RecBole draws no item of the history
        over = f"{ranking_text(result.ranked_among)}; they do not compare with metrics over all items."
    weights = "the weights with the best validation score" if result.best_epoch else "the weights of the last epoch"
    lines = [f"Test metrics of {weights}, {over} The test cases were read once, at the end."]
    if result.valid:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in result.valid.items())
        lines.append(f"Validation: {shown}.")
    else:
        lines.append("No epoch was validated, so nothing was chosen.")
    if result.model in _UNTOUCHED:
        lines.append(_UNTOUCHED[result.model])
    return "\n\n".join(lines)


def _data(result: RunResult) -> str:
    data = result.data
    prepared = f"\n\n```\n{result.preparation}\n```" if result.preparation else ""
    return (
        "| sequences | actions | items | mean length | training rows | validation cases | test cases |\n"
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        f"| {data.sequences:,} | {data.actions:,} | {data.items:,} | {data.actions / data.sequences:.1f} | "
        f"{data.train_rows:,} | {data.valid_cases:,} | {data.test_cases:,} |{prepared}"
    )


def _architecture(result: RunResult) -> list[str]:
    if result.architecture is None:
        return []
    return [
        "## Architecture",
        f"```\n{architecture_text(result.architecture)}\n```",
        "![the layers, block by block](architecture.svg)",
        f"To train it again: `{program()} --model=NASR {retrain_words(result)} --dataset={result.dataset}`.",
    ]


def _selection(result: RunResult) -> list[str]:
    if result.search is None:
        return []
    block = result.search.blocks[0]
    return [
        "## How sure the search is",
        selection_table(result.search),
        f"A score is the {block.metric}, lower is better, over {block.n_sequences:,} held-out sequences; the standard "
        "error is that of the gap. τ is Kendall's: between rankings on different views of the same sequences, between "
        "rankings on two halves of the persons, and with the trivial rule that agrees most. All scores are in "
        "`ranking/`.",
        "![scores of all paths, and of every operation by layer](selection.svg)",
        "\n".join(f"- {verdict}" for verdict in selection_verdicts(result.search)),
    ]


def _candidates(result: RunResult) -> list[str]:
    if result.costs is None or result.architecture is None:
        return []
    drawn = result.search is not None or result.verification is not None
    front = [
        costs_line(result.costs, result.architecture.layers, result.latency_ms, result.device),
        "![accuracy against parameters, FLOPs and latency](front.svg)",
        "Networks that no other is both better and cheaper than are in `front.csv`.",
    ]
    if result.verification is None:
        verified = "The network was taken on the score of the search alone; `--search_verify=3` trains the best of it "
        verified += "beside the pure networks of the space and takes what validates best."
        return ["## What it costs", verified, *front]
    verdict = candidates_verdict(result.verification, result.search)
    return [
        "## From shortlist to winner",
        " ".join(verdict),
        candidates_table(result.verification),
        "All were trained in the recipe of the final network, with its seed. Scores by epoch and the architectures are "
        "in `candidates.csv`.",
        *(front if drawn else []),
    ]


def _run(result: RunResult, command: Sequence[str]) -> str:
    facts = environment()
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    seconds = ", ".join(f"{stage} {value:.1f} s" for stage, value in result.seconds.items())
    threads, cores = facts["torch_threads"], facts["cpu_count"]
    return (
        f"```\n{shlex.join(command)}\n```\n\n"
        f"Seed {result.seed}; {seconds}; peak memory of the process {peak_memory() / 2**30:.2f} GiB; "
        f"{threads} torch {plural(threads, 'thread')} on {cores} {plural(cores, 'core')}.\n\n"
        f"Python {facts['python']}, {packages}. The configuration in force is in `config.yaml`."
    )
