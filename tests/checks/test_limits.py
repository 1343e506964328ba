from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from recbole_nasr.checks.limits import check_limits
from recbole_nasr.checks.measures import check_measures
from recbole_nasr.errors import ConfigError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.preflight import check_request
from recbole_nasr.request.request import build_request

VALUES: list[tuple[str, Any]] = [
    ("seed", -1),
    ("seed", 2**32),
    ("seed", 1.5),
    ("seed", "abc"),
    ("epochs", 0),
    ("train_batch_size", 0),
    ("eval_batch_size", True),
    ("MAX_ITEM_LIST_LENGTH", "long"),
    ("stopping_step", -1),
    ("eval_step", 0.5),
    ("learning_rate", 0),
    ("learning_rate", float("inf")),
    ("learning_rate", "nan"),
    ("weight_decay", -1e-9),
    ("clip_grad_norm", 5),
    ("clip_grad_norm", {"max_norm": 0}),
    ("load_col", 5),
    ("use_gpu", "no"),
    ("learner", "adamm"),
    ("learner", "sparse_adam"),
    ("clip_grad_norm", {"max_norm": 5.0, "norm": 2}),
    ("shuffle", "no"),
]


@pytest.mark.parametrize(("key", "value"), VALUES)
def test_a_value_that_training_cannot_use_is_refused_with_its_key_and_value(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^`{key}` must be .* but is {re.escape(repr(value))}\."):
        check_limits({key: value})


def test_the_limits_themselves_are_allowed() -> None:
    check_limits({"seed": 0, "epochs": 1, "train_batch_size": 1, "stopping_step": 0, "eval_step": 0})
    check_limits({"eval_step": -1, "epochs": 0}, trains=False)
    check_limits({"seed": 2**32 - 1, "weight_decay": 0, "clip_grad_norm": None, "learner": "SGD"})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrics": [], "topk": [10]}, "`metrics` needs at least one entry"),
        ({"metrics": ["NDCG"], "topk": []}, "`topk` needs at least one entry"),
        ({"metrics": ["NDCG"], "topk": 10, "valid_metric": 5}, "`valid_metric` must be text"),
    ],
)
def test_something_must_be_measured(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_measures(settings)


@pytest.mark.parametrize("model", ["NASR", "SASRec"])
@pytest.mark.parametrize(
    "word",
    ["--seed=-1", "--epochs=0", "--topk=[]", "--metrics=[]", "--valid_metric=5", "--eval_args={'mode':'uni5'}"],
)
def test_the_command_line_checks_the_recipe_of_every_model(toy: Path, model: str, word: str) -> None:
    line = parse_line([f"--model={model}", "--dataset=toy", f"--data_path={toy}", word])
    with pytest.raises(ConfigError, match=word[2:].partition("=")[0]):
        check_request(build_request(line))


@pytest.mark.parametrize("key", ["mask_history", "final_norm", "linear_residual", "tie_embeddings"])
def test_a_switch_set_to_no_is_refused_because_text_counts_as_true(toy: Path, key: str) -> None:
    line = parse_line(["--model=NASR", "--dataset=toy", f"--data_path={toy}", f"--{key}=no"])
    with pytest.raises(ConfigError, match=f"`{key}` must be True or False, but is 'no'"):
        check_request(build_request(line))


@pytest.mark.parametrize("key", ["clip_grad_norm", "load_col", "user_inter_num_interval", "val_interval"])
def test_a_key_that_may_be_empty_says_how_to_write_that_on_the_command_line(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{key}` must be empty \(null\) or .*, but is 'none'\."):
        check_limits(parse_line([f"--{key}=none"]))
    check_limits(parse_line([f"--{key}=null"]))


@pytest.mark.parametrize("share", ["-0.1", "1.5"])
@pytest.mark.parametrize("key", ["mask_ratio", "hidden_dropout_prob"])
def test_a_share_of_recboles_models_lies_between_0_and_1(toy: Path, key: str, share: str) -> None:
    line = parse_line(["--model=BERT4Rec", "--dataset=toy", f"--data_path={toy}", f"--{key}={share}"])
    with pytest.raises(ConfigError, match=f"`{key}` must be a number from 0 to 1, but is {share}"):
        check_request(build_request(line))


def _checked(toy: Path, models: str, *words: str) -> dict[str, dict[str, Any]]:
    line = [f"--model={models}", "--dataset=toy", f"--data_path={toy}", *words]
    return check_request(build_request(parse_line(line)))


@pytest.mark.parametrize("model", ["NASR", "NASRSearch"])
def test_our_models_take_no_transform_of_recbole(toy: Path, model: str) -> None:
    with pytest.raises(ConfigError, match=rf"`transform` must be empty \(null\) for {model}, .* is 'crop_itemseq'"):
        _checked(toy, model, "--transform=crop_itemseq")
    for key in ("mask_ratio", "ft_ratio", "eta", "beta"):
        message = (
            rf"'{key}', .* is not a configuration key of {model}\. It is for a `transform` of RecBole's own models"
        )
        with pytest.raises(ConfigError, match=message):
            _checked(toy, model, f"--{key}=0.5")
    _checked(toy, model, "--transform=null")


def test_what_a_transform_reads_is_for_the_models_of_recbole_in_a_comparison(toy: Path) -> None:
    words = ["--BERT4Rec.transform=mask_itemseq", "--mask_ratio=0.3", "--ft_ratio=0.1"]
    settings = _checked(toy, "NASR,BERT4Rec", *words)
    assert (settings["BERT4Rec"]["mask_ratio"], settings["BERT4Rec"]["ft_ratio"]) == (0.3, 0.1)
    assert not {"mask_ratio", "ft_ratio", "transform"} & settings["NASR"].keys()


@pytest.mark.parametrize(
    ("transform", "ratio"), [("mask_itemseq", "mask_ratio"), ("crop_itemseq", "eta"), ("reorder_itemseq", "beta")]
)
def test_a_transform_needs_its_share(toy: Path, transform: str, ratio: str) -> None:
    word = f"--transform={transform}"
    message = rf"`{ratio}` must be a number from 0 to 1 with `transform` {transform}, but is "
    with pytest.raises(ConfigError, match=rf"{message}None; set it, as in --{ratio}=0\.5"):
        _checked(toy, "SASRec", word)
    with pytest.raises(ConfigError, match=f"{message}1.5"):
        _checked(toy, "SASRec", word, f"--{ratio}=1.5")
    _checked(toy, "SASRec", word, f"--{ratio}=0.5")
    _checked(toy, "SASRec", "--transform=inverse_itemseq")


def test_a_transform_that_recbole_does_not_have_is_refused_with_the_nearest(toy: Path) -> None:
    with pytest.raises(ConfigError, match=r"`transform` must be .* is 'crop_item'\. Did you mean 'crop_itemseq'"):
        _checked(toy, "SASRec", "--transform=crop_item")
    with pytest.raises(ConfigError, match=r"`transform` must be .* is \['crop_itemseq'\]"):
        _checked(toy, "SASRec", "--transform=[crop_itemseq]")
