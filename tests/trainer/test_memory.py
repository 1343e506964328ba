"""Where memory runs out, the same work is done in smaller parts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.model.nasr import NASR
from recbole_nasr.nets import HybridNet
from recbole_nasr.nets.memory import device_memory, ran_out
from recbole_nasr.search import ranking
from recbole_nasr.trainer import passes

Assemble = Callable[..., SimpleNamespace]

REFUSALS = {
    "torch's class": torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    "its name of today": getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)("out of memory"),
    "the driver": RuntimeError("CUDA error: out of memory"),
    "a library": RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    "cuDNN": RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    "the CPU": RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory"),
    "the CPU on Windows": RuntimeError("[enforce fail] data. DefaultCPUAllocator: not enough memory: you tried to"),
}
"""The ways in which torch says that memory does not suffice; the sixth is what `torch.empty(10**15)` raises."""


@pytest.fixture(params=REFUSALS.values(), ids=REFUSALS.keys())
def refusal(request: pytest.FixtureRequest) -> Exception:
    """One of :data:`REFUSALS`."""
    return request.param


def test_every_way_of_saying_it_is_understood_and_no_other_error_taken_for_it(refusal: Exception) -> None:
    assert ran_out(refusal)
    assert ran_out(MemoryError())
    assert not ran_out(RuntimeError("CUDA error: an illegal memory access was encountered"))
    assert not ran_out(ValueError("out of memory"))


def test_the_allocator_of_this_torch_says_it_in_a_way_that_is_understood() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert ran_out(caught.value)


def gradients(run: SimpleNamespace) -> list[torch.Tensor]:
    items = torch.tensor([[1, 2, 3], [4, 5, 0], [2, 7, 8], [9, 0, 0], [3, 1, 0], [6, 2, 4], [5, 0, 0]])
    length = (items > 0).sum(dim=1)
    run.model.train()
    run.trainer.optimizer.step = lambda: None
    run.trainer.train_step(items, length, torch.where(items > 0, items.flip(0) % 9 + 1, 0))
    return [weights.grad.clone() for weights in run.model.parameters()]


@pytest.mark.parametrize(("fits", "rows"), [(3, 3), (1, 1)])
def test_a_training_step_that_does_not_fit_passes_fewer_rows_at_a_time_and_has_the_same_gradient(
    fits: int, rows: int, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = gradients(assemble("NASR", toy, hidden_dropout_prob=0.0))
    limit_rows(monkeypatch, fits)
    run = assemble("NASR", toy, hidden_dropout_prob=0.0)
    found = gradients(run)
    assert run.trainer.passes.rows == rows
    torch.testing.assert_close(found, expected)


def test_a_step_of_which_one_row_does_not_fit_is_refused(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch, 0)
    with pytest.raises(MemoryLimitError, match="1 rows at a time does not fit into the memory of cpu; lower `hid"):
        gradients(assemble("NASR", toy))


def test_a_capture_that_does_not_fit_is_given_up_rather_than_begun_again_within(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch, 3)
    monkeypatch.setattr(passes, "being_captured", lambda _: True)
    run = assemble("NASR", toy)
    before = run.trainer.passes.rows
    with pytest.raises(torch.cuda.OutOfMemoryError):
        gradients(run)
    assert run.trainer.passes.rows == before


def test_the_memory_of_the_present_gpu_is_asked_for_without_a_number_which_early_torch_cannot_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: asked.append(device) or (5, 9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 1)
    assert device_memory(torch.device("cuda")) == device_memory(torch.device("cuda:1")) == (7, 9)
    assert asked == [None, torch.device("cuda:1")]


def test_an_evaluation_that_does_not_fit_takes_fewer_cases_at_a_time_and_ranks_the_same(
    refusal: Exception, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = assemble("NASR", toy, eval_batch_size=7)
    expected = run.trainer.evaluate(run.valid, load_best_model=False), run.trainer.last_ranks.tolist()
    forward, sizes = NASR.forward, []

    def limited(self: NASR, item_seq: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        if item_seq.size(0) > 2:
            raise refusal
        sizes.append(item_seq.size(0))
        return forward(self, item_seq, length)

    monkeypatch.setattr(NASR, "forward", limited)
    with caplog.at_level(logging.WARNING, "recbole_nasr"):
        found = run.trainer.evaluate(run.valid, load_best_model=False), run.trainer.last_ranks.tolist()
    assert found == expected
    assert sizes == [1] * 12  # of 7 cases 3, of 3 one
    assert "out of memory: the evaluation now takes 3 cases at a time; ranks are the same." in caplog.messages


def test_another_error_of_an_evaluation_is_not_taken_for_one_of_memory(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy)

    def broken(*_: Any) -> None:
        msg = "mat1 and mat2 shapes cannot be multiplied"
        raise RuntimeError(msg)

    monkeypatch.setattr(NASR, "forward", broken)
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        run.trainer.evaluate(run.valid, load_best_model=False)


def test_a_case_that_does_not_fit_alone_is_refused(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy)

    def refuse(*_: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(NASR, "forward", refuse)
    with pytest.raises(MemoryLimitError, match="one case does not fit into memory; lower `hidden_size`"):
        run.trainer.evaluate(run.valid, load_best_model=False)


def limit_rows(monkeypatch: pytest.MonkeyPatch, fits: int) -> None:
    loss = HybridNet.loss

    def limited(self: HybridNet, item_seq: torch.Tensor, *rest: Any) -> torch.Tensor:
        found = loss(self, item_seq, *rest)
        if item_seq.size(0) > fits:
            raise torch.cuda.OutOfMemoryError
        return found

    monkeypatch.setattr(HybridNet, "loss", limited)


def test_a_ranking_that_does_not_fit_takes_smaller_batches_and_finds_the_same(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(**settings: Any) -> Any:
        run = assemble("NASRSearch", toy, epochs=1, **settings)
        run.trainer.fit(run.train, run.valid, saved=False)
        return run.trainer.search_result

    expected = found()
    run_paths = ranking.run_paths

    def limited(block: Any, hidden: torch.Tensor, paths: Any) -> Any:
        if hidden.size(0) > 2:
            raise torch.cuda.OutOfMemoryError
        return run_paths(block, hidden, paths)

    monkeypatch.setattr(ranking, "run_paths", limited)
    smaller = found()
    assert smaller.architecture == expected.architecture
    for one, other in zip(smaller.blocks, expected.blocks, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)
