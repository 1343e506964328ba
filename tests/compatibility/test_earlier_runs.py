"""What an earlier version wrote is read by this one; what a later one wrote is refused by name.

``v1`` was written by ``make.py`` and is not made again: a change that breaks a test here breaks users' runs.
"""

from __future__ import annotations

import contextlib
import csv
import json
import shutil
from pathlib import Path

import optuna
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr import load
from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.commands.cli import main
from recbole_nasr.configuration.files import read_settings, settings_text
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.report import load_report
from recbole_nasr.documents import check_version
from recbole_nasr.errors import CheckpointError, NASRError, NewerFileError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs.folder import FILE_VERSIONS
from recbole_nasr.runs.results import load_ranks
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Architecture
from recbole_nasr.studies.record import load_record
from recbole_nasr.studies.request import build_study_request
from recbole_nasr.studies.storage import open_study

from .make import DATA, STORAGES, STUDY, TINY, write_events

KEPT = Path(__file__).parent / "v1"
RUNS = KEPT / "runs" / "mine"
KEPT_BY_OPTUNA = 5
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


def read_by_every_command(first: Path, second: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Read the two runs there are in ``runs``."""
    assert main([f"--recommend={first}", "--items=i0,i8", "--k=3", "--device=cpu"]) == 0
    assert main(["--list", "--runs_dir=runs"]) == 0
    assert main(["--compare", str(first), str(second)]) == 0
    shown = capsys.readouterr().out
    assert "mine (2 runs)" in shown
    assert "25 test cases, the same for all" in shown


def test_every_command_reads_the_kept_runs(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read_by_every_command(kept / NAMES[0], kept / NAMES[1], capsys)


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


def test_run_json_says_the_version_of_the_files_that_cannot(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = kept / NAMES[0] / "run.json"
    content = json.loads(file.read_text())
    for name in FILE_VERSIONS:
        file.write_text(json.dumps({**content, "file_versions": {**FILE_VERSIONS, name: 2, "of the future": 9}}))
        assert main([f"--recommend={kept / NAMES[0]}", "--items=i0"]) == 2
        assert f"{name} was written by a newer version" in capsys.readouterr().err
        assert main(["--list", "--runs_dir=runs"]) == 0
        assert "of a newer version" in capsys.readouterr().out
    file.write_text(json.dumps({**content, "file_versions": {**FILE_VERSIONS, "of the future": 9}}))
    assert main([f"--recommend={kept / NAMES[0]}", "--items=i0", "--device=cpu"]) == 0


def test_a_newer_checkpoint_by_itself_is_refused(kept: Path) -> None:
    path = kept / NAMES[0] / "model.pth"
    saved = torch.load(path, weights_only=False)
    for version, expected in ((1, None), (2, NewerFileError), ("two", CheckpointError)):
        torch.save(
            {**saved, "other_parameter": {"unaveraged": None, "schema_version": version}}, path, pickle_protocol=4
        )
        with pytest.raises(expected, match="schema_version") if expected else contextlib.nullcontext():
            load_checkpoint(path)


def test_a_newer_file_of_settings_is_refused_and_one_of_a_users_own_has_no_version(kept: Path) -> None:
    path = kept / NAMES[0] / "settings.yaml"
    written = settings_text({"epochs": 3})
    assert written.startswith("# recbole-nasr/settings 1\n")
    for text in (written, written.replace("\n", "\r\n"), "epochs: 3\n", "# recbole-nasr/settings soon\nepochs: 3\n"):
        path.write_text(text, newline="")
        assert read_settings(path) == {"epochs": 3}
    path.write_text(written.replace("settings 1", "settings 2"))
    with pytest.raises(NewerFileError, match="upgrade recbole-nasr"):
        read_settings(path)


def test_newer_prepared_arrays_are_refused_by_the_report_beside_them(kept: Path) -> None:
    (folder,) = Path("data").iterdir()
    load_compact(folder)
    report = folder / "report.json"
    report.write_text(json.dumps({**json.loads(report.read_text()), "schema_version": 2}))
    with pytest.raises(NewerFileError):
        load_compact(folder)


def test_a_study_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    words = ["--study=table2", "--dataset=toy", "--storage=study.log"]
    study = open_study(build_study_request(parse_line(words)))
    assert study.user_attrs["schema_version"] == 1
    study.set_user_attr("schema_version", 2)
    with pytest.raises(NewerFileError, match=r"study\.log was written by a newer version"):
        open_study(build_study_request(parse_line(words)))


def test_a_kept_run_that_trained_its_candidates_is_read_by_every_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(KEPT / "verified", tmp_path / "runs" / "mine")
    shutil.copytree(RUNS / NAMES[0], tmp_path / "runs" / "mine" / NAMES[0])
    verified, network = (tmp_path / "runs" / "mine" / name for name in ("NASRSearch-verified", NAMES[0]))
    read_by_every_command(verified, network, capsys)
    with (verified / "candidates.csv").open() as file:
        best = max(csv.DictReader(file), key=lambda row: float(row["score"]))
    assert best["architecture"] == json.loads((verified / "candidates.json").read_text())["winner"]


def interrupted(name: str, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Put a run that was killed below the current folder; return the command that goes on with it."""
    (run,) = (KEPT / "interrupted").glob(f"*-{name}")
    shutil.copytree(run, Path("runs", "mine", run.name))
    shutil.copytree(KEPT / "data", "data")
    write_events()
    # The name of a run hangs on RecBole's own settings too, which other releases of it have others of.
    key = json.loads((run / "run.json").read_text())["key"]
    monkeypatch.setattr("recbole_nasr.commands.cli.run_key", lambda *_, **__: key)
    words: list[str] = json.loads((KEPT / "interrupted" / "command.json").read_text())
    return [*words, f"--run_name={name}"]


@pytest.mark.parametrize("name", ["search", "training"])
def test_the_same_command_goes_on_with_a_kept_run_that_was_killed(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[int] = []
    step = BlockTrainer.step
    monkeypatch.setattr(BlockTrainer, "step", lambda self, *batch: trained.append(self.index) or step(self, *batch))
    assert main(interrupted(name, monkeypatch)) == 0
    assert "going on with the unfinished run" in capsys.readouterr().out
    (folder,) = Path("runs/mine").iterdir()
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert len(trained) == {"search": 4, "training": 0}[name]  # of the three steps of each of two blocks
    if name == "training":
        expected = json.loads((KEPT / "interrupted" / "metrics.json").read_text())
        found = json.loads((folder / "metrics.json").read_text())
        assert found["test"] == pytest.approx(expected["test"], abs=1e-4)
        assert found["epochs"] == 3


def test_a_kept_state_of_a_newer_version_is_refused_politely_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = interrupted("training", monkeypatch)
    (state,) = Path("runs/mine").glob("*/resume/state.pt")
    newer = state.read_bytes().replace(b"recbole-nasr/state 1\n", b"recbole-nasr/state 2\n", 1)
    state.write_bytes(newer)
    assert main(words) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "was saved by a newer version of recbole-nasr; update it" in line
    assert state.read_bytes() == newer


@pytest.mark.parametrize("kind", STORAGES)
def test_a_kept_study_goes_on_with_what_is_left_of_it(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(KEPT / "study" / kind, ".", dirs_exist_ok=True)
    shutil.copytree(KEPT / "data", "data")
    write_events()
    Path("two.yaml").write_text(STUDY)
    code = main(["--study=two.yaml", *DATA, *TINY[:-1], f"--storage={STORAGES[kind]}", "--results=results"])
    shown = capsys.readouterr()
    if code == 2:  # Optuna may refuse a database of a later release of its own
        assert kind == "sqlite"
        assert int(optuna.__version__.partition(".")[0]) < KEPT_BY_OPTUNA
        assert shown.err.startswith("error: The storage sqlite:///kept.db cannot be used")
        return
    assert code == 0
    assert "; 1 finished before" in shown.out
    assert shown.out.count("trial 1: Convolution on mine") == 1
    assert "trial 0" not in shown.out
    with Path("runs/mine/two/runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["row"] for row in rows} == {"Attention", "Convolution"}


@given(st.one_of(st.integers(), st.floats(), st.booleans(), st.none(), st.text(), st.lists(st.integers())))
def test_a_version_is_the_known_one_or_refused(found: object) -> None:
    if type(found) is int and found == 1:
        check_version(found, 1, "a file")
        return
    with pytest.raises((ValueError, NASRError)):
        check_version(found, 1, "a file")


def test_every_json_that_a_run_writes_says_its_schema_and_version() -> None:
    files = [*KEPT.rglob("*.json")]
    assert len(files) >= 15
    for file in files:
        if file.name in ("recommended.json", "command.json"):
            continue
        content = json.loads(file.read_text())
        assert content["schema"].startswith("recbole-nasr/"), file
        assert content["schema_version"] == 1, file
