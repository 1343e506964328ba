"""``--study=NAME``: check everything, run what is missing through Optuna, and write the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from recbole_nasr.alignment import aligned
from recbole_nasr.console import show, shown_on_screen
from recbole_nasr.errors import ConfigError
from recbole_nasr.processes.launch import Launch
from recbole_nasr.progress import plural
from recbole_nasr.report.fidelity_report import FidelityReport
from recbole_nasr.report.markdown import save_report
from recbole_nasr.report.screen import commands_text
from recbole_nasr.report.study_figure import save_differences, save_optuna_plots, save_study_figure
from recbole_nasr.report.study_html import study_html
from recbole_nasr.report.study_page import study_page
from recbole_nasr.runs import checking
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.identity import named_files
from recbole_nasr.studies.base import base_settings
from recbole_nasr.studies.differences import differences
from recbole_nasr.studies.engine import Engine
from recbole_nasr.studies.fidelity import FidelityRunner, build_fidelity_plan
from recbole_nasr.studies.finished import finished_runs
from recbole_nasr.studies.names import check_names
from recbole_nasr.studies.plan import build_plan
from recbole_nasr.studies.queue import TrialQueue
from recbole_nasr.studies.record import data_checksum
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.running import Draw, Runner, tuned_space
from recbole_nasr.studies.storage import (
    default_storage,
    explained_faults,
    keep_data,
    open_study,
    quiet_optuna,
    study_lock,
)
from recbole_nasr.studies.tables import FinishedRun, mean_sd, metrics_of, rows_of, tidy
from recbole_nasr.studies.tuned import BEST, best_settings, next_commands


def run_study(line: dict[str, Any], command: Sequence[str]) -> None:
    """Run a study as far as its budget and other processes leave work, and write its page.

    Args:
        line: The words of the command line, from :func:`recbole_nasr.request.arguments.parse_line`.
        command: The same words as they were typed, for the report.

    Raises:
        NASRError: If anything is wrong with the command; before any run starts.
        KeyboardInterrupt: As it came, once the state and what was found are written.
    """
    if Launch.of_this_process().world_size > 1:
        msg = "A study is not started with torchrun: start the same command several times, also on other machines."
        raise ConfigError(msg)
    with shown_on_screen():
        asked = build_study_request(line)
    check_names(asked.definition)
    base = {dataset: base_settings(asked, dataset) for dataset in asked.datasets}
    fidelity = build_fidelity_plan(asked, base) if asked.definition.search_seeds else None
    cells = fidelity.cells if fidelity else [] if asked.definition.space else build_plan(asked, base)
    draw = _draw(asked, base[asked.request.dataset]) if asked.definition.space else None
    queue = TrialQueue(asked, open_study(asked), cells, draw)
    with shown_on_screen():
        checksums = {dataset: _prepared(dataset, *next(iter(known.items()))) for dataset, known in base.items()}
    with explained_faults(asked):
        keep_data(queue.study, asked, {**checksums, **_named(asked, base)})
    runner = Runner(asked, command, partial(save_report, command=command))
    signals = FidelityRunner(runner, fidelity.sample) if fidelity else None
    _introduce(queue)
    with explained_faults(asked):
        try:
            with shown_on_screen(), quiet_optuna():
                Engine(queue, signals or runner).run()
        finally:
            with study_lock(asked):  # of two processes that end at once, the page of the later one has all
                _conclude(queue, runner, command, signals, draw)


def _prepared(dataset: str, model: str, settings: dict[str, Any]) -> str:
    """Prepare a data set that this package makes, and return the checksum of what it comes from."""
    prepared = checking.prepare_data(model, dataset, settings)
    if prepared:
        show(prepared + "\n")
    return data_checksum(dataset, checking.values_in_force(model, dataset, settings))


def _named(asked: StudyRequest, base: Mapping[str, Mapping[str, dict[str, Any]]]) -> dict[str, str]:
    """Return the checksums of the files that the settings of any row name, by key and name."""
    rows = [{**run.defaults, **run.settings} for run in asked.definition.runs]
    given = [*rows, *(settings for known in base.values() for settings in known.values())]
    return {f"{key} {settings[key]}": digest for settings in given for key, digest in named_files(settings).items()}


def _draw(asked: StudyRequest, base: dict[str, dict[str, Any]]) -> Draw:
    (run,) = asked.definition.runs
    settings = {**base[run.model], **run.settings}
    return Draw(asked, settings, tuned_space(asked, settings))


def _introduce(queue: TrialQueue) -> None:
    asked, n_cells = queue.asked, len(queue.cells)
    n, one = (n_cells, "run") if n_cells else (asked.n_trials or asked.definition.n_trials, "trial")
    what = f"{n} {plural(n, one)}"
    show(f"{asked.definition.title} on {' and '.join(asked.datasets)}: {what}; in the paper: {asked.definition.paper}")
    done = len(queue.finished())
    show(f"storage {default_storage(asked)}" + (f"; {done} finished before" if done else ""))


def _conclude(
    queue: TrialQueue, runner: Runner, command: Sequence[str], signals: FidelityRunner | None, draw: Draw | None
) -> None:
    """Write table, figures and page of the runs that have finished so far, and say how to continue."""
    asked, runs = queue.asked, finished_runs(queue, runner)
    folder = RunFolder(asked.folder)
    unfinished, failures = queue.unfinished(), queue.failures()
    header, rows = tidy(asked.definition.name, runs)
    folder.write_csv("runs.csv", header, rows)
    if signals is not None:
        report = FidelityReport(asked, signals.table(queue, runs), command)
        show("\n" + report.write(folder, failures, unfinished))
    else:
        found = differences(rows_of(runs), asked.definition.reference, asked.definition.compared)
        figures = [*save_study_figure(asked, runs, folder.path), *save_differences(found, folder.path)]
        if asked.definition.space:
            figures += save_optuna_plots(queue.study, folder.path)
        trials = queue.study.get_trials(deepcopy=False) if asked.definition.space else ()
        page = study_page(asked, runs, found, failures, unfinished, command, figures, trials)
        folder.write_text("report.md", page)
        folder.write_text("report.html", study_html(page, folder.path))
        if runs:
            show("\n" + _screen_table(runs))
    for cell, reason in failures:
        show(f"failed: {cell}: {' '.join(reason.split())}")
    show(f"\nWritten to\n  {folder.path}")
    if draw is not None and runs:
        folder.write_text(BEST, best_settings(draw, runs[0]))
        show("\n" + commands_text(next_commands(draw, runs[0], command)))
    if unfinished:
        show(f"{unfinished} more to run, or running elsewhere; repeat the command to continue.")


def _screen_table(runs: Sequence[FinishedRun]) -> str:
    rows = rows_of(runs)
    metrics = metrics_of(rows)
    lines = [["row", "data", "runs", *metrics, "step"]]
    for row in rows:
        step = 1000 * mean_sd([run.record.step_seconds for run in row.runs])[0]
        means = [f"{row.mean_sd('test', name)[0]:.4f}" if name in row.metrics else "" for name in metrics]
        lines.append([row.name, row.dataset, str(len(row.runs)), *means, f"{step:.1f} ms"])
    return "Test results, means over runs\n\n" + aligned(lines)
