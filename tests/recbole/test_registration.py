"""RecBole finds what we registered, by its own functions, in this process and in others."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recbole.quick_start
import recbole.trainer
import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset
from recbole.quick_start import quick_start as recbole_quick_start
from recbole.utils import ModelType, get_model, get_trainer
from recbole.utils.argument_list import dataset_arguments

import recbole_nasr
from recbole_nasr import quick_start
from recbole_nasr.configuration import values
from recbole_nasr.configuration.keys import known_datasets
from recbole_nasr.data import prepare
from recbole_nasr.data.autoregressive import NASRDataset
from recbole_nasr.errors import ConfigError, DataError
from recbole_nasr.registration import register

SASREC = {"train_neg_sample_args": None, "state": "ERROR"}


@pytest.mark.parametrize("name", values.MODELS)
def test_recbole_finds_our_classes_by_name(name: str) -> None:
    model = get_model(name)
    assert (model.__name__, model.__module__.partition(".")[0]) == (name, "recbole_nasr")
    assert model.type is ModelType.SEQUENTIAL
    trainer = get_trainer(ModelType.SEQUENTIAL, name)
    assert trainer.__name__ == f"{name}Trainer"
    assert issubclass(trainer, recbole.trainer.Trainer)
    assert getattr(importlib.import_module("recbole.data.dataset"), f"{name}Dataset") is NASRDataset
    module = importlib.import_module(f"recbole.model.sequential_recommender.{name.lower()}")
    assert getattr(module, name) is model


@pytest.mark.parametrize("name", values.MODELS)
def test_our_models_need_no_configuration_file(name: str, toy: Path) -> None:
    config = Config(name, "toy", config_dict={"data_path": str(toy)})
    assert config["train_neg_sample_args"]["distribution"] == "none"
    assert isinstance(create_dataset(config), NASRDataset)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"search_networks": 4}, "`search_networks` has an effect only with `search_strategy` random, halving or"),
        ({"augmentations": ["mask"]}, "`augmentations` has an effect only with .*`search_objective: contrastive`"),
        (
            {"search_preset": "paper", "search_sweeps": 2},
            "`search_sweeps` has an effect only with .*`search_scope: whole`",
        ),
    ],
)
def test_what_is_given_in_code_and_the_search_passes_over_is_refused_and_a_file_may_have_it(
    given: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ConfigError, match=message):
        Config("NASRSearch", "ml", config_dict=dict(given))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["run_recbole.py", *(f"--{key}={value}" for key, value in given.items())])
        with pytest.raises(ConfigError, match=message):
            Config("NASRSearch", "ml")
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(given))
    config = Config("NASRSearch", "ml", config_file_list=[str(tmp_path / "settings.yaml")])
    assert {key: config[key] for key in given} == given


def test_what_is_given_in_code_and_the_search_reads_is_taken() -> None:
    given = {"search_preset": "halving", "search_networks": 4, "halving_epochs": 2}
    config = Config("NASRSearch", "ml", config_dict=dict(given))
    assert {key: config[key] for key in given} == given


@pytest.mark.parametrize(("wrong", "right"), [("NASRS", "NASR"), ("SASREC", "SASRec"), ("Lightgcn", "LightGCN")])
def test_an_unknown_model_is_refused_with_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(ConfigError, match=rf"There is no model '{wrong}'\. Did you mean '{right}'\?"):
        Config(wrong, "ml-100k")
    with pytest.raises(ConfigError, match=f"'{right}'"):
        Config(dataset="ml-100k", config_dict={"model": wrong})


def test_a_model_that_is_known_keeps_its_own_error() -> None:
    with pytest.raises(ImportError, match="lightgbm"):
        Config("LightGBM", "ml-100k")


def test_warnings_about_recboles_code_are_hidden_and_no_others() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        register()
        for module in ("recbole.data.dataset.dataset", "recbole_nasr.data", "mine"):
            warnings.warn_explicit(module, FutureWarning, "file.py", 1, module=module)
    assert [str(warning.message) for warning in caught] == ["recbole_nasr.data", "mine"]


def test_registering_again_changes_nothing() -> None:
    before = Config.__init__, vars(Config)["_load_internal_config_dict"], list(dataset_arguments)
    register()
    assert before == (Config.__init__, vars(Config)["_load_internal_config_dict"], dataset_arguments)
    assert all(dataset_arguments.count(key) == 1 for key in values.DATASET_ARGUMENTS)


def test_recboles_own_classes_are_found_as_before() -> None:
    assert get_model("SASRec").__module__ == "recbole.model.sequential_recommender.sasrec"
    assert get_trainer(ModelType.SEQUENTIAL, "SASRec") is recbole.trainer.Trainer


def test_our_quick_start_hands_out_recboles_functions() -> None:
    for name in quick_start.__all__:
        assert getattr(quick_start, name) is getattr(recbole.quick_start, name)
        assert getattr(quick_start, name) is getattr(recbole_quick_start, name)


def test_a_spawned_worker_runs_recboles_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(recbole_quick_start, "run_recbole", lambda *a, **k: calls.append((a, k)))
    quick_start.run_recboles(3, "NASR", "ml", None, {"config_dict": {"seed": 1}, "queue": None})
    assert calls == [(("NASR", "ml", None), {"config_dict": {"seed": 1, "local_rank": 3}, "queue": None})]


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """Let the preparation of ``ml`` write six tiny windows; returns the folders it wrote, in order."""
    written: list[Path] = []

    def ensure_prepared(config: Any) -> Path:
        folder = prepare.prepared_folder(config)
        folder.mkdir(parents=True)
        rows = [f"w{user}\ti{(user + step) % 7}\t{step}" for user in range(6) for step in range(5)]
        header = "user_id:token\titem_id:token\ttimestamp:float"
        (folder / "ml.inter").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        (folder / "ml.user").write_text(
            "\n".join(["user_id:token\tsource_user:token", *(f"w{user}\tp" for user in range(6))]) + "\n",
            encoding="utf-8",
        )
        written.append(folder)
        return folder

    monkeypatch.setattr(prepare, "ensure_prepared", ensure_prepared)
    return written


def test_ml_is_prepared_once_in_its_own_folder_for_any_sequential_model(prepared: list[Path], tmp_path: Path) -> None:
    settings = {**SASREC, "data_path": str(tmp_path / "data")}
    config = Config("SASRec", "ml", config_dict=dict(settings))
    folder = Path(config["data_path"])
    assert folder.parent == tmp_path / "data"
    assert folder.name.startswith("ml-100k-")
    assert create_dataset(config).inter_num == 30
    assert create_dataset(Config("SASRec", "ml", config_dict=dict(settings))).inter_num == 30
    assert prepared == [folder]


def test_other_options_go_to_another_folder(prepared: list[Path], tmp_path: Path) -> None:
    settings = {**SASREC, "data_path": str(tmp_path / "data")}
    folders = {Config("SASRec", "ml", config_dict={**settings, "window_length": n})["data_path"] for n in (20, 30)}
    assert len(folders) == 2
    assert prepared == []


def test_a_users_own_file_of_that_name_is_used_as_it_is(prepared: list[Path], write_inter: Callable[..., Path]) -> None:
    rows = [(f"u{user}", f"i{item}", float(item)) for user in range(3) for item in range(6)]
    folder = write_inter(rows, "ml")
    config = Config("SASRec", "ml", config_dict={**SASREC, "data_path": str(folder), "load_col": None})
    assert Path(config["data_path"]) == folder / "ml"
    assert create_dataset(config).inter_num == 18
    assert prepared == []


@pytest.mark.parametrize("rank", [0, 1])
def test_only_the_first_process_prepares_and_all_wait(
    rank: int, prepared: list[Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from recbole.data.dataset import SequentialDataset

    waits: list[bool] = []
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "barrier", lambda: waits.append(True))
    config = Config("SASRec", "ml", config_dict={**SASREC, "data_path": str(tmp_path / "data")})
    config["local_rank"] = rank
    dataset = object.__new__(SequentialDataset)
    dataset.config, dataset.dataset_name, dataset.dataset_path = config, "ml", config["data_path"]
    dataset._get_preset()
    assert (len(prepared), waits) == (1 - rank, [True])


def test_an_unknown_data_set_is_one_line_with_the_nearest_name(tmp_path: Path) -> None:
    config = Config("SASRec", "amazon-beuty", config_dict={**SASREC, "data_path": str(tmp_path)})
    with pytest.raises(DataError, match=r"no data set 'amazon-beuty'.*Did you mean 'amazon-beauty'"):
        create_dataset(config)
    assert not (tmp_path / "amazon-beuty").exists()


def test_known_data_sets_are_recboles_and_ours() -> None:
    assert {"ml", "ml-100k", "ml-1m", "amazon-beauty"} <= set(known_datasets())


def test_the_root_offers_a_few_names_and_no_others() -> None:
    assert recbole_nasr.Architecture.__module__ == "recbole_nasr.space.architecture"
    assert recbole_nasr.HybridNet.__module__ == "recbole_nasr.nets.hybrid"
    with pytest.raises(AttributeError, match="Architectur'"):
        _ = recbole_nasr.Architectur
