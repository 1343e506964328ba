"""The last screen of a command, and the comparison it writes."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from recbole_nasr.configuration.values import MODELS
from recbole_nasr.errors import NASRError
from recbole_nasr.machine import program
from recbole_nasr.progress import plural
from recbole_nasr.report.candidates import candidates_verdict
from recbole_nasr.report.comparison_figure import save_comparison_figure
from recbole_nasr.report.drawing import architecture_drawing
from recbole_nasr.report.intervals import differences, differences_text, metric_intervals
from recbole_nasr.report.selection import selection_verdicts
from recbole_nasr.report.table import heading, markdown_table, ranking_text, table_rows, text_table
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.results import RunResult, load_ranks, more_is_better
from recbole_nasr.statistics import CONFIDENCE


def save_comparison(results: Sequence[RunResult], runs_dir: Path, name: str) -> Path:
    """Write the comparison of several runs as ``comparison.md``, ``.csv``, ``.svg`` and ``.png``; return its folder."""
    folder = RunFolder.create(runs_dir, results[0].dataset, "comparison", name)
    intervals = [metric_intervals(result) for result in results]
    header, rows = table_rows(results)
    ends = list(dict.fromkeys(metric for own in intervals for metric in own))
    folders = [result.folder.path.name for result in results]
    rows = [
        [*row, *(own[metric][end] if metric in own else None for metric in ends for end in (0, 1)), where]
        for row, own, where in zip(rows, intervals, folders, strict=True)
    ]
    names = [f"{heading(metric)} {end}" for metric in ends for end in ("low", "high")]
    folder.write_csv("comparison.csv", [*header, *names, "run"], rows)
    parts = [f"# {', '.join(result.name for result in results)} on {results[0].dataset}"]
    parts.append(markdown_table(results, intervals))
    if found := differences(results):
        parts.append(f"```\n{differences_text(found, results[0].name)}\n```")
    if save_comparison_figure(results, intervals, folder.path / "comparison"):
        parts.append("![the test metrics with their intervals](comparison.svg)")
    parts.append("\n".join(f"- {result.name}: `../{run}`" for result, run in zip(results, folders, strict=True)))
    folder.write_text("comparison.md", "\n\n".join(parts) + "\n")
    return folder.path


def last_screen(
    results: Sequence[RunResult],
    comparison: Path | None = None,
    kept: Sequence[str] = (),
    described: Sequence[str] = (),
    *,
    quick: bool = False,
) -> str:
    """Return the last screen of a command: table, differences, architectures, folders, commands to try next.

    Args:
        results: The runs of the command.
        comparison: Folder of their comparison, if there are several.
        kept: See :func:`next_commands`.
        described: See :func:`next_commands`.
        quick: See :func:`next_commands`.
    """
    first = results[0]
    intervals = [metric_intervals(result) for result in results]
    below = f"; below each metric its {CONFIDENCE:.0%} interval over the test cases" if any(intervals) else ""
    among = ranking_text(first.ranked_among, masks_history=first.masks_history)
    parts = [f"Test results on {first.dataset}, {among}{below}"]
    parts.append(text_table(results, intervals))
    if len(results) > 1 and (found := differences(results)):
        parts.append(differences_text(found, first.name))
    for result in results:
        if result.architecture is not None and result.label == "":  # those set beside a search are known by their names
            n_layers = len(result.architecture.layers)
            parts.append(f"{result.name}: {n_layers} {plural(n_layers, 'layer')}")
            parts.append(_indented(architecture_drawing(result.architecture)))
        if result.search is not None:
            parts.append(_indented("\n".join(selection_verdicts(result.search))))
        if result.verification is not None:
            parts.append(_indented("\n".join(candidates_verdict(result.verification, result.search))))
    folders = [result.folder.path for result in results] + ([comparison] if comparison else [])
    parts.append("Written to\n" + _indented("\n".join(_with_pictures(folder) for folder in folders)))
    parts.append(commands_text(next_commands(results, kept, described, quick=quick)))
    return "\n" + "\n\n".join(parts)


def commands_text(commands: Mapping[str, str]) -> str:
    """Return commands to try next, each below what it is for."""
    return "Next\n" + _indented("\n".join(f"# {purpose}\n{command}" for purpose, command in commands.items()))


def _with_pictures(folder: Path) -> str:
    names = ("report.md", "comparison.md", "architecture.png", "selection.png", "comparison.png")
    worth_a_look = [name for name in names if (folder / name).is_file()]
    return f"{folder}  ({', '.join(worth_a_look)})" if worth_a_look else str(folder)


def next_commands(
    results: Sequence[RunResult], kept: Sequence[str] = (), described: Sequence[str] = (), *, quick: bool = False
) -> dict[str, str]:
    """Return commands to try next, by what they are for.

    Args:
        results: The runs of this command.
        kept: Words of the command line that the next commands need too, such as ``--data_path=data``.
        described: More words on data and evaluation, which those commands need that do not read the settings of a run.
        quick: Whether the runs have the small settings of ``--quick``, which another search should not have.
    """
    run = program()
    data = shlex.join([f"--dataset={results[0].dataset}", *kept])
    anew = shlex.join(["--model=NASRSearch", f"--dataset={results[0].dataset}", *described, *kept])
    fixed_split = any(word.startswith("--benchmark_filename=") for word in (*kept, *described))  # no search on such
    names = [result.model for result in results]
    found = next((result for result in results if result.model == "NASRSearch"), None)
    commands = {}
    if found is not None:
        same = "" if quick else f" {_settings_word(found)}"
        commands["train this network with another seed"] = (
            f"{run} --model=NASR {retrain_words(found)} {data} --seed={found.seed + 1}"
        )
        if quick:
            commands["search at full size"] = f"{run} {anew}"
        else:
            commands["search with another seed"] = f"{run} --model=NASRSearch{same} {data} --seed={found.seed + 1}"
        if found.verification is None:
            commands["let training decide between the candidates of the search"] = (
                f"{run} --model=NASRSearch{same} {data} --search_verify=3"
            )
    elif not fixed_split:
        commands["search a network for these data, with the default settings"] = f"{run} {anew}"
    if not set(names) - set(MODELS) and not any(result.masks_history for result in results):  # as RecBole's cannot
        ours = retrain_words(found or results[0])
        commands["compare it with models of RecBole"] = f"{run} --model=SASRec,NextItNet,GRU4Rec,NASR {ours} {data}"
    operations = [word for word in kept if word.startswith("--ops_module=")]
    commands |= _use_commands(results, operations)
    commands["see the curves of all runs"] = shlex.join(["tensorboard", f"--logdir={results[0].folder.path.parent}"])
    return commands


def _use_commands(results: Sequence[RunResult], operations: Sequence[str]) -> dict[str, str]:
    """Return commands that use the best run: to recommend for the sequence of its first test case, and to export it.

    A server can have our own networks only.
    """
    run, folder = program(), _best_validated(results).folder.path
    try:
        user = str(load_ranks(folder)["sequence"].iloc[0])
    except (NASRError, IndexError):
        return {}
    words = [f"--recommend={folder}", f"--user={user}", "--k=5", *operations]
    commands = {"recommend": f"{run} {shlex.join(words)}"}
    if ours := [result for result in results if result.model in MODELS]:
        words = ["--export=torch", f"--run={_best_validated(ours).folder.path}", *operations]
        commands["export the network for a server"] = f"{run} {shlex.join(words)}"
    return commands


def _best_validated(results: Sequence[RunResult]) -> RunResult:
    """Return the run that is best on validation, by the metric of the first; the last one where none has it."""
    metric = results[0].valid_metric
    validated = [result for result in results if metric in result.valid]
    if not validated:
        return results[-1]
    choose = max if more_is_better(metric) else min
    return choose(validated, key=lambda result: result.valid[metric])


def retrain_words(result: RunResult) -> str:
    """Return the words of a command that trains the network of ``result`` again, with the same settings."""
    return f"{shlex.join([f'--architecture={result.folder.path}'])} {_settings_word(result)}"


def _settings_word(result: RunResult) -> str:
    return shlex.join([f"--config_files={result.folder.path / 'settings.yaml'}"])


def _indented(text: str) -> str:
    return "\n".join("  " + line for line in text.splitlines())
