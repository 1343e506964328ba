"""A number that is not finite ends a training, ours or RecBole's, and says where it came up."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_nasr.errors import NumericalError
from recbole_nasr.keeping import Keeper
from recbole_nasr.search.result import BlockRanking
from recbole_nasr.trainer.kept import KeptFit

Assemble = Callable[..., SimpleNamespace]


class NoDiary:
    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...


def fit(run: SimpleNamespace) -> None:
    KeptFit(run.trainer, (run.train, run.valid, run.test), Keeper(), NoDiary()).run(saved=False)


def poison(run: SimpleNamespace, value: float, after: int, *, in_loss: bool) -> None:
    """Make the loss, or with it a weight, bad in one step of RecBole's own loop."""
    calculate, calls = run.model.calculate_loss, [0]

    def bad(interaction: Any) -> torch.Tensor:
        calls[0] += 1
        loss: torch.Tensor = calculate(interaction)
        if calls[0] == after and in_loss:
            return loss * value
        if calls[0] == after:
            run.trainer.optimizer.register_step_post_hook(spoil)
        return loss

    def spoil(*_: Any) -> None:
        with torch.no_grad():
            next(iter(run.model.parameters()))[1] = value

    run.model.calculate_loss = bad


@pytest.mark.parametrize(("value", "shown"), [(torch.nan, "nan"), (torch.inf, "inf"), (-torch.inf, "-inf")])
def test_a_loss_of_recboles_own_models_that_is_not_finite_is_stopped_with_epoch_and_batch(
    value: float, shown: str, assemble: Assemble, toy: Path
) -> None:
    run = assemble("SASRec", toy, train_batch_size=20)
    per_epoch = len(run.train)
    poison(run, value, per_epoch + 2, in_loss=True)
    with pytest.raises(
        NumericalError, match=rf"became {shown} in epoch 2, batch 2 of the epoch; lower `learning_rate`"
    ):
        fit(run)


def test_a_weight_of_recboles_own_models_that_is_not_finite_is_stopped_at_the_end_of_the_epoch(
    assemble: Assemble, toy: Path
) -> None:
    run = assemble("GRU4Rec", toy, train_batch_size=20)
    poison(run, torch.inf, len(run.train), in_loss=False)
    message = rf"item_embedding\.weight became NaN or infinite in epoch 1, batch {len(run.train)} of the epoch"
    with pytest.raises(NumericalError, match=message):
        fit(run)


def test_a_weight_of_the_hybrid_network_that_is_not_finite_after_the_last_step_is_stopped(
    assemble: Assemble, toy: Path
) -> None:
    run = assemble("NASR", toy, weight_average_decay=0.0, train_batch_size=50)
    assert len(run.train) == 1  # a second batch would have a loss that is not finite either

    def spoil(*_: Any) -> None:
        with torch.no_grad():
            run.model.network.output.bias[0] = torch.nan

    run.trainer.optimizer.register_step_post_hook(spoil)
    with pytest.raises(NumericalError, match=r"output\.bias became NaN or infinite in epoch 1, by batch 1"):
        run.trainer.fit(run.train, run.valid, saved=False)


def test_a_run_whose_weights_stay_finite_is_left_alone(assemble: Assemble, toy: Path) -> None:
    run = assemble("SASRec", toy)
    fit(run)
    assert run.trainer.train_loss_dict


def test_a_collapsed_block_is_a_warning_of_its_own(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(BlockRanking, "collapsed", property(lambda _: True))
    run = assemble("NASRSearch", toy, epochs=1)
    with caplog.at_level(logging.WARNING, "recbole_nasr"):
        run.trainer.fit(run.train, run.valid, saved=False)
    alarms = [record for record in caplog.records if "has collapsed" in record.getMessage()]
    assert len(alarms) == 2
    assert all(alarm.levelname == "WARNING" and "their scores mean nothing" in alarm.getMessage() for alarm in alarms)
