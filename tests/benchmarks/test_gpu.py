from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu.sh"
TOOLS = ("bash", "dirname", "mkdir", "tail", "timeout")


@pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason="needs bash and timeout")
def test_steps_run_with_python3_where_nothing_is_called_python(tmp_path: Path) -> None:
    tools, results = tmp_path / "bin", tmp_path / "results"
    tools.mkdir()
    for name in TOOLS:
        (tools / name).symlink_to(str(shutil.which(name)))
    stand_in = tools / "python3"
    stand_in.write_text('#!/bin/sh\necho "ran $1"\n')
    stand_in.chmod(0o755)
    command = [str(tools / "bash"), str(SCRIPT), str(results), "main"]
    found = subprocess.run(command, env={"PATH": str(tools)}, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    assert (results / "main.log").read_text() == "ran run_nasr.py\n"
