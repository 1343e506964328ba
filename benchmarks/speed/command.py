"""The command line of the benchmark."""

from __future__ import annotations

import argparse
import datetime
import os
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.speed.cases import Case, Effort, measure
from benchmarks.speed.page import write_page
from benchmarks.speed.published import Published
from benchmarks.speed.results import FINISHED, OtherResultsError, Results, read
from benchmarks.speed.roofline import Roofline, measure_roofline
from benchmarks.speed.sections import ON_REQUEST, sections
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SCALES
from benchmarks.speed.startup import import_seconds
from benchmarks.speed.text import case_text, roofline_text
from recbole_nasr.machine import device_name, environment, keep_freed_memory

IMPORT = "import"
EFFORTS = {"tiny": Effort(rounds=3, budget_s=5, shortest_round_s=0.005), "paper": Effort()}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    names = [*sections(), IMPORT]
    default = [name for name in names if name not in ON_REQUEST]
    made = argparse.ArgumentParser(
        prog="python benchmarks/bench.py",
        description="Measure every part of the package beside the floor of this machine and beside its peers.",
    )
    made.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    made.add_argument("--scale", default="tiny", choices=list(SCALES), help="sizes: tiny, or the paper's Table 1")
    made.add_argument("--only", default=",".join(default), help=f"of {', '.join(names)} (default: %(default)s)")
    made.add_argument("--official", type=Path, help="your own checkout of the published code, to measure beside ours")
    made.add_argument("--json", type=Path, help="results; of an existing file the sections measured now are replaced")
    made.add_argument("--seconds", type=float, help="seconds for the rounds of a case (at least three rounds are run)")
    made.add_argument(
        "--cap", type=float, help="seconds of a section: once they are over, no further case of it begins"
    )
    made.add_argument("--resume", action="store_true", help="leave out the sections that --json holds to the end")
    made.add_argument("--page", type=Path, help="write this Markdown page, and its figure, from the results")
    made.add_argument("--gpu-json", type=Path, help="results of a GPU, for its column of the page")
    made.add_argument("--no-run", action="store_true", help="measure nothing: only write the page from --json")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for; return 1 if a gate refused something or a section failed."""
    made = parser()
    options = made.parse_args(arguments)
    if options.no_run:
        if options.json is None or options.page is None:
            made.error("--no-run writes a page from results, so it needs both --json and --page.")
        write_page(read(options.json), options.page, read(options.gpu_json))
        return 0
    unknown = set(options.only.split(",")) - {*sections(), IMPORT}
    if unknown:
        made.error(f"--only must name sections of {', '.join([*sections(), IMPORT])}, but got {', '.join(unknown)}.")
    results = Results.open(options.json.resolve() if options.json else None)
    warnings.simplefilter("ignore", FutureWarning)  # RecBole's, of pandas and torch
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler tells the terminal when it starts and stops
    keep_freed_memory()
    try:
        n_wrong = run(options, results)
    except OtherResultsError as error:
        made.error(str(error))
    if options.page:
        write_page(results.content, options.page, read(options.gpu_json))
    return 1 if n_wrong else 0


def run(options: argparse.Namespace, results: Results) -> int:
    """Measure the sections; return how many lines were refused and sections failed."""
    name = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    device, tiny = torch.device(name), options.scale == "tiny"
    published = Published(options.official.resolve(), device) if options.official else None
    effort = EFFORTS[options.scale]
    if options.seconds is not None:
        effort = Effort(effort.rounds, options.seconds, effort.least_rounds, effort.shortest_round_s)
    wanted = options.only.split(",")
    n_wrong = 0
    with _empty_folder():
        machine = _machine(device)
        if options.resume:
            results.check_same(scale=options.scale, machine=machine)
        roofline = measure_roofline(device, quick=tiny)
        results.begin(machine=machine, scale=options.scale, roofline=roofline.as_dict())
        _say(roofline_text(roofline))
        if IMPORT in wanted and not (options.resume and "import_time" in results.content):
            results.begin(import_time=import_seconds())
        setting = Setting(device, options.scale, published, options.cap)
        for section, build in sections().items():
            if section in wanted and not (options.resume and results.ended.get(section) == FINISHED):
                n_wrong += _section(
                    section,
                    build(setting),
                    partial(measured, device=device, effort=effort, roofline=roofline),
                    results,
                    options.cap,
                )
    if published:
        published.close()
    return n_wrong


def _section(
    name: str,
    cases: Iterator[Case],
    measure_case: Callable[[Case], dict[str, Any]],
    results: Results,
    cap_s: float | None,
) -> int:
    """Measure the cases of a section; return how many lines were refused, one more if the section failed.

    A section that fails says so in the results and leaves the others alone: the time on a machine may be short.
    """
    results.forget(name)
    start, n_wrong = time.perf_counter(), 0
    try:
        while cap_s is None or time.perf_counter() - start < cap_s:
            case = next(cases, None)
            if case is None:
                results.end(name, FINISHED)
                return n_wrong
            found = measure_case(case)
            results.add(found)
            _say(case_text(found))
            n_wrong += sum("refused" in line for line in found["lines"])
    except Exception as error:
        results.end(name, f"failed: {type(error).__name__}: {error}"[:300])
        _say(f"\n{name} failed:\n{traceback.format_exc()}")
        return n_wrong + 1
    results.end(name, f"stopped after {cap_s:g} s")
    _say(f"\n{name}: stopped, the {cap_s:g} s of --cap are over")
    return n_wrong


def measured(case: Case, device: torch.device, effort: Effort, roofline: Roofline) -> dict[str, Any]:
    """Measure a case and return everything about it, for JSON."""
    load = os.getloadavg()[0]
    lines = measure(case, device, effort)
    for line, implementation in zip(lines, case.implementations, strict=True):
        work = implementation.work or case.work
        if work is not None:
            line["floor"] = work.floor(roofline, case.precision)
    return {
        "section": case.section,
        "title": case.title,
        "shape": case.shape,
        "unit": case.unit,
        "precision": case.precision,
        "lines": lines,
        "details": case.details,
        "at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "load": [round(load, 2), round(os.getloadavg()[0], 2)],
    }


def _machine(device: torch.device) -> dict[str, Any]:
    facts = {**environment(), "device": device_name(device), "device_type": device.type}
    if device.type == "cuda":
        facts["cuda"] = torch.version.cuda
        facts["device_memory_bytes"] = torch.cuda.get_device_properties(device).total_memory
    return facts


@contextmanager
def _empty_folder() -> Iterator[None]:
    """Work in an empty folder, where RecBole leaves event files and folders, and hide the command line from it."""
    before, words = Path.cwd(), sys.argv
    sys.argv = words[:1]
    with tempfile.TemporaryDirectory(prefix="nasr-bench-") as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
            sys.argv = words


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
