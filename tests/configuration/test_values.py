"""Defaults in their order of precedence, unknown keys refused, effective values readable."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from recbole.config import Config
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType, get_model

from recbole_nasr.configuration import resources
from recbole_nasr.configuration.keys import _OF_TRANSFORMS, UNLISTED_KEYS, check_keys, known_keys
from recbole_nasr.configuration.values import DATASET_ARGUMENTS, effective
from recbole_nasr.data.options import PREPARATION_KEYS
from recbole_nasr.errors import ConfigError


class NASR(SequentialRecommender):
    input_type = InputType.POINTWISE


class NASRSearch(NASR):
    pass


SHIPPED = {
    "properties/model/NASR": "train_neg_sample_args: ~\nhidden_size: 64\nlearning_rate: 1e-3\n"
    "MAX_ITEM_LIST_LENGTH: 7\nload_col: {inter: [user_id]}\n",
    "properties/model/NASRSearch": "hidden_size: 32\nn_layers: 1\nsearch_space: small\nsearch_preset: paper\n",
    "properties/space/small": "n_layers: 4\n",
    "properties/space/large": "n_layers: 16\n",
    "properties/search/paper": "search_epochs: 2\nn_layers: 5\n",
    "properties/search/better": "search_epochs: 3\n",
    "dataset_configs/toy": "load_col: {inter: [user_id, item_id, timestamp]}\nMAX_ITEM_LIST_LENGTH: 30\n",
}


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A checkout with small YAML files: these tests say what the order is, not what the values are."""
    root = tmp_path / "checkout"
    for name, text in SHIPPED.items():
        path = root / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (root / "pyproject.toml").touch()
    monkeypatch.setattr(resources, "_PACKAGE", root / "recbole_nasr")
    return root


def plain_config(model: Any, dataset: str = "toy", /, files: Mapping[str, Any] | None = None, **settings: Any) -> Any:
    names = []
    if files is not None:
        Path("settings.yaml").write_text(yaml.dump(dict(files)), encoding="utf-8")
        names = ["settings.yaml"]
    return Config(model, dataset, config_file_list=names, config_dict=settings)


@pytest.mark.usefixtures("shipped")
def test_each_source_of_values_beats_the_one_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plain_config("BPR", "other")["MAX_ITEM_LIST_LENGTH"] == 50  # RecBole
    assert plain_config(NASR, "other")["MAX_ITEM_LIST_LENGTH"] == 7  # the model
    assert plain_config(NASR)["MAX_ITEM_LIST_LENGTH"] == 30  # the data set
    assert plain_config(NASR, files={"MAX_ITEM_LIST_LENGTH": 31})["MAX_ITEM_LIST_LENGTH"] == 31
    both = plain_config(NASR, files={"MAX_ITEM_LIST_LENGTH": 31}, MAX_ITEM_LIST_LENGTH=32)
    assert both["MAX_ITEM_LIST_LENGTH"] == 32
    monkeypatch.setattr(sys, "argv", ["run.py", "--MAX_ITEM_LIST_LENGTH=33"])
    assert plain_config(NASR, MAX_ITEM_LIST_LENGTH=32)["MAX_ITEM_LIST_LENGTH"] == 33


@pytest.mark.usefixtures("shipped")
def test_a_search_starts_from_its_model_and_adds_its_presets() -> None:
    config = plain_config(NASRSearch)
    assert config["hidden_size"] == 32  # NASRSearch after NASR
    assert config["learning_rate"] == 0.001  # 1e-3 is a number
    assert (config["search_epochs"], config["n_layers"]) == (2, 5)  # model, then space, then search preset
    chosen = plain_config(NASRSearch, search_space="large", search_preset="better")
    assert (chosen["search_epochs"], chosen["n_layers"]) == (3, 16)
    assert (chosen["search_space"], chosen["search_preset"]) == ("large", "better")
    assert plain_config(NASRSearch, search_preset="paper", n_layers=9)["n_layers"] == 9


@pytest.mark.parametrize("model", ["BPR", NASR])
def test_what_a_program_does_to_one_configuration_is_not_in_the_next(model: str) -> None:
    first = Config(model, "ml-100k")
    before = str(first.internal_config_dict)
    first.internal_config_dict["eval_args"]["mode"] = first["load_col"]["inter"][0] = "spoilt"
    assert str(Config(model, "ml-100k").internal_config_dict) == before


@pytest.mark.usefixtures("shipped")
def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no 'papr' in properties/search.*Did you mean 'paper'"):
        plain_config(NASRSearch, search_preset="papr")
    with pytest.raises(ConfigError, match="no '16' in properties/space"):
        plain_config(NASRSearch, search_space=16)


@pytest.mark.usefixtures("shipped")
def test_what_recbole_says_about_its_own_data_set_stays() -> None:
    config = plain_config(NASR, "ml-100k")
    assert config["MAX_ITEM_LIST_LENGTH"] == 50
    assert config["load_col"] == {"inter": ["user_id", "item_id", "rating", "timestamp"]}
    assert config["hidden_size"] == 64


@pytest.mark.usefixtures("shipped")
def test_our_data_set_file_serves_models_of_any_kind_and_origin() -> None:
    sasrec = plain_config("SASRec", train_neg_sample_args=None)
    assert sasrec["MAX_ITEM_LIST_LENGTH"] == 30
    assert sasrec["hidden_size"] == 64  # from RecBole's SASRec.yaml, not from ours
    assert plain_config("BPR")["MAX_ITEM_LIST_LENGTH"] == 30


def test_sequential_models_load_the_time_of_a_data_set_nobody_described() -> None:
    assert plain_config("SASRec", "mine", train_neg_sample_args=None)["load_col"] == {
        "inter": ["user_id", "item_id", "timestamp"]
    }
    names = {"USER_ID_FIELD": "session", "ITEM_ID_FIELD": "page", "TIME_FIELD": "clock"}
    renamed = plain_config("SASRec", "mine", train_neg_sample_args=None, **names)
    assert renamed["load_col"] == {"inter": ["session", "page", "clock"]}
    own = plain_config("SASRec", "mine", train_neg_sample_args=None, load_col={"inter": ["user_id"]})
    assert own["load_col"] == {"inter": ["user_id"]}
    assert plain_config("BPR", "mine")["load_col"] == {"inter": ["user_id", "item_id"]}


@pytest.mark.usefixtures("shipped")
@pytest.mark.parametrize("where", ["in config_dict", "in a configuration file"])
def test_a_mistyped_key_is_refused_with_the_nearest(where: str) -> None:
    wrong: dict[str, Any] = {"lerning_rate": 0.1}
    given = {"files": wrong} if where == "in a configuration file" else wrong
    with pytest.raises(ConfigError, match=rf"'lerning_rate', given {where}.*NASR.*'learning_rate'"):
        plain_config(NASR, **given)


@pytest.mark.usefixtures("shipped")
def test_a_key_of_another_model_of_ours_is_refused_with_that_model() -> None:
    with pytest.raises(ConfigError, match=r"'search_preset', given in config_dict.* It is for --model=NASRSearch\.$"):
        plain_config(NASR, search_preset="paper")


@pytest.mark.usefixtures("shipped")
def test_a_key_of_recboles_own_models_is_refused_with_one_of_them() -> None:
    with pytest.raises(ConfigError, match=r"'loss_type'.* It is for models of RecBole, such as SASRec\. Remove it\.$"):
        plain_config(NASR, loss_type="CE")


@pytest.mark.usefixtures("shipped")
def test_a_key_that_recbole_lists_but_does_not_read_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'config_file'.*Did you mean 'config_files'\?"):
        plain_config(NASR, config_file="tiny.yaml")


@pytest.mark.usefixtures("shipped")
def test_a_mistyped_key_on_the_command_line_is_refused_but_not_a_foreign_flag(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "argv", ["run.py", "--lerning_rate=0.1"])
    with pytest.raises(ConfigError, match=r"'lerning_rate', given on the command line.*'learning_rate'"):
        plain_config(NASR)
    monkeypatch.setattr(sys, "argv", ["run.py", "--zzz=1"])
    config = plain_config(NASR)
    assert "--zzz is not a configuration key" in caplog.text
    with pytest.raises(ConfigError, match=r"'zzz', given on the command line.*Remove it"):
        check_keys(config, strict=True)


@pytest.mark.usefixtures("shipped")
def test_keys_of_recbole_and_its_launcher_are_known() -> None:
    settings = dict.fromkeys(["nproc", "world_size", "ip", "port", "offset", "benchmark_filename", "threshold"])
    config = plain_config(NASR, **settings, train_scheme="prefix", transform=None, wandb_project="x")
    assert known_keys(config) >= {
        *(UNLISTED_KEYS.keys() - _OF_TRANSFORMS),
        *DATASET_ARGUMENTS,
        "epochs",
        "eval_args",
        "shuffle",
        "worker",
    }
    assert "device" not in known_keys(config)  # RecBole overwrites it
    assert not known_keys(config) & _OF_TRANSFORMS  # which our models have no use for
    assert known_keys(plain_config("SASRec", train_neg_sample_args=None)) >= {*UNLISTED_KEYS}


def test_every_key_of_the_preparation_changes_a_data_set() -> None:
    assert sorted(DATASET_ARGUMENTS) == sorted(["train_scheme", "group_field", "source", *PREPARATION_KEYS])


def test_recboles_own_models_are_not_checked_unless_asked() -> None:
    config = plain_config("SASRec", train_neg_sample_args=None, n_layres=3)
    with pytest.raises(ConfigError, match=r"'n_layres'.*SASRec.*'n_layers'"):
        check_keys(config, strict=True)


@pytest.mark.parametrize("model", ["AutoInt", "FEARec", "HRM", "DiffRec"])
def test_keys_that_a_model_reads_without_listing_them_are_known(model: str) -> None:
    unlisted = {"AutoInt": "has_residual", "FEARec": "tau", "HRM": "reg_weight", "DiffRec": "norm"}
    assert unlisted[model] in known_keys(plain_config(get_model(model), train_neg_sample_args=None))


def test_the_effective_values_go_through_json() -> None:
    config = plain_config("SASRec", train_neg_sample_args=None)
    config["extra"] = {
        "folder": Path("saved"),
        "score": np.float64(0.5),
        "pair": (1, 2),
        "set": {"b", "a"},
        "tensor": torch.tensor(3),
        3: None,
    }
    values = effective(config)
    assert json.loads(json.dumps(values)) == values
    assert list(values) == sorted(values)
    assert (values["device"], values["MODEL_TYPE"], values["learning_rate"]) == ("cpu", "SEQUENTIAL", 0.001)
    assert values["extra"] == {
        "folder": "saved",
        "score": 0.5,
        "pair": [1, 2],
        "set": ["a", "b"],
        "tensor": 3,
        "3": None,
    }


def test_a_users_own_time_is_used_in_training_order(write_inter: Callable[..., Path]) -> None:
    from recbole.data import create_dataset

    rows = [("u", f"i{clock}", float(clock)) for clock in (3, 1, 4, 2, 5)]
    folder = write_inter(rows, "mine", "session:token\tpage:token\tclock:float")
    names = {"USER_ID_FIELD": "session", "ITEM_ID_FIELD": "page", "TIME_FIELD": "clock"}
    config = plain_config("SASRec", "mine", train_neg_sample_args=None, data_path=str(folder), **names)
    dataset = create_dataset(config)
    train, _, _ = dataset.build()
    last = train.inter_feat[len(train) - 1]
    assert list(dataset.id2token("page", last["page_list"][:2])) == ["i1", "i2"]
