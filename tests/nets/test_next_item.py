"""The way out of a supernet: the same cross-entropy however many of its rows are computed at a time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_nasr.nets import NextItemHead, next_item, padding
from recbole_nasr.ops import LayerSettings

N_ITEMS = 12


@pytest.fixture
def head() -> NextItemHead:
    torch.manual_seed(0)
    head = NextItemHead(N_ITEMS, LayerSettings(hidden_size=4))
    nn.init.normal_(head.output.bias)
    return head


@pytest.mark.parametrize("n_rows", [1, 3, 1000])
def test_rows_computed_in_the_cache_have_the_cross_entropy_of_all_at_once(
    n_rows: int, head: NextItemHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(next_item, "rows_in_cache", lambda _: n_rows)
    hidden, targets = torch.randn(5, 6, 4), torch.randint(0, N_ITEMS, (5, 6))
    assert (targets == 0).any()
    found = head.cross_entropy_in_cache(hidden, targets)
    torch.testing.assert_close(found, head.cross_entropy(hidden, targets).detach(), atol=1e-5, rtol=0)
    assert (found[targets == 0] == 0).all()


def test_what_stands_where_there_is_no_target_is_not_computed(head: NextItemHead) -> None:
    hidden, targets = torch.full((2, 3, 4), torch.nan), torch.zeros(2, 3, dtype=torch.long)
    assert (head.cross_entropy_in_cache(hidden, targets) == 0).all()


@pytest.mark.parametrize("n_rows", [1, 7, 30])
@pytest.mark.parametrize("as_on_a_gpu", [False, True])
def test_logits_computed_in_parts_have_the_loss_and_the_gradients_of_all_at_once(
    n_rows: int, as_on_a_gpu: bool, head: NextItemHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    if as_on_a_gpu:
        monkeypatch.setattr(padding, "READ_AT_ONCE", ())
    hidden, targets = torch.randn(5, 6, 4, requires_grad=True), torch.randint(0, N_ITEMS, (5, 6))
    wanted = [hidden, *head.parameters()]
    plain = head.cross_entropy(hidden, targets).sum()
    expected = torch.autograd.grad(plain, wanted)
    sizes = []
    at_once = head.cross_entropy
    monkeypatch.setattr(head, "cross_entropy", lambda *given: sizes.append("at once") or at_once(*given))
    monkeypatch.setattr(next_item, "rows_at_a_time", lambda *_: n_rows)
    found = head.summed_cross_entropy(hidden, targets, n_held=3)
    torch.testing.assert_close(found, plain)
    torch.testing.assert_close(torch.autograd.grad(found, wanted), expected)
    n_computed = targets.numel() if as_on_a_gpu else int((targets > 0).sum())
    assert sizes == (["at once"] if n_rows >= n_computed else [])
