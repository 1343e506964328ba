from __future__ import annotations

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
TOOLS = ("bash", "dirname", "gzip", "mkdir", "mv", "tail", "tar", "timeout")

pytestmark = pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="needs bash, tar and timeout")


def run(folder: Path, *, stand_in: str, steps: str = "main", **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the steps with nothing but the tools, and with a shell script as Python; results are in ``results``."""
    tools = folder / "bin"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(str(shutil.which(name)))
    python = tools / "python3"
    python.write_text(f"#!/bin/sh\n{stand_in}\n")
    python.chmod(0o755)
    command = [str(tools / "bash"), str(SCRIPT), str(folder / "results"), *steps.split()]
    environment = {"PATH": str(tools), **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_steps_run_with_python3_where_nothing_is_called_python(tmp_path: Path) -> None:
    found = run(tmp_path, stand_in='echo "ran $1"')
    assert found.returncode == 0, found.stdout + found.stderr
    assert (tmp_path / "results" / "main.log").read_text() == "ran run_nasr.py\n"


def test_a_step_is_left_out_where_too_little_time_is_left(tmp_path: Path) -> None:
    found = run(tmp_path, stand_in='echo "ran $1"', LIMIT="30")
    assert found.returncode == 1
    assert found.stdout == "main: left out, for of the 30 s too few are left\n"
    assert not list((tmp_path / "results").iterdir())


def test_results_are_in_one_file_after_every_step_but_for_weights(tmp_path: Path) -> None:
    archive = tmp_path / "found.tar.gz"
    stand_in = f'[ "$1" != -m ] || exit 1; echo > {tmp_path}/results/w.pth; tar -tzf {archive}'
    found = run(tmp_path, stand_in=stand_in, steps="tests main", ARCHIVE=str(archive), LIMIT="600")
    assert found.returncode == 1  # of the first step
    log = (tmp_path / "results" / "main.log").read_text()
    assert log.splitlines() == ["./", "./tests.log"]  # what was there when the second began
    with tarfile.open(archive) as packed:
        assert sorted(packed.getnames()) == [".", "./main.log", "./tests.log"]
