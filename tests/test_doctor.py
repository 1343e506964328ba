"""The doctor says what is there and what is wrong, also where RecBole cannot be imported."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import recbole

from recbole_nasr import compat, doctor


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's Config, built by earlier tests, leaves the variable set; the doctor runs in a process of its own."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Versions that the doctor finds in place of the real ones."""
    pretended: dict[str, str] = {}
    real = importlib.metadata.version

    def version(package: str) -> str:
        if package not in pretended:
            return real(package)
        if pretended[package] == "missing":
            raise importlib.metadata.PackageNotFoundError(package)
        return pretended[package]

    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(importlib.metadata, "requires", lambda _package: ["pandas<3,>=1.4", 'six; extra == "x"'])
    return pretended


def test_a_sound_installation_is_described_in_full(
    capsys: pytest.CaptureFixture[str], installed: dict[str, str]
) -> None:
    assert doctor.main([]) == 0
    text = capsys.readouterr().out
    assert text.endswith("nothing is wrong\n")
    assert f"recbole         {recbole.__version__}" in text
    for name in compat.apply():
        assert f"  {name} " in text
    assert "  cpu (" in text


def test_the_json_says_the_same(capsys: pytest.CaptureFixture[str], installed: dict[str, str]) -> None:
    installed["hyperopt"] = "missing"
    assert doctor.main(["--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert [repair["name"] for repair in said["repairs"]] == list(compat.apply())
    assert all(repair["why"] for repair in said["repairs"])
    assert (said["ok"], said["problems"], said["versions"]["hyperopt"]) == (True, [], None)


@pytest.mark.parametrize(
    ("version", "words"),
    [("3.1.0", "pandas must be <3,>=1.4, but 3.1.0 is installed"), ("missing", "pandas is missing")],
)
def test_a_package_of_the_wrong_version_is_a_problem_with_its_command(
    version: str, words: str, installed: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    installed["pandas"] = version
    assert doctor.main([]) == 1
    [line] = [line for line in capsys.readouterr().out.splitlines() if words in line]
    assert "pip install 'pandas<3,>=1.4'" in line


def test_the_pin_of_recbole_that_only_pip_needs_is_no_problem(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    declared = ["recbole<1.3,>=1.2.0", 'recbole==1.2.0; python_version >= "3.10"']
    monkeypatch.setattr(importlib.metadata, "requires", lambda _package: declared)
    installed["recbole"] = "1.2.1"
    assert doctor.examine().problems == []
    installed["recbole"] = "1.3.0"
    assert len(doctor.examine().problems) == 1


def test_another_word_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["--jsn"]) == 2
    assert "--jsn" in capsys.readouterr().err


def test_the_doctor_starts_where_recbole_does_not(tmp_path: Path) -> None:
    for name in ("recbole", "torch"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise AttributeError('{name} is\\nbroken')\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "recbole_nasr.doctor", "--json"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *filter(None, sys.path)])},
    )
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert not said["ok"]
    for name in ("torch", "RecBole"):
        [problem] = [line for line in said["problems"] if line.startswith(f"{name} cannot be imported")]
        assert "is broken" in problem
        assert "pip install" in problem
