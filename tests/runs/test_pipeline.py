from __future__ import annotations

import csv
import gzip
import json
import logging
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import recbole.data.utils
import torch
import yaml
from recbole.model.sequential_recommender import SASRec

from recbole_nasr.configuration.files import settings_text
from recbole_nasr.errors import ConfigError, DataError, ModelError
from recbole_nasr.quick_start import run_recbole
from recbole_nasr.runs import data, epochs, pipeline
from recbole_nasr.runs.data import refusals
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.pipeline import run_model
from recbole_nasr.runs.results import RunResult

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "train_batch_size": 32,
    "hidden_size": 8,
    "inner_size": 8,
    "train_neg_sample_args": None,
    "metrics": ["NDCG", "Recall"],
    "topk": [2, 5],
    "valid_metric": "NDCG@5",
    "metric_decimal_place": 8,
    "show_progress": False,
    "gpu_id": "",
}


def run(data_path: Path, dataset: str = "toy", *, runs: Path = Path("runs"), **settings: Any) -> RunResult:
    folder = RunFolder.create(runs, dataset, "SASRec")
    file = folder.write_text("settings.yaml", settings_text({**SETTINGS, "data_path": str(data_path), **settings}))
    return run_model("SASRec", dataset, [file], folder)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    """One run on the same interactions as the fixture `toy`, for all tests that only look at it."""
    place = tmp_path_factory.mktemp("run")
    (place / "data" / "toy").mkdir(parents=True)
    rows = [f"u{user}\ti{(user + step) % 10}\t{step}" for user in range(12) for step in range(8)]
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (place / "data" / "toy" / "toy.inter").write_text("\n".join([header, *rows]) + "\n")
    return run(place / "data", runs=place / "runs")


def test_metrics_equal_those_of_run_recbole(toy: Path, result: RunResult) -> None:
    theirs = run_recbole(model="SASRec", dataset="toy", config_dict={**SETTINGS, "data_path": str(toy)})
    assert result.test == dict(theirs["test_result"])
    assert result.valid == dict(theirs["best_valid_result"])


def test_a_model_that_scores_single_items_is_measured_without_ranks(
    toy: Path, result: RunResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise NotImplementedError

    monkeypatch.setattr(SASRec, "full_sort_predict", refuse)
    found = run(toy)
    assert found.test == pytest.approx(result.test)
    assert not (found.folder.path / "ranks.csv.gz").exists()


def test_a_run_writes_into_its_own_folder_only(toy: Path) -> None:
    folder = run(toy, epochs=1).folder
    assert {path.name for path in Path().iterdir()} == {"data", "runs"}
    names = {path.name for path in folder.path.iterdir()}
    assert names == {
        "settings.yaml",
        "config.yaml",
        "run.json",
        "metrics.json",
        "items.csv.gz",
        "ranks.csv.gz",
        "model.pth",
        "run.log",
        "tensorboard",
    }


def test_the_written_metrics_are_those_returned(result: RunResult) -> None:
    written = json.loads((result.folder.path / "metrics.json").read_text())
    assert (written["test"], written["valid"]) == (result.test, result.valid)
    assert written["data"] == {
        "sequences": 12,
        "items": 10,
        "actions": 96,
        "train_rows": 60,
        "valid_cases": 12,
        "test_cases": 12,
    }


def test_the_written_ranks_give_the_reported_metrics(result: RunResult) -> None:
    with gzip.open(result.folder.path / "ranks.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    assert [row["sequence"] for row in rows] == [f"u{user}" for user in range(12)]
    assert [row["target"] for row in rows] == [f"i{(user + 7) % 10}" for user in range(12)]
    ranks = [int(row["rank"]) for row in rows]
    ndcg = sum(1 / math.log2(rank + 1) for rank in ranks if rank <= 5) / len(ranks)
    assert result.test["ndcg@5"] == pytest.approx(ndcg, abs=1e-6)
    assert result.test["recall@2"] == pytest.approx(sum(rank <= 2 for rank in ranks) / len(ranks), abs=1e-6)


def test_the_written_configuration_is_the_one_in_force(result: RunResult) -> None:
    config = yaml.safe_load((result.folder.path / "config.yaml").read_text())
    assert config["hidden_size"] == 8
    assert config["n_layers"] == 2  # from SASRec.yaml of RecBole
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}


def test_best_epoch_is_the_one_with_the_best_validation_score(result: RunResult) -> None:
    assert result.epochs == 3
    assert 1 <= result.best_epoch <= 3


@contextmanager
def lines_told() -> Iterator[list[str]]:
    """What a person is told while a run is under way."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("recbole_nasr")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


def test_every_epoch_is_one_line_on_the_way(toy: Path) -> None:
    with lines_told() as lines:
        run(toy)
    assert lines[0] == ("data: 12 sequences, 10 items, 96 actions; 60 training rows, 12 validation and 12 test cases")
    assert [line.split("  ")[0] for line in lines[1:]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("ndcg@5 0." in line for line in lines[1:])


class Clock:
    """Stands for the time, which passes when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(epochs.time, "perf_counter", lambda: self.now)

    def trainer(self, epoch_seconds: float, start_epoch: int = 0) -> Any:
        def train_epoch() -> None:
            self.now += epoch_seconds

        return SimpleNamespace(cur_step=0, start_epoch=start_epoch, best_valid_score=0.5, _train_epoch=train_epoch)

    def lines(self, trainer: Any) -> epochs.EpochLines:
        made = epochs.EpochLines(trainer, {"valid_metric": "NDCG@20", "epochs": 4})
        made.time_epochs()
        return made


def times_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage().rpartition("(")[2] for record in caplog.records]


def times_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, epoch_seconds: float, eval_step: int
) -> list[str]:
    """Return the times on the lines of four epochs, which begin after a search."""
    clock = Clock(monkeypatch)
    trainer = clock.trainer(epoch_seconds)
    lines = clock.lines(trainer)
    clock.now += 110  # the search
    with caplog.at_level("INFO", "recbole_nasr"):
        for epoch in range(4):
            trainer._train_epoch()
            if (epoch + 1) % eval_step == 0:
                lines(epoch, 0.4)
    return times_of(caplog)


def test_the_first_line_leaves_out_the_search_also_when_every_second_epoch_is_evaluated(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert times_told(monkeypatch, caplog, 20.0, eval_step=2) == ["40.0 s, at most 40 s left)", "40.0 s)"]


def test_a_long_epoch_is_told_in_minutes_like_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    told = times_told(monkeypatch, caplog, 160.0, eval_step=1)
    assert told[2:] == ["2 min 40 s, at most 2 min 40 s left)", "2 min 40 s)"]


def test_the_first_line_after_an_interruption_has_the_time_worked_before_it_and_not_the_time_lost(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    first = clock.trainer(20.0)
    lines = clock.lines(first)
    with caplog.at_level("INFO", "recbole_nasr"):
        for _ in range(3):
            first._train_epoch()
        lines(1, 0.4)  # the third is not over yet
        clock.now += 5
        state = lines.state()
        clock.now += 7000
        second = clock.trainer(12.0, start_epoch=2)
        again = clock.lines(second)
        again.restore(state)
        clock.now += 30  # the data
        second._train_epoch()
        again(2, 0.4)
        second._train_epoch()
        again(3, 0.4)
    assert times_of(caplog) == ["1 min 0 s, at most 1 min 0 s left)", "17.0 s, at most 17 s left)", "12.0 s)"]


def test_a_search_that_went_on_after_an_interruption_does_not_shorten_the_first_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock(monkeypatch)
    trainer = clock.trainer(20.0)
    lines = clock.lines(trainer)
    clock.now += 30  # the rest of the search
    trainer.stage_seconds = {"search": 130.0}  # with what was kept of it
    with caplog.at_level("INFO", "recbole_nasr"):
        trainer._train_epoch()
        lines(0, 0.4)
    assert times_of(caplog) == ["20.0 s, at most 1 min 0 s left)"]


def test_the_test_cases_are_read_only_after_the_training(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    prepare, note = recbole.data.utils.data_preparation, pipeline.EpochLines.__call__

    def watched(config: Any, dataset: Any) -> Any:
        loaders = prepare(config, dataset)
        test_set = loaders[2].dataset

        class Watched(type(test_set)):
            def __getitem__(self, *args: Any, **kwargs: Any) -> Any:
                events.append("test")
                return super().__getitem__(*args, **kwargs)

        test_set.__class__ = Watched
        return loaders

    def noted(self: Any, epoch: int, score: float) -> None:
        events.append(f"epoch {epoch}")
        note(self, epoch, score)

    monkeypatch.setattr(data, "data_preparation", watched)
    monkeypatch.setattr(pipeline.EpochLines, "__call__", noted)
    run(toy)
    assert events[:3] == ["epoch 0", "epoch 1", "epoch 2"]
    assert set(events[3:]) == {"test"}


@pytest.mark.parametrize("length", [1, 3])
def test_sequences_too_short_to_split_are_refused(write_inter: Callable[..., Path], length: int) -> None:
    path = write_inter([(f"u{u}", f"i{i}", float(i)) for u in range(5) for i in range(length)])
    with pytest.raises(DataError, match=rf"too short to split .* 4 interactions of one user, .* has {length}"):
        run(path)


def test_one_sequence_of_four_is_enough(write_inter: Callable[..., Path]) -> None:
    path = write_inter([(f"u{u}", f"i{i}", float(i)) for u in range(2) for i in range(4 if u else 2)])
    counts = run(path, epochs=1, topk=[2], valid_metric="NDCG@2").data
    assert (counts.train_rows, counts.valid_cases, counts.test_cases) == (2, 1, 1)


def test_a_cut_beyond_the_number_of_items_is_refused(toy: Path) -> None:
    with pytest.raises(ConfigError, match="`topk` must not exceed the 10 items"):
        run(toy, topk=[5, 11])


def test_filters_that_leave_nothing_are_one_clear_error(toy: Path) -> None:
    with pytest.raises(DataError, match="cannot load 'toy'"):
        run(toy, user_inter_num_interval="[100,inf)")


def test_a_field_to_load_that_the_file_lacks_is_warned_of(toy: Path) -> None:
    (toy / "toy" / "toy.item").write_text("item_id:token\tgenre:token\n" + "".join(f"i{i}\tg\n" for i in range(10)))
    columns = {"inter": ["user_id", "item_id", "timestamp", "raiting"], "item": ["item_id", "genre"], "user": "*"}
    with lines_told() as lines:
        run(toy, epochs=1, load_col=columns)
    assert [line for line in lines if "load_col" in line] == [
        "`load_col` names raiting, but the inter file of toy has no such field."
    ]


def test_a_field_that_recbole_misses_is_named() -> None:
    wrong = r"^It cannot be loaded: there is no item_id_list$"
    with pytest.raises(DataError, match=wrong), refusals(DataError, "It cannot be loaded"):
        raise KeyError(np.str_("item_id_list"))


def test_a_network_that_cannot_be_built_is_one_clear_error(toy: Path) -> None:
    with pytest.raises(ModelError, match=r"SASRec cannot be built; .*multiple"):
        run(toy, n_heads=3)


def test_a_split_that_recbole_refuses_is_one_clear_error(toy: Path) -> None:
    with pytest.raises(ConfigError, match="RecBole cannot split 'toy': There is no transform named 'nope'"):
        run(toy, transform="nope")


def test_a_checkpoint_in_the_folder_has_the_tested_weights(result: RunResult) -> None:
    from recbole_nasr.quick_start import load_data_and_model

    model = load_data_and_model(result.folder.path / "model.pth")[1]
    assert sum(weight.numel() for weight in model.parameters()) == result.n_parameters
    assert all(torch.isfinite(weight).all() for weight in model.parameters())
