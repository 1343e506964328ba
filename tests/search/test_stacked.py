from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn

from recbole_nasr.nets import Predictor, Projector, Supernet, memory, per_path
from recbole_nasr.ops.registry import known_operations
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences, stacked
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.ranking import rank_paths, run_paths
from recbole_nasr.search.stacked import StackedPaths, states_at_a_time

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
CountKernels = Callable[[Callable[[], object]], int]
Paths = list[tuple[int, ...]]
ALL_64 = list(product(range(4), repeat=3))
SAMPLE = [ALL_64[index] for index in (0, 3, 5, 17, 18, 19, 42, 63)]
ONE_BLOCK_VARIES = [(2, *path, 1) for path in product(range(4), repeat=2)]
CPU = torch.device("cpu")


@pytest.fixture
def views(make_sequences: MakeSequences) -> tuple[View, View]:
    first, second = make_sequences(13), make_sequences(13, seed=9)
    return (first.item_seq, first.item_seq_len), (second.item_seq, second.item_seq_len)


def outputs_of(plan: StackedPaths, net: Supernet, hidden: torch.Tensor) -> dict[int, torch.Tensor]:
    found = {}
    for group, outputs in plan.run(net.block(0), hidden):
        assert group.on_device.tolist() == list(group.numbers)
        found.update(zip(group.numbers, outputs, strict=True))
    return found


@pytest.mark.parametrize("at_a_time", [1, 3, 5, 16, 1000])
@pytest.mark.parametrize("paths", [ALL_64, SAMPLE, [(1, 2, 3)]])
def test_stacked_paths_have_the_outputs_of_one_path_at_a_time(
    paths: Paths, at_a_time: int, make_net: MakeNet, views: tuple[View, View]
) -> None:
    net = make_net((3,)).eval()
    with torch.no_grad():
        hidden = net.prefix(*views[0], [])
        found = outputs_of(StackedPaths(paths, at_a_time, CPU), net, hidden)
        expected = dict(run_paths(net.block(0), hidden, paths))
    assert found.keys() == expected.keys()
    for index, output in expected.items():
        torch.testing.assert_close(found[index], output, atol=1e-5, rtol=1e-5)


def test_paths_that_differ_in_the_middle_share_their_beginning(make_net: MakeNet, views: tuple[View, View]) -> None:
    net, calls = make_net((4,)).eval(), []
    for layer in net.block(0).layers:
        layer.register_forward_hook(lambda _module, args, _output: calls.append((args[0].size(0) // 13, args[1])))
    with torch.no_grad():
        hidden = net.prefix(*views[0], [])
        found = outputs_of(StackedPaths(ONE_BLOCK_VARIES, 100, CPU), net, hidden)
        assert calls == [(1, 2), *((1, op) for op in range(4)), *((4, op) for op in range(4)), (16, 1)]
        for index, path in enumerate(ONE_BLOCK_VARIES):
            torch.testing.assert_close(found[index], net.block(0)(hidden, path), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("at_a_time", [1, 4, 7])
def test_no_more_states_than_allowed_are_held_per_layer(
    at_a_time: int, make_net: MakeNet, views: tuple[View, View]
) -> None:
    net = make_net((3,)).eval()
    with torch.no_grad():
        sizes = [
            outputs.size(0)
            for _, outputs in StackedPaths(ALL_64, at_a_time, CPU).run(net.block(0), net.prefix(*views[0], []))
        ]
    assert max(sizes) <= at_a_time
    assert sum(sizes) == 64


@pytest.mark.parametrize("setting", [{}, {"leave_one_out": True}])
@pytest.mark.parametrize("at_a_time", [6, 64])
def test_stacked_scores_and_their_order_are_those_of_the_plain_ranking(
    at_a_time: int, setting: dict[str, bool], make_net: MakeNet, views: tuple[View, View]
) -> None:
    net = make_net((3,))
    common: dict[str, Any] = {"batch_size": 5, "progress": Progress(), **setting}
    expected, expected_target = rank_paths(net, [()], views, ALL_64, at_a_time=0, **common)
    found, target = rank_paths(net, [()], views, ALL_64, at_a_time=at_a_time, **common)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(target, expected_target, atol=1e-6, rtol=0)
    means, expected_means = found.mean(dim=1), expected.mean(dim=1)
    apart = expected_means.unsqueeze(1) - expected_means < -1e-5
    assert bool((means.unsqueeze(1) < means)[apart].all())
    assert bool(apart.any())


def test_all_operations_of_the_package_can_be_stacked(make_net: MakeNet, views: tuple[View, View]) -> None:
    net = make_net((2,), operations=tuple(known_operations().values()))
    paths = list(product(range(len(known_operations())), repeat=2))
    expected, found = (
        rank_paths(net, [()], views, paths, batch_size=13, progress=Progress(), at_a_time=number)[0]
        for number in (0, 1000)
    )
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_features_that_do_not_fit_are_held_for_fewer_paths_at_a_time(
    make_net: MakeNet, views: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = make_net()
    paths = list(product(range(4), repeat=2))
    expected, _ = rank_paths(net, [()], views, paths, batch_size=5, progress=Progress(), at_a_time=16)
    monkeypatch.setattr(memory, "HOST_SHARE", 5 * 13 * 8 * 4 * 4)
    found, _ = rank_paths(net, [()], views, paths, batch_size=5, progress=Progress(), at_a_time=16)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_ranking_256_paths_of_four_layers_takes_at_most_400_kernels_per_batch_whatever_the_operations(
    make_net: MakeNet, views: tuple[View, View], count_kernels: CountKernels
) -> None:
    net, paths = make_net((4,)), list(product(range(4), repeat=4))
    rank = partial(rank_paths, net, [()], views, paths, progress=Progress(), at_a_time=256)
    counts = [count_kernels(partial(rank, batch_size=batch_size)) for batch_size in (13, 7)]  # one batch, two batches
    of_two_views = counts[1] - counts[0]
    assert of_two_views <= 2 * 400
    assert counts[0] - of_two_views <= 100  # heads and distances, once in a ranking


@pytest.mark.parametrize("head", [Projector(8), Predictor(8)])
def test_a_head_on_all_paths_at_once_is_the_head_on_each(head: nn.Sequential) -> None:
    torch.manual_seed(1)
    features = torch.randn(5, 9, 8) * torch.arange(1.0, 6.0).view(5, 1, 1)
    found, expected = per_path(head, features), torch.stack([head(feature) for feature in features])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_a_cpu_runs_one_path_after_another() -> None:
    assert states_at_a_time(CPU, 10, 10, 8) == 0


def test_a_gpu_stacks_what_fits_into_memory_and_no_more_rows_than_its_kernels_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = torch.device("cuda")
    monkeypatch.setattr(stacked, "memory_share", lambda _: 4 * 100 * 256 * 30 * 64 * 4)
    assert states_at_a_time(gpu, 256, 30, 64) == 100
    monkeypatch.setattr(stacked, "memory_share", lambda _: 10**12)
    assert states_at_a_time(gpu, 256, 30, 64) == 255  # 65,280 rows
    assert states_at_a_time(gpu, 70_000, 30, 64) == 1
