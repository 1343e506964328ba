"""What an earlier version wrote is read by this one; what a later one wrote is refused by name.

``v1`` was written by ``make.py`` and is not made again: a change that breaks a test here breaks users' runs.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr import load
from recbole_nasr.cli import main
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.report import load_report
from recbole_nasr.documents import check_version
from recbole_nasr.errors import NASRError, NewerFileError
from recbole_nasr.results import load_ranks
from recbole_nasr.settings_file import read_settings
from recbole_nasr.space import Architecture
from recbole_nasr.studies.record import load_record

KEPT = Path(__file__).parent / "v1"
RUNS = KEPT / "runs" / "mine"
NAMES = ("NASR-network", "NASRSearch-search")


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A copy of the kept runs below the current folder, where they may be changed."""
    shutil.copytree(KEPT, tmp_path, dirs_exist_ok=True)
    return tmp_path / "runs" / "mine"


@pytest.mark.parametrize("name", NAMES)
def test_a_kept_run_recommends_what_it_recommended(name: str) -> None:
    expected = json.loads((KEPT / "recommended.json").read_text())[name]
    top = load(RUNS / name, device="cpu").recommend([["i0", "i8"], ["i5"]], k=5, as_numpy=True)
    assert top.items.tolist() == expected["items"]
    assert top.scores.ravel().tolist() == pytest.approx(expected["scores"], abs=1e-5)


def test_every_command_reads_the_kept_runs(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (str(kept / name) for name in NAMES)
    assert main([f"--recommend={first}", "--items=i0,i8", "--k=3", "--device=cpu"]) == 0
    assert main(["--list", "--runs_dir=runs"]) == 0
    assert main(["--compare", first, second]) == 0
    shown = capsys.readouterr().out
    assert "mine (2 runs)" in shown
    assert "25 test cases, the same for all" in shown


def test_the_architecture_settings_and_ranks_of_kept_runs_are_read() -> None:
    for name in NAMES:
        assert Architecture.load(RUNS / name / "architecture.json").layers[0] in ("tcn_d1_2", "transformer_h2")
        assert read_settings(RUNS / name / "settings.yaml")["hidden_size"] == 8
        assert len(load_ranks(RUNS / name)) == 25


def test_a_kept_result_record_and_kept_prepared_data_are_read() -> None:
    (file,) = (KEPT / "results").iterdir()
    record = load_record(file)
    assert record is not None
    assert record.test == json.loads((RUNS / "NASR-network" / "metrics.json").read_text())["test"]
    (folder,) = (KEPT / "data").iterdir()
    assert load_report(folder).actions == len(load_compact(folder).item) == 200


NEWER = {
    "run.json": "--recommend=RUN --items=i0",
    "metrics.json": "--compare RUN OTHER",
    "architecture.json": "--model=NASR --architecture=RUN --dataset=ml-100k",
}


@pytest.mark.parametrize(("name", "command"), NEWER.items(), ids=NEWER.keys())
def test_a_file_of_a_newer_version_is_refused_politely(
    name: str, command: str, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = kept / NAMES[0] / name
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 7}))
    words = command.replace("RUN", str(kept / NAMES[0])).replace("OTHER", str(kept / NAMES[1])).split()
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "newer version of recbole-nasr (schema_version 7, this one reads up to 1); upgrade" in line
    if name != "architecture.json":
        assert main(["--list", "--runs_dir=runs"]) == 0
        assert "of a newer version" in capsys.readouterr().out


def test_a_newer_record_or_data_report_is_refused_not_made_again(kept: Path) -> None:
    for file in (*Path("results").iterdir(), *Path("data").glob("*/report.json")):
        file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 2}))
    with pytest.raises(NewerFileError):
        load_record(next(Path("results").iterdir()))
    with pytest.raises(NewerFileError):
        load_report(next(Path("data").iterdir()))


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(), st.lists(st.integers())))
def test_a_version_is_the_known_one_or_refused(found: object) -> None:
    if type(found) is int and found == 1:
        check_version(found, 1, "a file")
        return
    with pytest.raises((ValueError, NASRError)):
        check_version(found, 1, "a file")


def test_every_json_that_a_run_writes_says_its_schema_and_version() -> None:
    files = [*KEPT.rglob("*.json")]
    assert len(files) >= 8
    for file in files:
        if file.name == "recommended.json":
            continue
        content = json.loads(file.read_text())
        assert content["schema"].startswith("recbole-nasr/"), file
        assert content["schema_version"] == 1, file
