"""Every sequential model of RecBole trains, is evaluated from its checkpoint, and can be loaded again."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import recbole
import recbole.model.sequential_recommender as theirs
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.quick_start import load_data_and_model
from recbole.utils import get_trainer

from .conftest import OURS, THEIRS

NEGATIVES = {key: value for key, value in THEIRS.items() if key != "train_neg_sample_args"}
FEW_CANDIDATES = {**THEIRS, "reranker_CAN_NUM": 3}
TWO_LAYERS = {**THEIRS, "n_layers": 2}
GRAPH = {
    **THEIRS,
    "kg_embedding_size": 8,
    "load_col": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},  # RecBole sets none here
    "additional_feat_suffix": ["ent", "rel"],
    "preload_weight": {"ent_id": "ent_vec", "rel_id": "rel_vec"},
    "alias_of_entity_id": ["ent_id"],
    "alias_of_relation_id": ["rel_id"],
}

PLAIN = ["BERT4Rec", "CORE", "Caser", "FDSA", "FOSSIL", "GCSAN", "GRU4Rec", "GRU4RecF", "HGN", "HRM", "LightSANs"]
PLAIN += ["NARM", "NPE", "NextItNet", "RepeatNet", "SASRec", "SASRecF", "SHAN", "SINE", "SRGNN", "STAMP"]
NEW_IN_1_2_1 = ["GRU4RecCPR", "SASRecCPR"] if recbole.__version__ != "1.2.0" else []

SETTINGS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(PLAIN, THEIRS),
    **dict.fromkeys(["DIEN", "DIN", "FPMC", "TransRec"], NEGATIVES),
    **dict.fromkeys(NEW_IN_1_2_1, FEW_CANDIDATES),
    "GRU4RecKG": {**GRAPH, "dropout_prob": 0.0},  # it drops out in evaluation too
    "KSR": GRAPH,
    "FEARec": TWO_LAYERS,
    "NASR": OURS,
    "NASRSearch": {
        **{key: value for key, value in OURS.items() if key != "architecture"},
        "candidate_ops": ["transformer_h2", "tcn_d1_2"],
        "search_epochs": 1,
        "search_min_steps": 0,
        "search_holdout_ratio": 0.3,
    },
}


def installed_models() -> set[str]:
    modules = [importlib.import_module(f"{theirs.__name__}.{m.name}") for m in pkgutil.iter_modules(theirs.__path__)]
    return {
        name
        for module in modules
        for name, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, SequentialRecommender) and member.__module__ == module.__name__
    }


def test_no_sequential_model_of_recbole_is_left_out() -> None:
    assert installed_models() == set(SETTINGS) - {"NASR", "NASRSearch"} | {"S3Rec"}


@pytest.mark.parametrize("model", SETTINGS)
def test_the_model_trains_and_its_checkpoint_gives_the_reported_metrics(
    model: str, run: Callable[..., dict[str, Any]]
) -> None:
    result = run(model, SETTINGS[model])
    assert set(result["test_result"]) == {"ndcg@3", "recall@3"}
    [file] = Path("saved").glob(f"{model}-*.pth")
    config, network, _, _, _, test = load_data_and_model(str(file))
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    assert trainer.evaluate(test, load_best_model=False) == result["test_result"]


def test_s3rec_is_pretrained_and_starts_from_its_own_checkpoint(run: Callable[..., dict[str, Any]]) -> None:
    settings = {**THEIRS, "item_attribute": "class"}
    run("S3Rec", settings, train_stage="pretrain", pretrain_epochs=1, save_step=1)
    [pretrained] = Path("saved").glob("S3Rec-*.pth")
    result = run("S3Rec", settings, train_stage="finetune", pre_model_path=str(pretrained))
    assert set(result["test_result"]) == {"ndcg@3", "recall@3"}
