"""What RecBole offers around a run works for its models and for ours alike."""

from __future__ import annotations

import urllib.error
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recbole
import recbole.data.dataset.dataset as recbole_dataset
import recbole.data.utils as recbole_data_utils
import recbole.trainer.trainer as recbole_trainer
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import SequentialDataset
from recbole.evaluator.register import metric_types
from recbole.model.general_recommender import EASE
from recbole.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.utils import EvaluatorType, get_trainer
from recbole.utils.case_study import full_sort_scores, full_sort_topk

from recbole_nasr.checkpoints import reading
from recbole_nasr.errors import CheckpointError, DataError

from .conftest import COMMON, SETTINGS

Run = Callable[..., dict[str, Any]]
SPLITS = [{"LS": "valid_and_test"}, {"LS": "test_only"}, {"RS": [0.6, 0.2, 0.2]}, {"TS": [0.6, 0.2, 0.2]}]
both = pytest.mark.parametrize("model", ["NASR", "SASRec"])


def only_file(pattern: str) -> Path:
    [file] = Path("saved").glob(pattern)
    return file


@both
def test_every_ranking_metric_of_recbole_and_the_case_study_agree(model: str, run: Run) -> None:
    ranking = [name for name, kind in metric_types.items() if kind is EvaluatorType.RANKING and name != "gauc"]
    assert {"itemcoverage", "shannonentropy", "giniindex", "averagepopularity", "tailpercentage"} < set(ranking)
    result = run(model, metrics=ranking)["test_result"]
    assert len(result) == len(ranking)
    assert all(np.isfinite(value) for value in result.values())
    # The same lists, asked for one person at a time.
    _, network, dataset, train, _, test = load_data_and_model(str(only_file(f"{model}-*.pth")))
    users = dataset.token2id("user_id", [f"u{n}" for n in range(8)])
    scores = full_sort_scores(users, network, test)
    values, items = full_sort_topk(users, network, test, k=3)
    assert torch.equal(values, scores.gather(1, items))
    assert scores.shape == (8, dataset.item_num)
    assert result["itemcoverage@3"] == pytest.approx(len(items.unique()) / dataset.item_num)
    counts = train.dataset.item_counter
    popularity = np.mean([counts[item] for item in items.flatten().tolist()])
    assert result["averagepopularity@3"] == pytest.approx(popularity)


@both
def test_training_goes_on_from_a_checkpoint(model: str, run: Run) -> None:
    run(model)
    file = str(only_file(f"{model}-*.pth"))
    config, network, _, train, valid, _ = load_data_and_model(file)
    config["epochs"] = 3
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.resume_checkpoint(file)
    assert trainer.start_epoch == 1
    trainer.fit(train, valid)
    assert list(trainer.train_loss_dict) == [1, 2]


@both
@pytest.mark.parametrize("key", ["save_dataset", "save_dataloaders"])
def test_cached_data_give_the_same_result_and_are_read_once_written(
    model: str, key: str, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    load = reading.load_cache

    def counted(file: Any) -> Any:
        read.append(file.name)
        return load(file)

    monkeypatch.setattr(recbole_data_utils.pickle, "load", counted)
    first = run(model, **{key: True})
    assert read == []
    [cache] = Path("saved").glob("tiny-*.pth")
    checkpoint_file = only_file(f"{model}-*.pth")
    assert run(model, **{key: True})["test_result"] == first["test_result"]
    assert [Path(name).name for name in read] == [cache.name]
    load_data_and_model(str(checkpoint_file))  # reads the cache beside the checkpoint
    assert len(read) == 2
    before = cache.read_bytes()
    run(model, **{key: True, "MAX_ITEM_LIST_LENGTH": 3})
    assert cache.read_bytes() != before  # looked at, and built anew


@both
def test_loaders_that_were_saved_shuffle_as_others_do_in_this_run_and_the_next(
    model: str, tiny: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    orders = []
    for saves in (False, True, True):
        config = Config(
            model, "tiny", config_dict={**SETTINGS[model], "data_path": str(tiny), "save_dataloaders": saves}
        )
        train, _, _ = data_preparation(config, create_dataset(config))
        torch.manual_seed(len(orders))  # of no concern to a loader with a generator of its own
        orders.append([batch["item_id"].tolist() for _ in range(3) for batch in train])
    assert list(Path("saved").glob("*-dataloader.pth"))
    assert orders[1] == orders[0]
    assert orders[2] == orders[0]


def test_a_cache_that_runs_a_command_is_refused(run: Run, tmp_path: Path) -> None:
    Path("saved").mkdir()
    trace = tmp_path / "trace"
    Path("saved/tiny-SequentialDataset.pth").write_bytes(f"cos\nsystem\n(S'mkdir {trace}'\ntR.".encode())
    with pytest.raises(CheckpointError, match=r"os\.system.*Delete '.*tiny-SequentialDataset.pth'"):
        run("SASRec")
    assert not trace.exists()
    Path("saved/tiny-SequentialDataset.pth").write_bytes(b"no pickle")
    with pytest.raises(CheckpointError, match=r"damaged or incomplete.*Delete"):
        run("SASRec")


def test_a_general_model_keeps_its_matrices_in_the_checkpoint(run: Run) -> None:
    settings = {**COMMON, "valid_metric": "NDCG@3"}
    del settings["hidden_size"], settings["MAX_ITEM_LIST_LENGTH"]
    result = run("EASE", settings)
    config, network, _, _, _, test = load_data_and_model(str(only_file("EASE-*.pth")))
    assert isinstance(network, EASE)
    trainer = get_trainer(config["MODEL_TYPE"], "EASE")(config, network)
    assert trainer.evaluate(test, load_best_model=False) == result["test_result"]


def test_a_general_model_runs_on_data_that_are_prepared_here(tmp_path: Path) -> None:
    rows = [f"u{user},i{(user + step) % 8},{step}" for user in range(6) for step in range(6)]
    (tmp_path / "own.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]))
    settings = {**COMMON, "source": str(tmp_path / "own.csv")}
    del settings["hidden_size"], settings["MAX_ITEM_LIST_LENGTH"], settings["load_col"]
    assert 0 <= run_recbole("BPR", "own", config_dict=settings)["test_result"]["ndcg@3"] <= 1


@both
def test_losses_and_scores_go_to_tensorboard(model: str, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    writers: list[Any] = []
    opened = recbole_trainer.get_tensorboard
    monkeypatch.setattr(recbole_trainer, "get_tensorboard", lambda log: writers.append(opened(log)) or writers[-1])
    run(model)
    for writer in writers:
        writer.flush()  # a thread writes, and RecBole never waits for it
    written = b"".join(file.read_bytes() for file in Path("log_tensorboard").rglob("events.out.tfevents*"))
    assert b"Loss/Train" in written
    assert b"Vaild_score" in written  # RecBole's spelling


@both
def test_the_objective_of_a_hyper_parameter_search_runs(model: str, tiny: Path) -> None:
    where = {"model": model, "dataset": "tiny", "data_path": str(tiny)}
    found = objective_function({**SETTINGS[model], **where}, saved=False)
    assert found["model"] == model
    assert 0 <= found["best_valid_score"] <= 1
    assert set(found["test_result"]) == {"ndcg@3", "recall@3"}


@pytest.mark.parametrize("algo", ["exhaustive", "random", "bayes"])
def test_hyper_parameters_are_tuned(algo: str, tiny: Path) -> None:
    pytest.importorskip("hyperopt", reason="HyperTuning needs hyperopt: pip install 'recbole-nasr[tuning]'")
    from recbole.trainer import HyperTuning

    where = {"model": "NASR", "dataset": "tiny", "data_path": str(tiny)}

    def objective(config_dict: dict[str, Any], config_file_list: Any) -> dict[str, Any]:
        return dict(objective_function({**SETTINGS["NASR"], **where, **config_dict}, config_file_list, saved=False))

    choices = {"learning_rate": [0.01, 0.001], "hidden_size": [8, 16]}
    tuning = HyperTuning(objective, params_dict={"choice": choices}, algo=algo, max_evals=2)
    tuning.run()
    assert len(tuning.score_list) == (4 if algo == "exhaustive" else 2)
    assert all(tuning.best_params[key] in values for key, values in choices.items())


@both
def test_a_model_runs_on_benchmark_files(model: str, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "split"
    folder.mkdir(parents=True)
    header = "user_id:token\titem_id_list:token_seq\titem_id:token"
    for part, seen in {"train": 3, "valid": 4, "test": 5}.items():
        rows = [
            f"u{user}\t{' '.join(f'i{(user + step) % 10}' for step in range(seen))}\ti{(user + seen) % 10}"
            for user in range(10)
        ]
        (folder / f"split.{part}.inter").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    benchmark = {
        "data_path": str(folder.parent),
        "benchmark_filename": ["train", "valid", "test"],
        "load_col": None,
        "alias_of_item_id": ["item_id_list"],
    }
    if model == "NASR":
        with pytest.raises(DataError, match=r"benchmark_filename.*set train_scheme: prefix"):
            run_recbole(model, "split", config_dict={**SETTINGS[model], **benchmark})
        benchmark["train_scheme"] = "prefix"
    result = run_recbole(model, "split", config_dict={**SETTINGS[model], **benchmark})
    assert 0 <= result["test_result"]["recall@3"] <= 1


def test_a_download_without_network_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def no_network(_url: str, folder: str) -> None:
        Path(folder).mkdir(exist_ok=True)
        msg = "Name or service not known"
        raise urllib.error.URLError(msg)

    monkeypatch.setattr(recbole_dataset, "decide_download", lambda _url: True)
    monkeypatch.setattr(recbole_dataset, "download_url", no_network)
    config = Config("SASRec", "amazon-beauty", config_dict={**SETTINGS["SASRec"], "data_path": str(tmp_path)})
    with pytest.raises(DataError, match=r"'amazon-beauty' could not be.*not known.*put") as caught:
        create_dataset(config)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "amazon-beauty").exists()


@pytest.mark.parametrize("split", SPLITS, ids=str)
@both
def test_every_split_of_recbole_trains_on_its_own_rows(model: str, split: dict[str, Any], run: Run, tiny: Path) -> None:
    if "TS" in split and recbole.__version__ == "1.2.0":
        pytest.skip("RecBole 1.2.0 has no split by time")
    how = {"split": split, "order": "TO", "group_by": "none" if "TS" in split else "user", "mode": "full"}
    result = run(model, eval_args=how)
    assert set(result["test_result"]) == {"ndcg@3", "recall@3"}
    keys = {**SETTINGS[model], "data_path": str(tiny), "eval_args": how, "train_scheme": "prefix"}
    parts = create_dataset(Config(model, "tiny", config_dict=keys)).build()
    theirs = SequentialDataset(Config("SASRec", "tiny", config_dict={**keys, "train_neg_sample_args": None})).build()
    for part, expected in zip(parts, theirs, strict=True):
        assert len(part) == len(expected)
        rows, expected_rows = part[np.arange(len(part))], expected[np.arange(len(part))]
        assert set(rows.columns) == set(expected_rows.columns)
        for field in rows.columns:
            assert rows[field].dtype == expected_rows[field].dtype
            assert torch.equal(rows[field], expected_rows[field]), field
