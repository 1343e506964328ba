from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recbole.evaluator import Collector
from recbole.trainer import Trainer
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_nasr.trainer.products import items_at_a_time, ranks_by_parts
from recbole_nasr.trainer.ranks import count_ranks, full_ranks, hit_matrix

Assemble = Callable[..., SimpleNamespace]


def layer(n_items: int, width: int = 8, seed: int = 0) -> tuple[nn.Linear, torch.Tensor, torch.Tensor]:
    torch.manual_seed(seed)
    output = nn.Linear(width, n_items - 1)
    return output, torch.randn(9, width), torch.randint(1, n_items, (9,))


@torch.no_grad()
@given(n_items=st.integers(3, 40), part=st.integers(1, 45), seed=st.integers(0, 9), masked=st.booleans())
def test_items_in_parts_give_the_ranks_of_all_scores_at_once(n_items: int, part: int, seed: int, masked: bool) -> None:
    output, hidden, targets = layer(n_items, seed=seed)
    seen = torch.randint(0, n_items, (9, 4)) if masked else None
    scores = F.pad(output(hidden), (1, 0), value=-torch.inf)
    if seen is not None:
        scores.scatter_(1, seen, -torch.inf)
    found, bad = ranks_by_parts(hidden, output, targets, seen=seen, n_items=part)
    assert found.tolist() == count_ranks(scores, targets).tolist()
    assert not bad


@torch.no_grad()
@pytest.mark.parametrize("part", [1, 4, 100])
def test_ties_count_against_the_target_in_whatever_part_they_are(part: int) -> None:
    output, hidden, _ = layer(11)
    nn.init.zeros_(output.weight)
    output.bias.copy_(torch.tensor([5.0, 1, 5, 1, 1, 0, 5, 1, 2, 3]))
    found, _ = ranks_by_parts(hidden, output, torch.tensor([1, 3, 7, 2, 4, 5, 8, 6, 9]), n_items=part)
    assert found.tolist() == [3, 3, 3, 9, 9, 9, 9, 10, 5]


@torch.no_grad()
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("item", [1, 10])
def test_a_score_that_is_not_finite_is_told_also_where_it_is_excluded(item: int, value: float) -> None:
    output, hidden, targets = layer(11)
    output.bias[item - 1] = value
    _, bad = ranks_by_parts(hidden, output, targets, seen=torch.full((9, 1), item), n_items=4)
    assert bad


class Largest(TorchDispatchMode):
    """Remembers the largest result."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not func.is_view:
            self.elements = max(self.elements, result.numel())
        return result


@torch.no_grad()
@pytest.mark.parametrize("masked", [False, True])
def test_200_000_items_are_never_scored_all_at_once(masked: bool) -> None:
    output, hidden, targets = layer(200_000, width=2)
    part = items_at_a_time(9, hidden.device)
    assert part < 50_000
    with Largest() as largest:
        ranks_by_parts(hidden, output, targets, seen=targets.unsqueeze(1) if masked else None)
    assert largest.elements <= 9 * (part + 1)


@pytest.mark.parametrize("model", ["NASR", "SASRec"])
def test_what_recboles_evaluator_gets_is_bit_by_bit_what_its_own_collector_makes(
    model: str, assemble: Assemble, toy: Path
) -> None:
    run = assemble(model, toy, topk=[1, 3, 7], valid_metric="NDCG@3", eval_batch_size=5)
    run.model.eval()
    with torch.no_grad():
        collector = Collector(run.config)
        run.trainer.tot_item_num, run.trainer.item_tensor = 11, torch.arange(11)
        for batch in run.test:
            _, scores, users, items = run.trainer._full_sort_batch_eval(batch)
            assert all(row.unique().numel() == row.numel() for row in scores)  # no ties
            collector.eval_batch_collect(scores, batch[0], users, items)
    theirs = collector.get_data_struct().get("rec.topk")
    assert torch.equal(hit_matrix(full_ranks(run.model, run.test, device="cpu"), [1, 3, 7]).long(), theirs.long())
    own = Trainer.evaluate(run.trainer, run.test, load_best_model=False)
    assert dict(run.trainer.evaluate(run.test, load_best_model=False)) == dict(own)
