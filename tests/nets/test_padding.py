"""Which rows pass through a network together, and how wide: by length on a CPU, as they come on a GPU."""

from __future__ import annotations

import pytest
import torch

from recbole_nasr.nets import HybridNet, padding
from recbole_nasr.nets.padding import CPU_ROWS, passes
from recbole_nasr.ops import LayerSettings
from recbole_nasr.space import Architecture

FAMILIES = "transformer_h2,tcn_d1_2,gru,lru/skip,ffn,dwconv_k3,hstu_h2"


def sizes(length: torch.Tensor, width: int = 50, most: int | None = None) -> list[tuple[int, int]]:
    found = list(passes(length, width, most))
    seen = torch.cat([torch.arange(len(length))[rows] for rows, _ in found])
    assert seen.sort().values.tolist() == list(range(len(length)))  # every row once
    for rows, wide in found:
        assert wide >= length[rows].max()
    return [(torch.arange(len(length))[rows].numel(), wide) for rows, wide in found]


def test_rows_of_one_length_pass_in_their_order_and_no_wider_than_they_are() -> None:
    length = torch.full((256,), 20)
    assert sizes(length) == [(CPU_ROWS, 20), (CPU_ROWS, 20)]
    assert [rows for rows, _ in passes(length, 50)] == [slice(0, 128), slice(128, 256)]


def test_rows_that_pass_all_together_keep_their_order() -> None:
    assert list(passes(torch.tensor([3, 9, 1]), 50)) == [(slice(0, 3), 9)]


def test_no_rows_take_no_pass() -> None:
    assert not list(passes(torch.zeros(0, dtype=torch.long), 50))


def test_short_rows_pass_by_themselves_unless_they_are_few_or_save_little() -> None:
    assert sizes(torch.tensor([50, 3] * 32)) == [(32, 3), (32, 50)]
    assert sizes(torch.tensor([50, 3] * 31)) == [(62, 50)]
    assert sizes(torch.tensor([50, 42] * 32)) == [(64, 50)]
    assert sizes(torch.tensor([50] * 64 + [3] * 63 + [4]), most=40) == [(32, 3), (32, 4), (32, 50), (32, 50)]


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_no_more_rows_pass_together_than_allowed(most: int) -> None:
    assert all(n <= most for n, _ in sizes(torch.arange(1, 8), most=most))


def test_a_row_without_an_item_has_a_place() -> None:
    assert sizes(torch.zeros(3, dtype=torch.long)) == [(3, 1)]


def test_on_a_gpu_rows_pass_in_their_order_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(padding, "READ_AT_ONCE", ())
    length = torch.tensor([3, 50, 2, 1, 9])
    assert list(passes(length, 50)) == [(slice(0, 5), 50)]
    assert sizes(length, most=2) == [(2, 50), (2, 50), (1, 50)]


@pytest.mark.parametrize("final_norm", [True, False])
def test_a_network_makes_the_same_of_a_row_however_wide_it_is(final_norm: bool) -> None:
    torch.manual_seed(0)
    settings = LayerSettings(hidden_size=8, dropout_prob=0.0)
    net = HybridNet(Architecture.parse(FAMILIES), n_items=20, max_length=50, settings=settings, final_norm=final_norm)
    length = torch.randint(1, 51, (70,)).clamp_max(torch.tensor([9, 50]).repeat(35))
    items = torch.where(torch.arange(50) < length.unsqueeze(1), torch.randint(1, 20, (70, 50)), 0)
    expected = net.encode_last(items, length)
    parts = list(passes(length, 50))
    assert len(parts) > 1
    for rows, width in parts:
        torch.testing.assert_close(net.encode_last(items[rows, :width], length[rows]), expected[rows])
