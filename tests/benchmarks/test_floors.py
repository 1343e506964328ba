from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from benchmarks.speed.floors import (
    Work,
    layer_work,
    n_parameters,
    published_ranking_flops,
    ranking_work,
    search_step_work,
    softmax_work,
)
from benchmarks.speed.roofline import Roofline
from benchmarks.speed.shapes import LASTFM, MOVIELENS, SHORT, TINY, build_supernet, item_sequences
from recbole_nasr.ops.registry import operation_flops

ROOF = Roofline({"fp32": 1e11}, 5e10, 1e10, 1e-5, 1e-6)


@pytest.mark.parametrize(
    ("work", "limit", "seconds"),
    [
        (Work(flops=2e11, bytes=1e9, launches=10), "FLOPs", 2.0),
        (Work(flops=1e9, bytes=5e10, launches=10), "bytes", 5.0),
        (Work(flops=1e3, bytes=1e3, launches=3_000_000), "launches", 3.0),
    ],
)
def test_the_floor_is_the_largest_of_three_times(work: Work, limit: str, seconds: float) -> None:
    found = work.floor(ROOF, "fp32")
    assert found["limit"] == limit
    assert found["seconds"] == pytest.approx(seconds)


def test_a_backward_pass_doubles_the_products_of_the_forward_pass() -> None:
    forward, both = (layer_work(MOVIELENS, ["tcn_d1_2"], 10, 30, backward=backward) for backward in (False, True))
    # Four convolutions of three taps, 30 positions, 64 channels in and out, a multiplication and an addition.
    assert forward.flops == 10 * 4 * 30 * 3 * 64 * 64 * 2
    assert both.flops == 3 * forward.flops


def test_shared_beginnings_leave_340_layers_of_1024() -> None:
    layer = layer_work(MOVIELENS, MOVIELENS.operations, MOVIELENS.ranking_rows, MOVIELENS.length - 2)
    heads = MOVIELENS.ranking_rows * 256 * 6 * 64 * 64
    assert ranking_work(MOVIELENS, 0, 2).flops == pytest.approx(2 * (340 * layer.flops + heads))


def test_sharing_leaves_the_published_ranking_its_projectors_and_a_third_of_its_work() -> None:
    layer = sum(operation_flops(name, MOVIELENS.layer_settings, 30) for name in MOVIELENS.operations) / 4
    projector = 2 * 1920 * (1920 + 64)
    all_paths, shared = (published_ranking_flops(MOVIELENS, shared=shared) for shared in (False, True))
    assert all_paths == 512 * (4 * layer + projector)
    assert shared == 340 * layer + 256 * projector
    assert all_paths / shared == pytest.approx(3.40, abs=0.01)


def test_a_later_block_costs_only_the_forward_passes_before_it() -> None:
    first, second = (search_step_work(replace(MOVIELENS, n_paths=1), block, 0) for block in (0, 1))
    layer = layer_work(MOVIELENS, MOVIELENS.operations, MOVIELENS.batch_size, MOVIELENS.length - 2)
    assert second.flops - first.flops == pytest.approx(8 * layer.flops)  # four layers, two branches


def test_the_softmax_of_lastfm_is_98_gigaflops() -> None:
    # 64 sequences of 20 targets, 199,013 items, width 64; forward and backward.
    assert softmax_work(LASTFM, 64 * 20, backward=True).flops == 6 * 64 * 20 * 64 * 199_013


def test_made_up_data_have_the_shape_of_table_1() -> None:
    items, length = item_sequences(MOVIELENS, 20_000)
    assert items.max() <= MOVIELENS.n_items
    assert float(length.double().mean()) == pytest.approx(25_417_546 / 876_162, abs=0.1)
    assert torch.equal((items > 0).sum(1), length)
    assert torch.equal(item_sequences(MOVIELENS, 50)[0], items[:50])
    assert LASTFM.n_sequences * LASTFM.length == 10_699_640
    _, short = item_sequences(SHORT, 20_000)
    assert float(short.double().mean()) == pytest.approx(198_502 / 22_363, abs=0.1)
    assert short.min() == 5


def test_what_a_block_trains_is_counted_from_the_network() -> None:
    supernet = build_supernet(TINY, torch.device("cpu"))
    modules = list(supernet.trained_with(0))
    assert n_parameters(*modules) == sum(
        p.numel() for p in (*supernet.embedding.parameters(), *modules[1].parameters())
    )
