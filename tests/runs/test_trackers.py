from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from recbole_nasr.commands.cli import OK, USER_ERROR, main

WORDS = (
    "--model=NASRSearch",
    "--search_min_steps=0",
    "--dataset=toy",
    "--data_path=data",
    "--epochs=2",
    "--eval_step=1",
    "--hidden_size=8",
    "--MAX_ITEM_LIST_LENGTH=8",
    "--device=cpu",
    "--topk=[2, 5]",
    "--n_layers=2",
    "--n_blocks=2",
    "--search_epochs=1",
    "--candidate_ops=[transformer_h2,tcn_d1_2]",
)


class Wandb(ModuleType):
    """The part of wandb that RecBole calls; keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("wandb")
        self.__spec__ = type(sys.__spec__)("wandb", None)
        self.run: Any = None
        self.logged: list[dict[str, float]] = []
        self.started: list[dict[str, Any]] = []
        self.finished: list[dict[str, float]] = []

    def init(self, **given: Any) -> None:
        self.run = self
        self.summary: dict[str, float] = {}
        self.started.append(
            {key: given[key] for key in ("project", "name", "dir")} | {"width": given["config"]["hidden_size"]}
        )

    def define_metric(self, *_: Any, **__: Any) -> None: ...

    def log(self, metrics: dict[str, float], commit: bool = True) -> None:
        self.logged.append(metrics)

    def finish(self) -> None:
        self.finished.append(self.summary)
        self.run = None


class MLflow(ModuleType):
    """The part of mlflow that a run calls; keeps what it is told."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = type(sys.__spec__)("mlflow", None)
        self.experiments: list[str] = []
        self.params: dict[str, str] = {}
        self.values: list[tuple[str, float, int | None]] = []
        self.artifacts: list[str] = []
        self.open_runs: list[str] = []
        self.names: list[str] = []

    def set_experiment(self, name: str) -> None:
        self.experiments.append(name)

    @contextmanager
    def start_run(self, run_name: str) -> Any:
        self.names.append(run_name)
        self.open_runs.append(run_name)
        yield
        self.open_runs.remove(run_name)

    def log_params(self, params: dict[str, str]) -> None:
        self.params.update(params)

    def set_tags(self, tags: dict[str, str]) -> None:
        self.tags = tags

    def log_metrics(self, values: dict[str, float], step: int | None = None) -> None:
        self.values += [(name, value, step) for name, value in values.items()]

    def log_artifact(self, path: str) -> None:
        self.artifacts.append(Path(path).name)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    module = Wandb()
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> MLflow:
    module = MLflow()
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module


def test_all_trackers_are_told_of_epochs_blocks_and_the_test(toy: Path, wandb: Wandb, mlflow: MLflow) -> None:
    assert main([*WORDS, "--log_wandb=True", "--wandb_project=mine", "--log_mlflow=True"]) == OK
    (folder,) = Path("runs/toy").glob("*-NASRSearch")

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("search/selected_score")] == [1, 2]
    assert len(events.Scalars("search/loss_of_block_2")) == 1
    assert len(events.Scalars("test/ndcg@5")) == 1
    assert "search/scores" in events.Tags()["histograms"]

    blocks = [row for row in wandb.logged if "block_step" in row]
    assert [row["block_step"] for row in blocks] == [1, 2]
    assert blocks[0]["search/selected_score"] == pytest.approx(events.Scalars("search/selected_score")[0].value)
    assert wandb.started == [{"project": "mine", "name": folder.name, "dir": str(folder), "width": 8}]
    assert "eval/ndcg@5" in wandb.finished[0]
    assert wandb.run is None

    told = {name: (value, step) for name, value, step in mlflow.values}
    assert told["test_ndcg_at_5"][0] == pytest.approx(events.Scalars("test/ndcg@5")[0].value)
    assert [step for name, _, step in mlflow.values if name == "train_loss"] == [1, 2]
    assert [step for name, _, step in mlflow.values if name == "search_selected_score"] == [1, 2]
    assert told["search_loss_of_block_1"][1] == 1
    assert mlflow.params["hidden_size"] == "8"
    assert {"architecture.json", "metrics.json", "settings.yaml"} <= set(mlflow.artifacts)
    assert (mlflow.experiments, mlflow.names, mlflow.open_runs) == (["recbole-nasr"], [folder.name], [])
    assert all("@" not in name for name in told)


def test_every_model_of_a_comparison_has_a_run_of_its_own(toy: Path, wandb: Wandb, mlflow: MLflow) -> None:
    words = [word for word in WORDS if not word.startswith(("--model", "--search", "--candidate", "--n_"))]
    given = ["--model=GRU4Rec,NASR", "--architecture=gru4rec", "--log_wandb=True", "--log_mlflow=True"]
    assert main([*words, *given, "--mlflow_experiment=night"]) == OK
    assert [len(wandb.started), len(wandb.finished)] == [2, 2]
    assert [name.split("-")[-1] for name in mlflow.names] == ["GRU4Rec", "NASR"]
    assert mlflow.experiments == ["night", "night"]


@pytest.mark.parametrize(("key", "package"), [("log_wandb", "wandb"), ("log_mlflow", "mlflow")])
def test_a_tracker_that_is_not_installed_is_an_error_before_any_work(
    key: str, package: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    missing: Callable[..., Any] = lambda name, *rest: None if name == package else found(name, *rest)  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", missing)
    assert main([*WORDS, f"--{key}=True"]) == USER_ERROR
    assert f"pip install {package}." in capsys.readouterr().err
    assert not Path("runs").exists()


def test_a_tracker_is_either_on_or_off(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*WORDS, "--log_mlflow=maybe"]) == USER_ERROR
    assert "`log_mlflow` must be True or False" in capsys.readouterr().err
