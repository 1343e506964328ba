"""What `run_recbole` makes of RecBole's keys for our models: it follows them, or refuses them before any work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import Dataset

from recbole_nasr.errors import ConfigError

from .conftest import OURS

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is read from here on."""
    monkeypatch.setattr(Dataset, "_from_scratch", lambda *_: pytest.fail("the data are loaded"))


@pytest.mark.parametrize(
    ("measured", "metric"),
    [
        ({"topk": [2, 3]}, "ndcg@3"),
        ({"topk": 4, "metrics": ["MRR", "Recall"]}, "mrr@4"),
        ({"metrics": ["GAUC"]}, "gauc"),
    ],
)
def test_without_valid_metric_an_epoch_is_chosen_by_what_is_measured(
    measured: dict[str, Any], metric: str, run: Run
) -> None:
    settings = {key: value for key, value in {**OURS, **measured}.items() if key != "valid_metric"}
    result = run("NASR", settings)
    assert result["best_valid_score"] == result["best_valid_result"][metric]


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    "settings",
    [
        {"valid_metric": "NDCG@20"},
        {"valid_metric": "MRR@3"},
        {"topk": []},
        {"metrics": []},
        {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}},
        {"learner": "adamm"},
        {"user_inter_num_interval": "5"},
        {"MAX_ITEM_LIST_LENGTH": 0},
        {"clip_grad_norm": 5.0},
        {"clip_grad_norm": {"max_norm": 5.0, "norm": 2}},
        {"shuffle": "no"},
        {"transform": "crop_itemseq"},
        {"unused_col": ["timestamp"]},
        {"unused_col": {"inter": ["timestamp", "item_id_list"]}},
        {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "labeled"}},
    ],
)
@pytest.mark.parametrize("model", ["NASR", "NASRSearch"])
def test_a_value_that_cannot_be_followed_is_refused_before_any_work(
    model: str, settings: dict[str, Any], run: Run
) -> None:
    search = {key: value for key, value in OURS.items() if key != "architecture"}
    with pytest.raises(ConfigError, match=rf"^`{next(iter(settings))}` "):
        run(model, {**(OURS if model == "NASR" else search), **settings})


@pytest.mark.usefixtures("no_data")
@pytest.mark.parametrize(
    "changed",
    [
        {"split": None},
        {"split": {"LS": "valid_and_test", "RS": [0.8, 0.1, 0.1]}},
        {"split": {"LS": "all_but_one"}},
        {"split": {"RS": [0.8, 0.2]}},
        {"split": {"RS": [0.8, -0.1, 0.1]}},
        {"split": {"RS": "8:1:1"}},
        {"order": "RO"},
        {"group_by": "item_id"},
        {"mode": "uni"},
        {"mode": {"val": "uni10"}},
        {"mode": 5},
        {"modes": "uni10"},
    ],
)
def test_a_table_eval_args_that_recbole_would_misread_is_refused(changed: dict[str, Any], run: Run) -> None:
    table = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"}
    with pytest.raises(ConfigError, match=r"^`eval_args` must "):
        run("NASR", OURS, eval_args={**table, **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"split": {"LS": "test_only"}},
        {"split": {"RS": [8, 1, 1]}},
        {"group_by": None},
        {"mode": {"valid": "uni5", "test": "full"}},
        {"mode": {"test": "pop5"}},
    ],
)
def test_a_table_eval_args_that_recbole_knows_is_followed(changed: dict[str, Any], run: Run) -> None:
    table = {"split": {"LS": "valid_and_test"}, "group_by": "user", "order": "TO", "mode": "full"}
    assert run("NASR", OURS, eval_args={**table, **changed})["test_result"]


def test_no_epoch_is_an_evaluation_of_the_weights_as_drawn(run: Run) -> None:
    first, second = (run("NASR", OURS, epochs=0, learning_rate=rate) for rate in (0.1, 0.001))
    assert first["test_result"] == second["test_result"]


def test_without_shuffling_sequences_are_trained_in_the_order_of_the_data(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recbole.utils import get_model, get_trainer

    settings = {**OURS, "data_path": str(tiny), "shuffle": False, "train_batch_size": 3}
    config = Config("NASR", "tiny", config_dict=settings)
    train, valid, _ = data_preparation(config, create_dataset(config))
    trainer = get_trainer(config["MODEL_TYPE"], "NASR")(config, get_model("NASR")(config, train.dataset))
    seen: list[torch.Tensor] = []
    step = trainer.train_step
    monkeypatch.setattr(trainer, "train_step", lambda seq, *rest: seen.append(seq.clone()) or step(seq, *rest))
    trainer.fit(train, valid)
    stored = train.dataset[range(len(train.dataset))]["item_id_list"]
    trained = torch.cat(seen)
    assert torch.equal(trained, stored[:, : trained.size(1)])
