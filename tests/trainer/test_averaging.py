from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from recbole_nasr.errors import ConfigError
from recbole_nasr.trainer.averaging import WeightAverage

Assemble = Callable[..., SimpleNamespace]


def weight_of(value: float) -> nn.Parameter:
    return nn.Parameter(torch.tensor([value]))


def after_steps(average: WeightAverage, weight: nn.Parameter, values: list[float]) -> None:
    for value in values:
        weight.data.fill_(value)
        average.update()


@pytest.mark.parametrize(
    ("decay", "expected"),
    [
        (0.999, [11 * 9 / 11, 9 + (23 - 9) * 9 / 12]),  # keeps 2/11, then 3/12
        (0.2, [11 * 9 / 11, 9 + (23 - 9) * 0.8]),
    ],
)
def test_the_average_moves_most_of_the_way_at_first(decay: float, expected: list[float]) -> None:
    weight = weight_of(0.0)
    average = WeightAverage([weight], decay)
    for value, mean in zip([11.0, 23.0], expected, strict=True):
        after_steps(average, weight, [value])
        average.lend()
        assert weight.item() == pytest.approx(mean)
        average.take_back()
        assert weight.item() == value


def test_lending_twice_is_lending_once() -> None:
    weight = weight_of(1.0)
    average = WeightAverage([weight], 0.5)
    after_steps(average, weight, [4.0])
    average.lend()
    average.lend()
    lent = weight.item()
    average.take_back()
    average.take_back()
    assert (lent, weight.item()) == (pytest.approx(1 + 3 * 9 / 11), 4.0)


def test_a_restored_average_goes_on_as_if_nothing_had_happened() -> None:
    weight, other = weight_of(0.0), weight_of(0.0)
    average = WeightAverage([weight], 0.9)
    after_steps(average, weight, [1.0, 2.0])
    average.lend()
    other.data.copy_(weight)
    again = WeightAverage([other], 0.9)
    again.restore(average.state())
    for each, parameter in ((average, weight), (again, other)):
        each.take_back()
        after_steps(each, parameter, [parameter.item() + 1])
        each.lend()
    assert other.item() == weight.item() != 3.0


@pytest.mark.parametrize("scheme", ["autoregressive", "prefix"])
def test_training_goes_on_from_the_last_step_and_evaluates_the_average(
    scheme: str, assemble: Assemble, toy: Path
) -> None:
    plain, averaged = (
        assemble("NASR", toy, train_scheme=scheme, epochs=3, weight_average_decay=decay) for decay in (0, 0.999)
    )
    for run in (plain, averaged):
        run.trainer.fit(run.train, run.valid, saved=False)
    assert plain.trainer.train_loss_dict == averaged.trainer.train_loss_dict
    last = [parameter.detach() for parameter in plain.model.parameters()]
    assert all(map(torch.equal, averaged.model.unaveraged["weights"], last))
    assert not any(map(torch.equal, averaged.model.parameters(), last))
    steps_of_an_epoch = len(plain.train)
    assert averaged.model.unaveraged["n_steps"] == 3 * steps_of_an_epoch


def test_a_resumed_training_equals_an_uninterrupted_one(assemble: Assemble, toy: Path) -> None:
    whole, begun, resumed = (assemble("NASR", toy, epochs=epochs, eval_step=1) for epochs in (4, 2, 4))
    whole.trainer.fit(whole.train, whole.valid)
    begun.trainer.fit(begun.train)  # without validation, the last epoch is the one that is kept
    resumed.trainer.resume_checkpoint(begun.trainer.saved_model_file)
    resumed.trainer.fit(resumed.train, resumed.valid)
    for epoch in (2, 3):
        assert resumed.trainer.train_loss_dict[epoch] == whole.trainer.train_loss_dict[epoch]
    assert all(map(torch.equal, resumed.model.parameters(), whole.model.parameters()))


@pytest.mark.parametrize("value", [1, -0.1, "high"])
def test_a_decay_out_of_range_is_refused(value: Any, assemble: Assemble, toy: Path) -> None:
    with pytest.raises(ConfigError, match="`weight_average_decay` must be"):
        assemble("NASR", toy, weight_average_decay=value)


def test_an_average_that_reads_its_pace_from_the_device_is_the_same() -> None:
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    averages = [WeightAverage(parameters, 0.9, on_device=where) for where in (False, True)]
    for _ in range(30):
        with torch.no_grad():
            for parameter in parameters:
                parameter.add_(torch.randn_like(parameter))
        averages[0].update()
        averages[1].count()  # as before a step that is replayed
        averages[1].move()
    assert averages[0].n_steps == averages[1].n_steps == 30
    for plain, on_device in zip(averages[0].state()["weights"], averages[1].state()["weights"], strict=True):
        torch.testing.assert_close(on_device, plain, atol=1e-6, rtol=1e-5)
