"""The command line: ``run_nasr.py`` in a checkout, ``recbole-nasr`` or ``python -m recbole_nasr`` once installed."""

from __future__ import annotations

import errno
import importlib.util
import shlex
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from recbole_nasr.commands.help import help_text, version_text
from recbole_nasr.compat.isolation import bare_command_line
from recbole_nasr.configuration.files import settings_text
from recbole_nasr.console import accept_any_character, show, show_error, shown_on_screen
from recbole_nasr.distributed import first_process_first, world_size
from recbole_nasr.errors import (
    ConfigError,
    MemoryLimitError,
    ModelError,
    NASRError,
    NumericalError,
    WriteError,
    way_out,
)
from recbole_nasr.keeping import Terminated, signals_stop
from recbole_nasr.machine import keep_freed_memory, program_words
from recbole_nasr.processes.launch import Launch, joined_processes, output_folder
from recbole_nasr.report.markdown import save_report
from recbole_nasr.report.screen import last_screen, save_comparison
from recbole_nasr.request import preflight
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.defaults import quick_settings
from recbole_nasr.request.request import Request, build_request, described_words, kept_words
from recbole_nasr.runs import checking
from recbole_nasr.runs.identity import run_key
from recbole_nasr.runs.model_errors import DISK_REFUSES
from recbole_nasr.runs.pipeline import run_model
from recbole_nasr.runs.results import RunResult
from recbole_nasr.runs.unfinished import OpenComparison, RunPlace, opened_comparison, opened_run
from recbole_nasr.serving.command import is_command, run_command

OK, USER_ERROR, INTERRUPTED, TERMINATED = 0, 2, 130, 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after the program's name; those of this process when left out.

    Returns:
        0 when all models ran, 2 after an error of the user or of one of RecBole's models (one line on standard error),
        130 after Ctrl-C and 143 after SIGTERM, the state saved. An error of the program is not caught.
    """
    accept_any_character()
    words = list(sys.argv[1:] if argv is None else argv)
    line: dict[str, Any] = {}
    try:
        line.update(parse_line(words))
        with signals_stop():
            _obey(line, words)
    except NASRError as error:
        show_error(Launch.of_this_process().name() + str(error))
        return USER_ERROR
    except Terminated:
        show_error(_stopped("terminated", line, words))
        return TERMINATED
    except OSError as error:
        if error.errno not in DISK_REFUSES:
            raise  # any other error of the system is one of the program
        show_error(_refusal(error))
        return USER_ERROR
    except KeyboardInterrupt:
        show_error(_stopped("interrupted", line, words))
        return INTERRUPTED
    return OK


def _obey(line: dict[str, Any], words: Sequence[str]) -> None:
    """Do what ``line``, the meaning of ``words``, asks for."""
    if not words or line.get("help"):
        show(help_text())
    elif line.get("version"):
        show(version_text())
    elif "study" in line:
        _run_study(line, [*program_words(), *words])
    elif is_command(line):
        with shown_on_screen(), bare_command_line():
            run_command(line)
    else:
        request = build_request(line)
        gpu_id = str(request.settings.get("gpu_id", ""))
        joined = joined_processes(request.device, gpu_id, request.lost_after)
        with joined, output_folder(request.runs_dir) as runs_dir:
            _run(replace(request, runs_dir=runs_dir), [*program_words(), *words])


def _refusal(error: OSError) -> str:
    """Return what is said of what the disk has refused."""
    file = error.filename or "A file"
    if error.errno == errno.EACCES:
        return f"{file} cannot be read or written ({error.strerror}); {way_out(error)}, or name another."
    return f"{WriteError.of(file, error)} What was there before is untouched."


def _stopped(how: str, line: dict[str, Any], words: Sequence[str]) -> str:
    if "model" not in line and "study" not in line:
        return f"{how}."
    again = shlex.join([*program_words(), *(word for word in words if word != "--fresh")])
    return f"{how}; what was done is kept; to continue, run: {again}"


def _run_study(line: dict[str, Any], command: list[str]) -> None:
    if importlib.util.find_spec("optuna") is None:
        msg = "A study needs Optuna, which is not installed here: pip install 'optuna>=4'."
        raise ConfigError(msg)
    from recbole_nasr.commands.study import run_study  # Optuna takes long to import

    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RecBole's own, while no log file takes them
        run_study(line, command)


def _run(request: Request, command: list[str]) -> None:
    keep_freed_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # RecBole's own, while no log file takes them
        planned = preflight.plan(request)
        with first_process_first(), shown_on_screen():
            prepared = checking.prepare_data(planned[0].model, request.dataset, planned[0].settings)
    if prepared:
        show(prepared + "\n")
    if request.prepare:
        if not prepared:
            show(f"{request.dataset} is read as it is; there is nothing to prepare.")
        return
    results: list[RunResult] = []
    failed: list[str] = []
    keys = [_key(run, request) for run in planned]
    with opened_comparison(request.runs_dir, request.dataset, keys, fresh=request.fresh) as comparison:
        try:
            _run_all(request, list(zip(planned, keys, strict=True)), command, results, failed, comparison)
        finally:  # an interruption or error of a later model takes nothing from the earlier ones
            if results:
                _conclude(results, request, command)
        _refuse_failed(failed, len(planned))
        comparison.done()


def _refuse_failed(failed: Sequence[str], n_planned: int) -> None:
    """End a comparison of which runs ended in an error that was shown.

    Raises:
        ModelError: If there are any.
    """
    if failed:
        msg = (
            f"{len(failed)} of {n_planned} runs ended in an error, shown above: {', '.join(failed)}. The others are "
            "kept; the same command takes them over and tries only these again."
        )
        raise ModelError(msg)


def _key(run: preflight.PlannedRun, request: Request) -> str:
    values = checking.values_in_force(run.model, request.dataset, run.settings)
    name = "-".join(filter(None, (run.name, request.run_name)))
    return run_key(run.model, request.dataset, values, name=name, n_processes=world_size())


def _run_all(
    request: Request,
    planned: Sequence[tuple[preflight.PlannedRun, str]],
    command: list[str],
    results: list[RunResult],
    failed: list[str],
    comparison: OpenComparison,
) -> None:
    """Run everything that is not finished yet, adding what it gives to ``results`` at once, or its name to ``failed``.

    An error of one model does not end a comparison, unless there are several processes: others may not have had it.
    """
    with shown_on_screen():
        for number, (run, key) in enumerate(planned, start=1):
            place = f" ({number} of {len(planned)})" if len(planned) > 1 else ""
            show(f"{run.name} on {request.dataset}{place}")
            found = comparison.take(run.name)
            if found is not None:
                show(f"finished before, in {found.folder.path} (--fresh starts over)")
                results.append(found)
                continue
            if request.quick:
                changed = [name for name in quick_settings(run.model) if name in run.settings]
                small = ", ".join(f"{name}={run.settings[name]}" for name in changed)
                show(f"--quick: a first look, not a result; {small}")
            try:
                results.append(_run_one(run, request, key, command))
            except (ModelError, NumericalError, MemoryLimitError) as error:
                if len(planned) == 1 or world_size() > 1:
                    raise
                show_error(f"{run.name}{place}: {error}")
                failed.append(run.name)
            else:
                comparison.keep(results[-1])


def _conclude(results: list[RunResult], request: Request, command: list[str]) -> None:
    """Save the comparison, and show the last screen."""
    comparison = save_comparison(results, request.runs_dir, request.run_name) if len(results) > 1 else None
    show(last_screen(results, comparison, kept_words(command, request), described_words(request), quick=request.quick))


def _run_one(run: preflight.PlannedRun, request: Request, key: str, command: list[str]) -> RunResult:
    place = RunPlace(request.runs_dir, request.dataset, run.name, request.run_name)
    with opened_run(place, key, fresh=request.fresh, interval=request.checkpoint_interval) as (folder, keeper):
        content = {"model": run.model, "dataset": request.dataset, **run.settings}
        given = folder.write_text("settings.yaml", settings_text(content))
        return run_model(
            run.model,
            request.dataset,
            [given],
            folder,
            command=command,
            label="" if run.name == run.model else run.name,
            on_result=partial(save_report, command=command),
            keeper=keeper,
            key=key,
        )
