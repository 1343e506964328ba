"""The last screen of a command, and the comparison it leaves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from recbole_nasr.configuration import MODELS
from recbole_nasr.machine import program
from recbole_nasr.report.drawing import architecture_text
from recbole_nasr.report.selection import selection_verdicts
from recbole_nasr.report.table import markdown_table, table_rows, text_table
from recbole_nasr.results import RunResult
from recbole_nasr.runs import RunFolder


def save_comparison(results: Sequence[RunResult], runs_dir: Path, name: str) -> Path:
    """Write the table of several models as ``comparison.md`` and ``.csv`` into a folder of its own."""
    folder = RunFolder.create(runs_dir, results[0].dataset, "comparison", name)
    header, rows = table_rows(results)
    folders = [result.folder.path.name for result in results]
    rows = [[*row, where] for row, where in zip(rows, folders, strict=True)]
    folder.write_csv("comparison.csv", [*header, "run"], rows)
    runs = "\n".join(f"- {result.model}: `../{where}`" for result, where in zip(results, folders, strict=True))
    title = f"# {', '.join(result.model for result in results)} on {results[0].dataset}"
    folder.write_text("comparison.md", f"{title}\n\n{markdown_table(results)}\n\n{runs}\n")
    return folder.path


def last_screen(results: Sequence[RunResult], comparison: Path | None = None, kept: Sequence[str] = ()) -> str:
    """Return what a finished command shows: table, architectures, folders, what to try next."""
    parts = [f"Test results on {results[0].dataset}, full ranking over all items", text_table(results)]
    for result in results:
        if result.architecture is not None:
            parts.append(f"{result.model}: {len(result.architecture.layers)} layers")
            parts.append(_indented(architecture_text(result.architecture)))
        if result.search is not None:
            parts.append(_indented("\n".join(selection_verdicts(result.search))))
    folders = [result.folder.path for result in results] + ([comparison] if comparison else [])
    parts.append("Written to\n" + _indented("\n".join(str(folder) for folder in folders)))
    parts.append("Next\n" + _indented("\n".join(next_commands(results, kept))))
    return "\n" + "\n\n".join(parts)


def next_commands(results: Sequence[RunResult], kept: Sequence[str] = ()) -> list[str]:
    """Return commands that follow from what was just run.

    Args:
        results: What was run.
        kept: Words of the command line that the next ones need too, such as ``--data_path=…``.
    """
    run = program()
    data = shlex.join([f"--dataset={results[0].dataset}", *kept])
    names = [result.model for result in results]
    found = next((result for result in results if result.search is not None), None)
    commands = []
    if found is not None:
        commands.append(f"{run} --model=NASR {retrain_words(found)} {data} --seed={found.seed + 1}")
        commands.append(f"{run} --model=NASRSearch {data} --seed={found.seed + 1}")
    if "NASRSearch" not in names:
        commands.append(f"{run} --model=NASRSearch {data}")
    if not set(names) - set(MODELS):
        ours = retrain_words(found or results[0])
        commands.append(f"{run} --model=SASRec,NextItNet,GRU4Rec,NASR {ours} {data}")
    commands.append(shlex.join(["tensorboard", f"--logdir={results[0].folder.path.parent}"]))
    return commands


def retrain_words(result: RunResult) -> str:
    """Return the words of a command that trains the network of ``result`` again, in the same settings."""
    folder = result.folder.path
    return shlex.join([f"--architecture={folder}", f"--config_files={folder / 'settings.yaml'}"])


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
