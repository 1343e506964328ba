"""Time and memory of the preparation and of the start of training, by the number of rows.

``python -m benchmarks.data.scale --folder /tmp/scale --json benchmarks/results/data-scale.json``

Raw files with the layouts and shapes of MovieLens 25M and Last.FM-1K are made up (`generate`) at several scales.
Each step then runs in a process of its own, whose wall time, processor time and peak resident memory are kept:

prepare   ``run_nasr.py --prepare``: from the raw file to a prepared folder
start     from the prepared folder to the first training batch of our data set class (`first_batch`)
recbole   the same with RecBole's own class, on the same folder, at the scales of ``--recbole-scales``

Processor time is what the process itself used. Wall time depends on what else the machine does: its load is kept.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.data.generate import KINDS
from recbole_nasr.machine import device_name, versions

ROOT = Path(__file__).resolve().parents[2]
DATASETS = {
    "movielens": ("ml", ["--ml_release=25m"], "ratings.csv"),
    "lastfm": ("lastfm", [], "userid-timestamp-artid-artname-traid-traname.tsv"),
}


@dataclass(frozen=True)
class Case:
    """One raw file and the folder that its preparation writes to."""

    kind: str
    scale: float
    folder: Path

    @property
    def source(self) -> Path:
        """Where the raw file lies."""
        return self.folder / f"{self.kind}-{self.scale:g}" / DATASETS[self.kind][2]

    @property
    def rows(self) -> int:
        """How many interactions the raw file has."""
        return KINDS[self.kind][0].scaled(self.scale).rows

    def keys(self) -> list[str]:
        """Return the keys that name the data, as a run is given them."""
        options = DATASETS[self.kind][1]
        return [*options, f"--source={self.source}", f"--data_path={self.source.parent / 'prepared'}"]


def main() -> None:
    """Measure what the command line asks for, and write it after every step."""
    chosen = _arguments()
    result: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="minutes"),
        "machine": {
            "processor": device_name(torch.device("cpu")),
            "cores": os.cpu_count(),
            "torch_threads": torch.get_num_threads(),
            "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        },
        "versions": {"python": sys.version.split()[0], **versions()},
        "steps": [],
    }
    for kind in chosen.kinds.split(","):
        for scale in map(float, chosen.scales.split(",")):
            case = Case(kind, scale, chosen.folder.resolve())
            for step, command in _steps(case, with_recbole=scale in chosen.recbole_scales):
                measured = {"kind": kind, "scale": scale, "rows": case.rows, "step": step}
                measured |= _measure(command, chosen.limit, case.folder)
                result["steps"].append(measured)
                sys.stderr.write(_line(measured) + "\n")
                if chosen.json:
                    chosen.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
                if measured["exit_status"] and step == "prepare":
                    break  # the next steps would prepare
    if not chosen.json:
        sys.stdout.write(json.dumps(result, indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="for raw and prepared files; 6 GB at full size")
    parser.add_argument("--kinds", default=",".join(KINDS), help="which data (default %(default)s)")
    parser.add_argument("--scales", default="0.01,0.1,1", help="shares of the full size (default %(default)s)")
    parser.add_argument(
        "--recbole-scales", default="0.01,0.1", help="scales at which RecBole's class runs too (default %(default)s)"
    )
    parser.add_argument("--limit", type=float, default=1800, help="seconds after which a step is stopped (%(default)s)")
    parser.add_argument("--json", type=Path, help="file for the result; standard output without it")
    chosen = parser.parse_args()
    chosen.recbole_scales = [float(scale) for scale in chosen.recbole_scales.split(",") if scale]
    return chosen


def _steps(case: Case, *, with_recbole: bool) -> list[tuple[str, list[str]]]:
    """Return names and commands of the steps; the raw file is made and an earlier preparation removed first."""
    if not case.source.is_file():
        case.source.parent.mkdir(parents=True, exist_ok=True)
        generate = [sys.executable, "-m", "benchmarks.data.generate", case.kind, str(case.source)]
        subprocess.run([*generate, f"--scale={case.scale:g}"], cwd=ROOT, check=True)
    shutil.rmtree(case.source.parent / "prepared", ignore_errors=True)
    name = DATASETS[case.kind][0]
    first_batch = [sys.executable, "-W", "ignore", "-m", "benchmarks.data.first_batch"]
    steps = [
        ("prepare", [sys.executable, "run_nasr.py", f"--dataset={name}", *case.keys(), "--prepare"]),
        ("start", [*first_batch, "NASR", name, *case.keys()]),
    ]
    if with_recbole:
        steps.append(("recbole", [*first_batch, "SASRec", name, *case.keys()]))
    return steps


def _measure(command: list[str], limit: float, folder: Path) -> dict[str, Any]:
    """Run a command and return what it took; the last line it prints is kept where that is JSON."""
    load, start = os.getloadavg()[0], time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        stop = threading.Timer(limit, process.kill)
        stop.start()
        output = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)  # subprocess itself does not tell what was used
        process.returncode = os.waitstatus_to_exitcode(status)
        stop.cancel()
    last = (output.strip().splitlines() or [""])[-1]
    return {
        "command": " ".join(["python", *command[1:]]).replace(str(folder), "FOLDER"),
        "exit_status": process.returncode,
        "wall_s": round(time.perf_counter() - start, 2),
        "processor_s": round(used.ru_utime + used.ru_stime, 2),
        "peak_bytes": used.ru_maxrss * 1024,
        "load_before": round(load, 2),
        "details": json.loads(last) if last.startswith("{") else {},
    }


def _line(measured: dict[str, Any]) -> str:
    failed = f"  FAILED with {measured['exit_status']}" if measured["exit_status"] else ""
    return (
        f"{measured['kind']:<10}{measured['rows']:>12,} rows  {measured['step']:<8}{measured['wall_s']:>8.1f} s wall"
        f"{measured['processor_s']:>8.1f} s processor{measured['peak_bytes'] / 1e9:>7.2f} GB{failed}"
    )


if __name__ == "__main__":
    main()
