"""A GPU that runs out of memory gets smaller parts of the same work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import HybridNet
from recbole_nasr.search import ranking

Assemble = Callable[..., SimpleNamespace]


def gradients(run: SimpleNamespace) -> list[torch.Tensor]:
    items = torch.tensor([[1, 2, 3], [4, 5, 0], [2, 7, 8], [9, 0, 0], [3, 1, 0], [6, 2, 4], [5, 0, 0]])
    length = (items > 0).sum(dim=1)
    run.model.train()
    run.trainer.optimizer.step = lambda: None
    run.trainer.train_step(items, length, items.roll(1, 0))
    return [weights.grad.clone() for weights in run.model.parameters()]


@pytest.mark.parametrize(("fits", "passes"), [(3, 3), (1, 1)])
def test_a_training_step_that_does_not_fit_passes_fewer_rows_at_a_time_and_has_the_same_gradient(
    fits: int, passes: int, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = gradients(assemble("NASR", toy, hidden_dropout_prob=0.0))
    limit_rows(monkeypatch, fits)
    run = assemble("NASR", toy, hidden_dropout_prob=0.0)
    found = gradients(run)
    assert run.trainer.rows_per_pass == passes
    torch.testing.assert_close(found, expected)


def test_a_step_of_which_one_row_does_not_fit_is_refused(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_rows(monkeypatch, 0)
    with pytest.raises(MemoryLimitError, match="1 rows at a time does not fit into the memory of the GPU; lower `hid"):
        gradients(assemble("NASR", toy))


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
