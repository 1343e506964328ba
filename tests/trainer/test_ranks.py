from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.trainer.ranks import count_ranks, full_ranks, hit_matrix

Assemble = Callable[..., SimpleNamespace]


class Planted(nn.Module):
    """Gives every case the scores that ``score(target, items)`` says, and padding the best of all."""

    def __init__(self, score: Callable[[Tensor, Tensor], Tensor], n_items: int) -> None:
        super().__init__()
        self.score, self.n_items = score, n_items

    def full_sort_predict(self, interaction: Any) -> Tensor:
        scores = self.score(interaction["item_id"].unsqueeze(1), torch.arange(self.n_items)).float()
        scores[:, 0] = 1e9
        return scores


def planted_rank(rank_of: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """The item ``d`` places after the target, cyclically, scores so that the target has its planted rank."""

    def score(target: Tensor, items: Tensor) -> Tensor:
        distance = (items - target) % 10  # ids 1..10
        return torch.where(distance == 0, 0.5 - rank_of(target), -distance.float())

    return score


@given(st.lists(st.integers(-3, 3), min_size=2, max_size=9), st.data())
def test_a_rank_is_one_plus_the_other_items_that_score_at_least_as_high(scores: list[int], data: Any) -> None:
    target = data.draw(st.integers(1, len(scores) - 1))
    others = [score for item, score in enumerate(scores) if item not in (0, target)]
    expected = 1 + sum(score >= scores[target] for score in others)
    assert count_ranks(torch.tensor([scores]).float(), torch.tensor([target])).tolist() == [expected]


def test_constant_scores_rank_last() -> None:
    assert count_ranks(torch.zeros(3, 11), torch.tensor([1, 5, 10])).tolist() == [10, 10, 10]


def test_the_hit_matrix_is_recboles() -> None:
    assert hit_matrix(torch.tensor([1, 3, 9]), [2, 3]).tolist() == [[1, 0, 0, 1], [0, 0, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize("batch_size", [1, 5, 512])
def test_planted_ranks_give_the_metrics_computed_by_hand(batch_size: int, assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, eval_batch_size=batch_size, topk=[2, 5], metrics=["Recall", "NDCG", "MRR", "Precision"])
    run.trainer.model = Planted(planted_rank(lambda target: target), 11)
    targets = run.test._dataset[slice(0, 12)]["item_id"].tolist()
    result = run.trainer.evaluate(run.test, load_best_model=False)
    assert run.trainer.last_ranks.tolist() == targets  # item i was planted at rank i
    for k in (2, 5):
        hits = [rank for rank in targets if rank <= k]
        assert result[f"recall@{k}"] == pytest.approx(len(hits) / 12, abs=1e-8)
        assert result[f"precision@{k}"] == pytest.approx(len(hits) / 12 / k, abs=1e-8)
        assert result[f"mrr@{k}"] == pytest.approx(sum(1 / r for r in hits) / 12, abs=1e-8)
        assert result[f"ndcg@{k}"] == pytest.approx(sum(1 / math.log2(r + 1) for r in hits) / 12, abs=1e-8)


def test_padding_is_never_ranked_and_constant_scores_find_nothing(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, topk=[1, 9], valid_metric="NDCG@9")
    run.trainer.model = Planted(lambda _, items: torch.zeros(1, 11).expand(12, -1).clone(), 11)
    assert set(run.trainer.evaluate(run.test, load_best_model=False).values()) == {0.0}
    assert run.trainer.last_ranks.tolist() == [10] * 12


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_scores_that_are_not_finite_are_an_error(bad: float, assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy)
    model = Planted(lambda target, items: torch.where(items == 3, bad, items + 0.0 * target), 11)
    with pytest.raises(NumericalError, match="Planted gave NaN or infinite"):
        full_ranks(model, run.test, device="cpu")


def test_the_mask_excludes_the_history_and_a_repeated_target_never_gains(
    assemble: Assemble, write_inter: Callable[..., Path]
) -> None:
    fresh = [("a", f"i{item}", float(t)) for t, item in enumerate([1, 2, 3, 4, 5, 6])]
    repeat = [("b", f"i{item}", float(t)) for t, item in enumerate([1, 2, 3, 4, 5, 2])]
    other = [("c", f"i{item}", float(t)) for t, item in enumerate([7, 8, 9, 7, 8, 9])]
    run = assemble("NASR", write_inter(fresh + repeat + other), MAX_ITEM_LIST_LENGTH=2)
    # The target is at rank 8 of 9 without a mask: only one item scores lower.
    model = Planted(lambda target, items: torch.where(items == target, 1.5, 1.0 + (items != 9) * 1.0), 10)
    plain = full_ranks(model, run.test, device="cpu")
    masked = full_ranks(model, run.test, device="cpu", mask_history=True)
    by_user = dict(zip(run.test._dataset[slice(0, 3)]["user_id"].tolist(), range(3), strict=True))
    a, b, c = (by_user[run.test._dataset.token2id("user_id", user)] for user in "abc")
    assert masked[a] == plain[a] - 5  # all five earlier items scored higher, though only two are in the window
    assert masked[b] == 9  # excluded with its history: last
    assert masked[c] == 9
    assert (masked[[b, c]] >= plain[[b, c]]).all()


def test_masking_needs_a_data_set_that_knows_whole_histories(assemble: Assemble, toy: Path) -> None:
    run = assemble("SASRec", toy)
    with pytest.raises(ConfigError, match="`mask_history` needs the data set class of this package"):
        full_ranks(run.model, run.test, device="cpu", mask_history=True)


@pytest.mark.parametrize("batch_size", [5, 512])
def test_ranks_of_recboles_own_models_are_exact(batch_size: int, assemble: Assemble, toy: Path) -> None:
    run = assemble("SASRec", toy, eval_batch_size=batch_size)
    ranks = full_ranks(run.model, run.test, device="cpu")
    run.model.eval()
    case = run.test._dataset[slice(0, 12)]
    scores = run.model.full_sort_predict(case).detach()[:, 1:]
    expected = [int((row > row[item - 1]).sum()) + 1 for row, item in zip(scores, case["item_id"], strict=True)]
    assert ranks.tolist() == expected
    result = run.trainer.evaluate(run.test, load_best_model=False)
    assert result["recall@5"] == pytest.approx(float((ranks <= 5).float().mean()), abs=1e-6)
