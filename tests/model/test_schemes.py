from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recbole.data.dataset import SequentialDataset

from recbole_nasr.configuration.values import AUTOREGRESSIVE_MODELS
from recbole_nasr.errors import ConfigError

Assemble = Callable[..., SimpleNamespace]


@pytest.fixture(params=AUTOREGRESSIVE_MODELS)
def pair(request: pytest.FixtureRequest, assemble: Assemble, toy: Path) -> tuple[SimpleNamespace, SimpleNamespace]:
    """The same network of RecBole twice: with RecBole's rows, and with whole sequences."""
    name = request.param
    return (
        assemble(name, toy),
        assemble(name, toy, train_scheme="autoregressive"),
    )


def rows(run: SimpleNamespace, part: str) -> Any:
    dataset = getattr(run, part)._dataset
    return dataset[slice(0, len(dataset))]


def test_without_the_key_data_and_loss_are_recboles_own(pair: tuple[SimpleNamespace, SimpleNamespace]) -> None:
    prefix, _ = pair
    assert type(prefix.train._dataset) is SequentialDataset
    model, batch = prefix.model.eval(), rows(prefix, "train")
    own = type(model).calculate_loss.__wrapped__(model, batch)
    assert torch.equal(model.calculate_loss(batch), own)


def test_the_loss_of_a_sequence_is_the_mean_of_the_losses_of_its_prefixes(
    pair: tuple[SimpleNamespace, SimpleNamespace],
) -> None:
    prefix, sequences = pair
    model = prefix.model.eval()
    assert (len(prefix.train._dataset), len(sequences.train._dataset)) == (12 * 5, 12)
    torch.testing.assert_close(
        model.calculate_loss(rows(sequences, "train")), model.calculate_loss(rows(prefix, "train"))
    )


@pytest.mark.parametrize("part", ["valid", "test"])
def test_both_schemes_are_evaluated_on_the_same_cases(pair: tuple[SimpleNamespace, SimpleNamespace], part: str) -> None:
    ours, theirs = (rows(run, part) for run in pair)
    for field in ("user_id", "item_id", "item_length"):
        assert torch.equal(ours[field], theirs[field])
    torch.testing.assert_close(ours["item_id_list"], theirs["item_id_list"])


def test_reading_every_position_leaves_the_model_as_it_was(pair: tuple[SimpleNamespace, SimpleNamespace]) -> None:
    _, run = pair
    before = set(vars(run.model))
    run.model.calculate_loss(rows(run, "train"))
    assert set(vars(run.model)) == before
    assert copy.deepcopy(run.model)(*_inputs(run)).shape == (12, 8)


def _inputs(run: SimpleNamespace) -> tuple[Any, Any]:
    batch = rows(run, "test")
    return batch["item_id_list"], batch["item_length"]


def test_recboles_trainer_learns_the_cycle_from_whole_sequences(assemble: Assemble, toy: Path) -> None:
    run = assemble("SASRec", toy, train_scheme="autoregressive", epochs=60, learning_rate=0.02, stopping_step=60)
    run.trainer.fit(run.train, run.valid, saved=False, show_progress=False)
    assert run.trainer.evaluate(run.test, load_best_model=False)["recall@1"] > 0.9


def test_a_loss_of_pairs_is_refused_for_whole_sequences(assemble: Assemble, toy: Path) -> None:
    with pytest.raises(ConfigError, match="loss_type=CE"):
        assemble("SASRec", toy, train_scheme="autoregressive", loss_type="BPR")


def test_a_model_that_cannot_be_trained_so_refuses_the_key(assemble: Assemble, toy: Path) -> None:
    with pytest.raises(ConfigError, match="not with NextItNet"):
        assemble("NextItNet", toy, train_scheme="autoregressive")
