from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest

from recbole_nasr.errors import ConfigError
from recbole_nasr.machine import environment, peak_memory
from recbole_nasr.runs.folder import RunFolder, RunRecord


def test_a_run_folder_names_data_set_model_and_run(tmp_path: Path) -> None:
    path = RunFolder.create(tmp_path, "ml", "NASR", "first").path
    assert path.is_dir()
    assert path.parent == tmp_path / "ml"
    assert path.name.endswith("-NASR-first")


def test_folders_of_the_same_second_never_share_a_place(tmp_path: Path) -> None:
    assert len({RunFolder.create(tmp_path, "ml", "NASR").path for _ in range(5)}) == 5


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.write_json("a.json", {"x": 1})
    with pytest.raises(TypeError):
        folder.write_json("a.json", {"x": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_json_has_null_where_a_number_is_not_finite(tmp_path: Path) -> None:
    path = RunFolder(tmp_path).write_json("a.json", {"x": [float("nan"), float("inf"), 0.5], "y": (1,)})
    assert json.loads(path.read_text()) == {"x": [None, None, 0.5], "y": [1]}


def test_a_compressed_table_has_equal_bytes_for_equal_rows(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    first = folder.write_csv("a.csv.gz", ("x", "y"), [("p,q", 1)]).read_bytes()
    assert folder.write_csv("b.csv.gz", ("x", "y"), [("p,q", 1)]).read_bytes() == first
    assert list(csv.reader(io.StringIO(gzip.decompress(first).decode()))) == [["x", "y"], ["p,q", "1"]]


def record(tmp_path: Path) -> RunRecord:
    return RunRecord(RunFolder(tmp_path), "NASR", "ml", ["run_nasr.py", "--run_name=a b"])


def read(tmp_path: Path) -> dict[str, object]:
    return dict(json.loads((tmp_path / "run.json").read_text()))


def test_the_record_says_running_until_the_run_is_finished(tmp_path: Path) -> None:
    with record(tmp_path).running() as run:
        assert read(tmp_path)["status"] == "running"
        run.facts["seed"] = 7
        with run.clock.stage("data"):
            pass
    found = read(tmp_path)
    assert found["status"] == "finished"
    assert found["seed"] == 7
    assert found["command"] == "run_nasr.py '--run_name=a b'"
    assert list(found["seconds"]) == ["data"]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), "interrupted"), (ValueError("no"), "failed")])
def test_the_record_says_how_a_run_broke_off(tmp_path: Path, error: BaseException, status: str) -> None:
    with pytest.raises(type(error)), record(tmp_path).running():
        raise error
    assert read(tmp_path)["status"] == status


def test_versions_of_what_results_depend_on_are_known() -> None:
    packages = environment()["packages"]
    assert {"recbole-nasr", "recbole", "torch", "numpy", "pandas"} <= set(packages)
    assert all(version[0].isdigit() for version in packages.values())


def test_peak_memory_is_in_bytes() -> None:
    assert 50 * 2**20 < peak_memory() < 2**40


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"`runs_dir`, but .*file/ml cannot be made"):
        RunFolder.create(tmp_path / "file", "ml", "NASR")
