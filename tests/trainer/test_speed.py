from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._dynamo.utils import counters

from recbole_nasr.determinism import deterministic
from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.nets import losses
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.softmax import ExactSoftmax, SampledSoftmax
from recbole_nasr.trainer.averaging import WeightAverage

Assemble = Callable[..., SimpleNamespace]


def trained(assemble: Assemble, toy: Path, **settings: object) -> SimpleNamespace:
    run = assemble("NASR", toy, hidden_dropout_prob=0.0, epochs=2, **settings)
    run.trainer.fit(run.train, run.valid, saved=False)
    return run


def test_compiled_training_learns_the_same_and_later_epochs_compile_nothing(assemble: Assemble, toy: Path) -> None:
    plain = trained(assemble, toy)
    torch._dynamo.reset()
    counters.clear()
    compiled = trained(assemble, toy, compile="aot_eager")
    n_graphs = counters["stats"]["unique_graphs"]
    assert n_graphs > 0
    for name, value in compiled.model.state_dict().items():
        torch.testing.assert_close(value, plain.model.state_dict()[name], atol=1e-5, rtol=1e-4, msg=name)
    compiled.trainer.fit(compiled.train, compiled.valid, saved=False)
    with deterministic(compiled.trainer.config, compiled.trainer.device):
        compiled.trainer._train_epoch(compiled.train, 5)
    assert counters["stats"]["unique_graphs"] == n_graphs


@pytest.mark.parametrize("scheme", ["autoregressive", "prefix"])
def test_half_precision_trains_weights_in_fp32(scheme: str, assemble: Assemble, toy: Path) -> None:
    run = trained(assemble, toy, precision="bf16", train_scheme=scheme)
    assert all(weight.dtype == torch.float32 for weight in run.model.parameters())
    plain = trained(assemble, toy, train_scheme=scheme)
    expected = list(plain.trainer.train_loss_dict.values())
    found = list(run.trainer.train_loss_dict.values())
    assert found != expected
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize("objective", ["contrastive", "next_item"])
def test_a_search_in_half_precision_finds_scores_near_those_of_plain_fp32(
    objective: str, assemble: Assemble, toy: Path
) -> None:
    found = []
    search = {"search_preset": "paper", "search_objective": objective}
    for speed in ({}, {"precision": "bf16"}):
        run = assemble("NASRSearch", toy, epochs=0, hidden_dropout_prob=0.0, **search, **speed)
        run.trainer.fit(run.train, run.valid, saved=False)
        found.append(torch.cat([torch.from_numpy(block.scores) for block in run.trainer.search_result.blocks]))
    plain, half = found
    torch.testing.assert_close(half, plain, atol=0.05, rtol=0.05)
    assert not torch.equal(half, plain)


def test_a_sampled_softmax_learns_and_evaluation_ranks_all_items(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, n_sampled_items=4, epochs=6, learning_rate=0.01)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert isinstance(run.model.network.softmax, SampledSoftmax)
    found = list(run.trainer.train_loss_dict.values())
    assert found[-1] < found[0]
    assert run.trainer.evaluate(run.test, load_best_model=False)
    assert len(run.trainer.last_ranks) == 12
    assert isinstance(assemble("NASR", toy).model.network.softmax, ExactSoftmax)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_sampled_items": 10}, "`n_sampled_items` must be an integer of at least 1 and below the 10 items"),
        ({"n_sampled_items": 0}, "but is 0; leave it empty \\(null\\)"),
        ({"n_sampled_items": 2.5}, "but is 2.5"),
        ({"n_sampled_items": 4, "train_scheme": "prefix"}, "needs `train_scheme: autoregressive`"),
        ({"precision": "fp32", "enable_amp": True}, "`enable_amp: True` asks for bf16, but `precision` is 'fp32'"),
        ({"cuda_graphs": True}, "`cuda_graphs: True` cannot be had"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    settings: dict[str, object], message: str, assemble: Assemble, toy: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        assemble("NASR", toy, **settings)


def test_a_loss_that_is_not_finite_ends_an_epoch_early(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy, train_batch_size=1)
    monkeypatch.setattr(losses.LossWatch.__init__, "__defaults__", (3,))
    calls = []
    step = run.trainer.train_step
    monkeypatch.setattr(run.trainer, "train_step", lambda *batch: calls.append(1) or step(*batch) * torch.nan)
    with pytest.raises(NumericalError, match="The training loss must be finite"):
        run.trainer.fit(run.train, run.valid, saved=False)
    assert len(calls) == 3


@pytest.mark.parametrize(
    "how", [{}, {"clip_grad_norm": {"max_norm": 0.5}, "n_sampled_items": 4}, {"tie_embeddings": True}]
)
def test_replayed_training_steps_learn_to_the_last_bit_what_steps_that_are_run_do(
    how: dict[str, object], assemble: Assemble, toy: Path, tapes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    defaults = {**WeightAverage.__init__.__kwdefaults__, "on_device": True}  # as on a GPU
    monkeypatch.setattr(WeightAverage.__init__, "__kwdefaults__", defaults)
    runs = []
    for captured in (False, True):
        run = assemble("NASR", toy, epochs=6, **how)
        run.trainer.speed.acceleration = Acceleration(graphs=captured, required=True)
        run.trainer.fit(run.train, run.valid, saved=False)
        assert bool(tapes) == captured
        runs.append(run)
    assert any(tape.n_replays > 3 for tape in tapes)
    plain, replayed = (run.model.state_dict() for run in runs)
    for name, value in plain.items():
        assert torch.equal(value, replayed[name]), name
    assert runs[0].trainer.train_loss_dict == runs[1].trainer.train_loss_dict
