"""A search step that does not fit into memory comes in smaller parts and is the same step."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.supernet import MixedOp
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.state import OBJECTIVES
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace

PAPER = SearchSettings(n_paths=3, batch_size=12)
KINDS = {
    "paper": PAPER,
    "symmetric": replace(PAPER, symmetric=True, leave_one_out=True, target_momentum=0.9),
    "next item": replace(PAPER, objective="next_item"),
}
OPERATIONS = ("transformer_h2", "tcn_d1_2", "gru4rec", "lru")


def trainer_of(how: SearchSettings, index: int = 0, **acceleration: Any) -> BlockTrainer:
    space = SearchSpace(OPERATIONS, (2, 1))
    torch.manual_seed(3)
    net = Supernet(
        space,
        n_items=30,
        max_length=10,
        settings=LayerSettings(hidden_size=8, linear_residual=False),
        softmax=how.objective == "next_item",
    )
    objective = OBJECTIVES[how.objective](net, how, 5)
    objective.acceleration = Acceleration(**acceleration)
    return BlockTrainer(net, [((0, 1),)[:index]], space, how, 5, objective)


def gradient(trainer: BlockTrainer, batch: SearchSequences, n_steps: int = 2) -> tuple[list[float], list[Tensor]]:
    """Return the losses of the first steps, and the weights after them."""
    torch.manual_seed(0)  # dropout
    losses = [float(trainer.step(batch.item_seq, batch.item_seq_len)) for _ in range(n_steps)]
    return losses, [weights.detach().clone() for weights in trainer.supernet.parameters()]


def limit(monkeypatch: pytest.MonkeyPatch, fits: int) -> list[int]:
    """Let no more than ``fits`` activations of layers wait for their gradient at a time; return how many did."""
    run, waiting, seen = MixedOp.forward, [0], []

    def limited(self: MixedOp, hidden: Tensor, op: int) -> Tensor:
        output = run(self, hidden, op)
        if output.requires_grad:
            waiting[0] += output.numel()
            seen.append(waiting[0])
            if waiting[0] > fits:
                waiting[0] = 0
                raise torch.cuda.OutOfMemoryError
        return output

    backward = torch.autograd.backward

    def freeing(*args: Any, **kwargs: Any) -> None:
        backward(*args, **kwargs)
        waiting[0] = 0

    monkeypatch.setattr(MixedOp, "forward", limited)
    monkeypatch.setattr(torch.autograd, "backward", freeing)
    return seen


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS.keys())
def test_a_step_that_does_not_fit_comes_in_parts_with_the_same_loss_and_the_same_weights_after_it(
    how: SearchSettings,
    index: int,
    make_sequences: Callable[..., SearchSequences],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    batch = make_sequences(12)
    how = replace(how, learning_rate=1e-4)
    if how.objective == "next_item":  # its parts are other tensors, and so is their dropout
        monkeypatch.setattr("recbole_nasr.ops.base.dropout", lambda values, _: values)
    losses, weights = gradient(trainer_of(how, index), batch)
    whole = 12 * 10 * 8 * (2 - index)  # of one path, or of the shares of all of them
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "recbole_nasr"):
        limit(patch, whole // 2 if how.objective == "next_item" else whole)
        trainer = trainer_of(how, index)
        found, changed = gradient(trainer, batch)
    assert trainer.gradients.n_parts > 1
    assert not trainer.gradients.block.recompute
    assert "out of memory: a search step now comes in 2 parts; but for dropout the step is the same." in caplog.messages
    assert found == pytest.approx(losses, abs=2e-6)
    torch.testing.assert_close(changed, weights, atol=2e-6, rtol=0)


@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS.keys())
def test_layers_that_are_run_again_for_their_gradient_give_the_same_to_the_last_bit(
    how: SearchSettings, make_sequences: Callable[..., SearchSequences]
) -> None:
    batch = make_sequences(12)
    plain, again = trainer_of(how), trainer_of(how)
    again.gradients.block.recompute = True
    (losses, weights), (found, changed) = gradient(plain, batch), gradient(again, batch)
    assert found == losses
    assert all(torch.equal(one, other) for one, other in zip(changed, weights, strict=True))


def test_a_step_whose_smallest_parts_do_not_fit_is_refused_after_every_means_was_tried(
    make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limit(monkeypatch, 0)
    trainer, batch = trainer_of(PAPER), make_sequences(12)
    with caplog.at_level(logging.WARNING, "recbole_nasr"), pytest.raises(MemoryLimitError, match="lower `search_batch"):
        trainer.step(batch.item_seq, batch.item_seq_len)
    assert [message.removeprefix("out of memory: ").partition(";")[0][:34] for message in caplog.messages] == [
        "a search step now comes in 2 parts",
        "a search step now comes in 3 parts",
        "the search now keeps the input of ",
    ]


def test_a_step_of_one_shape_that_does_not_fit_runs_its_layers_again(
    make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    how, batch = replace(PAPER, path_sampling="fair", n_paths=4), make_sequences(12)
    trainer = trainer_of(how, graphs=True)
    assert trainer.dealt is not None
    attempts = []
    loss = trainer.objective.dealt_loss

    def limited(*args: Any) -> Tensor:
        attempts.append(trainer.supernet.block(0).recompute)
        if not attempts[-1]:
            raise torch.cuda.OutOfMemoryError
        return loss(*args)

    monkeypatch.setattr(trainer.objective, "dealt_loss", limited)
    with caplog.at_level(logging.WARNING, "recbole_nasr"):
        for _ in range(2):
            trainer.step(batch.item_seq, batch.item_seq_len, torch.arange(12))
    assert attempts == [False, True, True]
    assert "runs the layer again for its gradient" in caplog.text


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("how", KINDS.values(), ids=KINDS.keys())
def test_a_step_of_one_shape_that_is_repeated_draws_the_same_views_and_the_same_dropout(
    how: SearchSettings,
    index: int,
    make_sequences: Callable[..., SearchSequences],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    how, batch = replace(how, path_sampling="fair", n_paths=4), make_sequences(12)
    run, n_runs = MixedOp.forward, [0]

    def steps() -> tuple[list[float], list[Tensor]]:
        trainer = trainer_of(how, index, graphs=True)
        torch.manual_seed(0)
        losses = [float(trainer.step(batch.item_seq, batch.item_seq_len, torch.arange(12))) for _ in range(2)]
        return losses, [weights.detach().clone() for weights in trainer.supernet.parameters()]

    def failing(self: MixedOp, hidden: Tensor, op: int) -> Tensor:
        output = run(self, hidden, op)
        n_runs[0] += 1
        if n_runs[0] == 4:
            raise torch.cuda.OutOfMemoryError
        return output

    losses, weights = steps()
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING, "recbole_nasr"):
        patch.setattr(MixedOp, "forward", failing)
        found, changed = steps()
    assert "the step is the same" in caplog.text
    assert found == losses
    assert all(torch.equal(one, other) for one, other in zip(changed, weights, strict=True))


@pytest.mark.parametrize("graphs", [False, True], ids=["path by path", "of one shape"])
def test_no_step_by_the_next_item_holds_more_rows_of_logits_than_there_is_memory_for(
    graphs: bool, make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    how, batch = replace(KINDS["next item"], path_sampling="fair", n_paths=4), make_sequences(12)

    def step() -> Tensor:
        torch.manual_seed(0)
        loss = trainer_of(how, graphs=graphs).step(batch.item_seq, batch.item_seq_len, torch.arange(12))
        assert isinstance(loss, Tensor)
        return loss

    expected = step()
    monkeypatch.setattr("recbole_nasr.nets.next_item.rows_at_a_time", lambda *_: 5)
    monkeypatch.setattr("recbole_nasr.nets.NextItemHead.cross_entropy", None)  # it holds all rows
    torch.testing.assert_close(step(), expected)


def test_an_error_that_is_not_of_memory_is_raised_as_it_is(
    make_sequences: Callable[..., SearchSequences], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Tensor:
        msg = "shapes cannot be multiplied"
        raise RuntimeError(msg)

    monkeypatch.setattr(MixedOp, "forward", broken)
    batch = make_sequences(12)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        trainer_of(PAPER).step(batch.item_seq, batch.item_seq_len)
