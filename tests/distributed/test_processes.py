"""Two processes on the CPU give what one gives; the job is in ``job.py``."""

from __future__ import annotations

import csv
import gzip
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from recbole.utils import get_trainer

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.quick_start import load_data_and_model, run

JOB = Path(__file__).with_name("job.py")
N_CASES = 13


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``data/toy``: 13 users, each with 8 of 10 items in cyclic order."""
    folder = tmp_path_factory.mktemp("place")
    (folder / "data" / "toy").mkdir(parents=True)
    rows = [f"u{user}\ti{(user + step) % 10}\t{step}" for user in range(N_CASES) for step in range(8)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (folder / "data" / "toy" / "toy.inter").write_text("\n".join([header, *rows]) + "\n")
    return folder


@pytest.fixture(scope="module")
def two(place: Path) -> subprocess.CompletedProcess[str]:
    """The finished job; the second process has killed itself at its end."""
    return torchrun(place, "search", "results.pt")


def torchrun(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"),
            *(str(JOB), str(place / "data"), *words),
        ],
        cwd=place,
        env={**os.environ, **paths, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def saved(place: Path, two: subprocess.CompletedProcess[str]) -> dict[str, list[dict[str, Any]]]:
    """What the processes have written."""
    assert (place / "results.pt").is_file(), two.stderr
    found: dict[str, list[dict[str, Any]]] = torch.load(place / "results.pt", weights_only=True)
    return found


@pytest.fixture(scope="module")
def outcomes(saved: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What each of the two processes found."""
    return saved["runs"]


def alone(place: Path, name: str) -> dict[str, Any]:
    job = runpy.run_path(str(JOB))
    model, settings = job["RUNS"][name]
    found: dict[str, Any] = job["train"](model, str(place / "data"), settings)
    return found


@pytest.mark.parametrize("name", ["network", "batches of one"])
def test_two_processes_train_and_measure_what_one_does(name: str, place: Path, outcomes: list[dict[str, Any]]) -> None:
    expected = alone(place, name)
    for outcome in (process[name] for process in outcomes):
        torch.testing.assert_close(outcome["parameters"], expected["parameters"], rtol=1e-4, atol=1e-6)
        assert outcome["losses"] == pytest.approx(expected["losses"], rel=1e-5)
        assert outcome["valid"] == expected["valid"]
        assert outcome["epochs since the best"] == expected["epochs since the best"]
        assert outcome["test"] == expected["test"]
        assert torch.equal(outcome["ranks"], expected["ranks"])
        assert len(outcome["ranks"]) == N_CASES


def test_all_processes_have_the_same_weights_to_the_last_bit(outcomes: list[dict[str, Any]]) -> None:
    for name in outcomes[0]:
        assert torch.equal(*(process[name]["parameters"] for process in outcomes)), name


def test_each_case_is_counted_once(outcomes: list[dict[str, Any]]) -> None:
    for name in outcomes[0]:
        cases = [case for process in outcomes for case in process[name]["cases"]]
        assert sorted(cases) == sorted([*range(N_CASES)] * 2), name  # to validate, and to test


def test_metrics_that_are_no_average_over_cases_are_exact_too(place: Path, outcomes: list[dict[str, Any]]) -> None:
    expected = alone(place, "coverage")["test"]
    assert [process["coverage"]["test"] for process in outcomes] == [expected, expected]


@pytest.mark.parametrize("name", ["search", "search by the next item"])
def test_all_processes_have_the_path_scores_of_one_and_take_what_the_first_has_found(
    name: str, place: Path, outcomes: list[dict[str, Any]]
) -> None:
    expected = alone(place, name)
    for process in outcomes:
        for scores, ours in zip(process[name]["path scores"], expected["path scores"], strict=True):
            assert len(scores) == 2
            # Whole trainings: Adam divides a gradient by its size, so rounding grows. One step is compared below.
            torch.testing.assert_close(scores, ours, atol=1e-3, rtol=0)
    assert expected["architecture"] != "tcn_d1_2/tcn_d1_2"  # what the second process claims
    assert [process[name]["architecture"] for process in outcomes] == [expected["architecture"]] * 2


@pytest.mark.parametrize("name", runpy.run_path(str(JOB))["STEPS"])
def test_two_processes_take_the_search_steps_of_one_and_rank_alike_to_the_last_bit(
    name: str, saved: dict[str, list[dict[str, Any]]]
) -> None:
    job = runpy.run_path(str(JOB))
    expected = job["search_steps"](**job["STEPS"][name])
    for process in saved["steps"]:
        found = process[name]
        assert torch.equal(found["scores"], expected["scores"])
        assert found["gradients"].keys() == expected["gradients"].keys()  # unused operations have none
        for parameter, gradient in expected["gradients"].items():
            torch.testing.assert_close(found["gradients"][parameter], gradient, atol=1e-6, rtol=1e-5, msg=parameter)
        assert found["losses"] == pytest.approx(expected["losses"], abs=1e-5)


def test_checkpoints_have_one_name_and_load_in_one_process(place: Path, outcomes: list[dict[str, Any]]) -> None:
    for name in outcomes[0]:
        (path,) = {process[name]["checkpoint"] for process in outcomes}
        config = load_checkpoint(place / path)["config"]
        assert config["single_spec"]
        assert config["local_rank"] == 0


def test_the_command_line_speaks_and_writes_once(place: Path, two: subprocess.CompletedProcess[str]) -> None:
    (folder,) = (place / "runs" / "toy").glob("*-NASRSearch-shared")
    assert two.stdout.count(f"writing to {folder.relative_to(place)}") == 1
    assert two.stdout.count("Test results on toy") == 1
    assert len(list((folder / "tensorboard").glob("events*"))) == 1
    assert json.loads((folder / "run.json").read_text())["processes"] == 2
    with gzip.open(folder / "ranks.csv.gz", "rt") as file:
        assert len(list(csv.DictReader(file))) == N_CASES


def test_a_lost_process_ends_the_others_with_a_message(
    place: Path, two: subprocess.CompletedProcess[str], outcomes: list[dict[str, Any]]
) -> None:
    assert two.returncode == 1
    assert "Signal 9 (SIGKILL)" in two.stderr
    (record,) = (place / "runs" / "toy").glob("*-NASRSearch-lost/run.json")
    assert json.loads(record.read_text())["status"] != "finished"


def test_the_same_command_goes_on_with_what_a_lost_process_has_ended_and_gives_the_same_to_the_last_bit(
    place: Path, two: subprocess.CompletedProcess[str], tmp_path: Path
) -> None:
    place = shutil.copytree(place, tmp_path / "place")  # other tests look at what was lost
    second, third = torchrun(place, "training"), torchrun(place, "nowhere")
    assert (second.returncode, third.returncode) == (1, 0), second.stderr + third.stderr
    for again, stage in ((second, "search: train block 2/2"), (third, "training")):
        assert again.stdout.count("going on with the unfinished run") == 1
        assert f" at: {stage} " in again.stdout
    assert "Block 1:" not in second.stdout
    assert "epoch 1/3" in second.stdout
    assert "epoch 1/3" not in third.stdout
    found, expected = (content(place, name) for name in ("lost", "shared"))
    assert found == expected
    (folder,) = (place / "runs" / "toy").glob("*-NASRSearch-lost")
    assert not (folder / "resume").exists()


def content(place: Path, name: str) -> list[Any]:
    """Return all that a run has found."""
    (folder,) = (place / "runs" / "toy").glob(f"*-NASRSearch-{name}")
    weights = load_checkpoint(folder / "model.pth")["state_dict"].values()
    texts = [path.read_text() for path in sorted([*folder.glob("ranking/*"), *folder.glob("*e.json")])]
    ranks = gzip.decompress((folder / "ranks.csv.gz").read_bytes())
    return [json.loads((folder / "metrics.json").read_text()), texts, ranks, [weight.tolist() for weight in weights]]


def test_recboles_models_run_in_two_processes_from_a_notebook_and_count_each_case_once(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))  # no file, as in a notebook
    monkeypatch.chdir(place)
    metrics = ["NDCG", "Recall", "ItemCoverage", "GiniIndex"]
    small = {"n_layers": 1, "inner_size": 8, "train_neg_sample_args": None, "metrics": metrics}
    settings = {**runpy.run_path(str(JOB))["COMMON"], **small, "data_path": "data"}
    given = dict(settings)
    found = run("SASRec", "toy", config_dict=settings, nproc=2)
    assert settings == given
    (checkpoint,) = (place / "saved").glob("SASRec-*.pth")
    config, model, _, _, _, test_data = load_data_and_model(str(checkpoint))
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)
    trainer.eval_collector.data_collect(test_data)
    assert found["test_result"] == trainer.evaluate(test_data, load_best_model=False)
    assert len(list((place / "log_tensorboard").glob("SASRec-*"))) == 1
