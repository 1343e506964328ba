from __future__ import annotations

from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recbole_nasr.errors import ConfigError
from recbole_nasr.search.augmentation import (
    AUGMENTATIONS,
    View,
    _lowest,
    check_augmentations,
    crop,
    make_view,
    mask,
    reorder,
)

MASK = 1000
KINDS = sorted(AUGMENTATIONS)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def padded(lengths: list[int], width: int | None = None) -> tuple[Tensor, Tensor]:
    """Rows of different items: row r has r * 31 + 1, r * 31 + 2, ..."""
    steps, rows = torch.arange(width or max(lengths)), torch.arange(len(lengths)).unsqueeze(1)
    item_seq_len = torch.tensor(lengths)
    return torch.where(steps < item_seq_len.unsqueeze(1), rows * 31 + steps + 1, 0), item_seq_len


batches = st.builds(padded, st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from([30, 33]))
ratios = st.sampled_from([0.01, 0.25, 0.5, 0.9, 1.0])
seeds = st.integers(0, 2**31)


def destroyed(n: int, ratio: float) -> int:
    return max(1, round(ratio * n))


@given(batches, ratios, seeds, st.sampled_from(KINDS))
def test_padding_is_never_filled_nor_the_input_changed_and_items_stay_in_their_row(
    batch: View, ratio: float, seed: int, kind: str
) -> None:
    item_seq, lengths = batch
    before = item_seq.clone(), lengths.clone()
    view, view_lengths = AUGMENTATIONS[kind](item_seq, lengths, ratio, MASK, rng(seed))
    assert torch.equal(item_seq, before[0])
    assert torch.equal(lengths, before[1])
    assert view.shape == item_seq.shape
    assert view.dtype == torch.int64
    real = torch.arange(view.size(1)) < view_lengths.unsqueeze(1)
    assert torch.equal(view != 0, real)
    assert (view_lengths >= 1).all()
    for row, original in zip(view.tolist(), item_seq.tolist(), strict=True):
        assert set(row) <= {*original, MASK, 0}


@given(batches, ratios, seeds, st.sampled_from(KINDS))
def test_the_same_generator_gives_the_same_view(batch: View, ratio: float, seed: int, kind: str) -> None:
    first, second = (AUGMENTATIONS[kind](*batch, ratio, MASK, rng(seed)) for _ in range(2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@given(batches, ratios, seeds)
def test_mask_replaces_exactly_its_share_and_leaves_the_rest(batch: View, ratio: float, seed: int) -> None:
    view, lengths = mask(*batch, ratio, MASK, rng(seed))
    assert torch.equal(lengths, batch[1])
    masked = view == MASK
    assert masked.sum(dim=1).tolist() == [destroyed(n, ratio) for n in lengths.tolist()]
    assert torch.equal(view[~masked], batch[0][~masked])


@pytest.mark.parametrize(("n", "expected"), [(28, 7), (1, 1), (2, 1), (10, 2), (30, 8)])
def test_a_quarter_of_n_items_is_masked(n: int, expected: int) -> None:
    view, _ = mask(*padded([n]), 0.25, MASK, rng())
    assert int((view == MASK).sum()) == expected


def test_every_item_is_masked_equally_often() -> None:
    item_seq, lengths = padded([8])
    view, _ = mask(item_seq.expand(4000, -1), lengths.expand(4000), 0.25, MASK, rng())
    share = (view == MASK).float().mean(dim=0)
    assert share.tolist() == pytest.approx([0.25] * 8, abs=0.03)


@given(batches, ratios, seeds)
def test_crop_keeps_one_contiguous_fragment(batch: View, ratio: float, seed: int) -> None:
    view, lengths = crop(*batch, ratio, MASK, rng(seed))
    for row, original, kept, n in zip(view, batch[0], lengths.tolist(), batch[1].tolist(), strict=True):
        assert kept == max(1, n - destroyed(n, ratio))
        start = original.tolist().index(int(row[0]))
        assert start + kept <= n
        assert torch.equal(row[:kept], original[start : start + kept])


def test_crop_keeps_every_fragment_equally_often() -> None:
    item_seq, lengths = padded([8])
    view, _ = crop(item_seq.expand(6000, -1), lengths.expand(6000), 0.25, MASK, rng())
    starts = Counter(view[:, 0].tolist())
    assert sorted(starts) == [1, 2, 3]
    assert all(count == pytest.approx(2000, abs=200) for count in starts.values())


@given(batches, ratios, seeds)
def test_reorder_shuffles_within_one_span_alone(batch: View, ratio: float, seed: int) -> None:
    view, lengths = reorder(*batch, ratio, MASK, rng(seed))
    assert torch.equal(lengths, batch[1])
    assert torch.equal(view.sort(dim=1).values, batch[0].sort(dim=1).values)
    for row, original, n in zip(view, batch[0], lengths.tolist(), strict=True):
        moved = (row != original).nonzero().flatten().tolist()
        assert not moved or moved[-1] - moved[0] < destroyed(n, ratio)


def test_a_shuffled_span_of_k_items_moves_k_minus_1_on_average_and_starts_anywhere() -> None:
    item_seq, lengths = padded([20], width=24)
    view, _ = reorder(item_seq.expand(6000, -1), lengths.expand(6000), 0.25, MASK, rng())
    moved = view != item_seq
    assert moved.sum(dim=1).float().mean().item() == pytest.approx(4, abs=0.06)
    assert moved.float().mean(dim=0)[:20].min() > 0.03


def test_all_orders_of_a_span_are_equally_likely() -> None:
    item_seq, lengths = padded([3])
    view, _ = reorder(item_seq.expand(6000, -1), lengths.expand(6000), 1.0, MASK, rng())
    orders = Counter(map(tuple, view.tolist()))
    assert len(orders) == 6
    assert all(count == pytest.approx(1000, abs=150) for count in orders.values())


def view_of(names: tuple[str, ...], batch: View, seed: int = 0) -> View:
    return make_view(*batch, names=names, ratio=0.25, mask_token=MASK, generator=rng(seed))


@given(batches, seeds, st.sampled_from(KINDS))
def test_one_name_gives_that_augmentation(batch: View, seed: int, kind: str) -> None:
    view, expected = view_of((kind,), batch, seed), AUGMENTATIONS[kind](*batch, 0.25, MASK, rng(seed))
    assert torch.equal(view[0], expected[0])
    assert torch.equal(view[1], expected[1])


def kind_of(view: list[int], length: int, original: list[int], n: int) -> str:
    if length < n:
        return "crop"
    return "mask" if MASK in view else "reorder" if sorted(view) == sorted(original) else "none"


def test_with_several_names_every_row_draws_one_of_them_uniformly() -> None:
    item_seq, lengths = padded([20] * 3000)
    view, view_lengths = view_of(("mask", "crop", "reorder"), (item_seq, lengths))
    rows = zip(view.tolist(), view_lengths.tolist(), item_seq.tolist(), strict=True)
    kinds = Counter(kind_of(row, length, original, 20) for row, length, original in rows)
    assert set(kinds) == set(KINDS)
    assert all(count == pytest.approx(1000, abs=130) for count in kinds.values())
    assert set(view_of(("mask", "crop"), (item_seq, lengths))[1].tolist()) == {15, 20}


def test_a_wide_batch_is_augmented_without_waiting_for_a_device(no_synchronisation: object) -> None:
    with no_synchronisation:
        view_of(("mask", "crop", "reorder"), padded([20, 3, 1]))


@pytest.mark.parametrize(
    ("names", "ratio", "rule"),
    [
        ((), 0.25, "At least one augmentation"),
        (("maks",), 0.25, "'maks'. Did you mean 'mask'"),
        (("mask",), 0.0, r"`augmentation_ratio` must lie in \(0, 1\], but is 0"),
        (("mask",), 1.01, "`augmentation_ratio`"),
        (("mask",), float("nan"), "`augmentation_ratio`"),
    ],
)
def test_unknown_augmentations_and_ratios_are_refused(names: tuple[str, ...], ratio: float, rule: str) -> None:
    with pytest.raises(ConfigError, match=rule):
        check_augmentations(names, ratio)


@pytest.mark.parametrize("length", [1, 2, 30, 33, 200])
def test_the_lowest_keys_of_a_row_come_first_and_equal_ones_in_the_order_of_their_places(length: int) -> None:
    keys = torch.rand(50, length, generator=torch.Generator().manual_seed(1))
    keys[keys > 0.8] = 2.0  # as padding has
    keys[0] = 0.5
    n = min(length, 7)
    assert torch.equal(_lowest(keys, n), keys.argsort(dim=1, stable=True)[:, :n])
