from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.errors import NumericalError
from recbole_nasr.nets import Supernet, masked_mean, memory
from recbole_nasr.nets.supernet import MixedOp
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.branch import Branch
from recbole_nasr.search.path_scores import effective_rank
from recbole_nasr.search.ranking import rank_paths, run_paths

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
ALL_256 = list(product(range(4), repeat=4))
ALL_16 = list(product(range(4), repeat=2))


@pytest.fixture
def views(make_sequences: MakeSequences) -> tuple[View, View]:
    sequences, rng = make_sequences(13), torch.Generator().manual_seed(5)
    first, second = (
        make_view(
            sequences.item_seq,
            sequences.item_seq_len,
            names=("mask",),
            ratio=0.25,
            mask_token=30,
            generator=rng,
        )
        for _ in range(2)
    )
    return first, second


def rank(
    net: Supernet, views: tuple[View, View], paths: list[tuple[int, ...]], batch_size: int = 64
) -> tuple[Tensor, Tensor]:
    return rank_paths(net, [()], views, paths, batch_size=batch_size, progress=Progress())


@torch.no_grad()
def naive(net: Supernet, views: tuple[View, View], paths: list[tuple[int, ...]]) -> tuple[Tensor, Tensor]:
    """Every path from the first layer on, all sequences at once."""
    net, block = net.eval(), net.block(0)

    def project(view: View, path: tuple[int, ...]) -> Tensor:
        return block.projector(masked_mean(block(net.prefix(*view, []), path), view[1]))

    units = [F.normalize(project(views[1], path), dim=-1) for path in paths]
    target = F.normalize(torch.stack(units).mean(dim=0), dim=-1)
    predictions = [F.normalize(block.predictor(project(views[0], path)), dim=-1) for path in paths]
    return torch.stack([2 - 2 * (unit * target).sum(dim=-1) for unit in predictions]), target


def test_sharing_beginnings_changes_no_bit_of_any_of_256_paths_at_340_layer_runs(
    make_net: MakeNet, views: tuple[View, View]
) -> None:
    net, calls = make_net((4,)).eval(), 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    for module in net.modules():
        if isinstance(module, MixedOp):
            module.register_forward_hook(count)
    with torch.no_grad():
        hidden = net.prefix(*views[0], [])
        outputs = dict(run_paths(net.block(0), hidden, ALL_256))
        assert calls == 4 + 16 + 64 + 256
        assert sorted(outputs) == list(range(256))
        for index, path in enumerate(ALL_256):
            assert torch.equal(outputs[index], net.block(0)(hidden, path)), path


def test_scores_equal_those_of_one_path_at_a_time(make_net: MakeNet, views: tuple[View, View]) -> None:
    net = make_net()
    distances, target = rank(net, views, ALL_16)
    expected, expected_target = naive(net, views, ALL_16)
    assert distances.shape == (16, 13)
    assert distances.dtype == torch.float64
    torch.testing.assert_close(distances, expected.double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(target, expected_target, atol=1e-6, rtol=0)
    assert int(distances.mean(dim=1).argmin()) == int(expected.mean(dim=1).argmin())
    assert distances.min() >= 0
    assert distances.max() <= 4


def test_paths_of_a_later_block_are_ranked_behind_the_chosen_ones(make_net: MakeNet, views: tuple[View, View]) -> None:
    net = make_net((2, 1))
    paths = [(op,) for op in range(4)]
    first, second = (
        rank_paths(net, [(chosen,)], views, paths, batch_size=64, progress=Progress())[0] for chosen in ((0, 1), (2, 3))
    )
    assert first.shape == (4, 13)
    assert not torch.allclose(first, second)


def test_behind_several_prefixes_the_ensemble_is_over_all_paths(make_net: MakeNet, views: tuple[View, View]) -> None:
    net, paths, prefixes = make_net((2, 1)), [(op,) for op in range(4)], [((0, 1),), ((2, 3),)]
    found, target = rank_paths(net, prefixes, views, paths, batch_size=64, progress=Progress())
    assert found.shape == (8, 13)
    with torch.no_grad():
        block = net.eval().block(1)

        def project(view: View, prefix: Any, path: Any) -> Tensor:
            return block.projector(masked_mean(block(net.prefix(*view, prefix), path), view[1]))

        ways = list(product(prefixes, paths))
        units = [F.normalize(project(views[1], *way), dim=-1) for way in ways]
        expected = F.normalize(torch.stack(units).mean(dim=0), dim=-1)
        torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)
        for row, way in zip(found, ways, strict=True):
            unit = F.normalize(block.predictor(project(views[0], *way)), dim=-1)
            torch.testing.assert_close(row, (2 - 2 * (unit * expected).sum(dim=-1)).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("paths_at_a_time", [3, 100])
def test_a_path_left_out_is_compared_with_the_ensemble_of_the_others_in_the_target_branch(
    paths_at_a_time: int, make_net: MakeNet, views: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, teacher = make_net(), make_net(scale=0.2).train()
    monkeypatch.setattr(memory, "HOST_SHARE", paths_at_a_time * 13 * 8 * 4)
    how = {"batch_size": 5, "progress": Progress(), "target_branch": Branch.online(teacher, 0), "leave_one_out": True}
    found, _ = rank_paths(net, [()], views, ALL_16, **how)
    for index in (0, 7, 15):
        others = [path for path in ALL_16 if path != ALL_16[index]]
        _, target = rank(teacher, views, others)
        with torch.no_grad():
            block = net.eval().block(0)
            pooled = masked_mean(block(net.prefix(*views[0], []), ALL_16[index]), views[0][1])
            unit = F.normalize(block.predictor(block.projector(pooled)), dim=-1)
        torch.testing.assert_close(found[index], (2 - 2 * (unit * target).sum(dim=-1)).double(), atol=1e-5, rtol=0)


def test_ranking_twice_gives_the_same_bits_and_leaves_the_supernet_as_it_was(
    make_net: MakeNet, views: tuple[View, View]
) -> None:
    net = make_net((2, 1)).train()
    net.block(1).eval()
    state = copy.deepcopy(net.state_dict())
    modes = [module.training for module in net.modules()]
    rng, stored = torch.get_rng_state(), copy.deepcopy(views)
    first, second = rank(net, views, ALL_16), rank(net, views, ALL_16)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert [module.training for module in net.modules()] == modes
    assert torch.equal(torch.get_rng_state(), rng)
    assert all(torch.equal(a, b) for x, y in zip(views, stored, strict=True) for a, b in zip(x, y, strict=True))
    assert all(parameter.grad is None for parameter in net.parameters())


@pytest.mark.parametrize("batch_size", [1, 4, 12, 13])  # 13 % 4 == 13 % 12 == 1
def test_the_batch_size_changes_no_score(batch_size: int, make_net: MakeNet, views: tuple[View, View]) -> None:
    net = make_net()
    found, expected = rank(net, views, ALL_16, batch_size)[0], rank(net, views, ALL_16)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(found.mean(dim=1), expected.mean(dim=1), atol=1e-6, rtol=0)


def test_the_order_of_the_sequences_changes_no_score(make_net: MakeNet, views: tuple[View, View]) -> None:
    net, order = make_net(), torch.randperm(13, generator=torch.Generator().manual_seed(1))
    shuffled = tuple((view[0][order], view[1][order]) for view in views)
    found, expected = rank(net, shuffled, ALL_16)[0], rank(net, views, ALL_16)[0]
    torch.testing.assert_close(found, expected[:, order], atol=1e-5, rtol=0)
    torch.testing.assert_close(found.mean(dim=1), expected.mean(dim=1), atol=1e-6, rtol=0)


def test_the_order_of_the_paths_changes_no_score(make_net: MakeNet, views: tuple[View, View]) -> None:
    net, order = make_net(), torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    found, expected = rank(net, views, [ALL_16[place] for place in order])[0], rank(net, views, ALL_16)[0]
    torch.testing.assert_close(found, expected[order], atol=1e-6, rtol=0)


@pytest.mark.parametrize("paths_at_a_time", [1, 3, 5])
def test_holding_fewer_paths_at_a_time_changes_no_score(
    paths_at_a_time: int, make_net: MakeNet, views: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    net = make_net()
    expected = rank(net, views, ALL_16)
    monkeypatch.setattr(memory, "HOST_SHARE", paths_at_a_time * 13 * 8 * 4)
    found = rank(net, views, ALL_16)
    assert torch.equal(found[0], expected[0])
    assert torch.equal(found[1], expected[1])


def test_the_student_sees_one_view_and_the_target_the_other(
    make_net: MakeNet, make_sequences: MakeSequences, views: tuple[View, View]
) -> None:
    net, other = make_net(), make_sequences(13, seed=9)
    new = other.item_seq, other.item_seq_len
    base = rank(net, views, ALL_16)
    student, target = rank(net, (new, views[1]), ALL_16), rank(net, (views[0], new), ALL_16)
    assert torch.equal(student[1], base[1])
    assert not torch.allclose(student[0], base[0])
    assert not torch.allclose(target[1], base[1])


def test_padding_changes_no_score(make_net: MakeNet, views: tuple[View, View]) -> None:
    net = make_net()
    wider = tuple((F.pad(view[0], (0, 4), value=7), view[1]) for view in views)
    torch.testing.assert_close(rank(net, wider, ALL_16)[0], rank(net, views, ALL_16)[0], atol=1e-5, rtol=0)


def test_scores_do_not_depend_on_dropout(make_net: MakeNet, views: tuple[View, View]) -> None:
    scores = [rank(make_net(dropout_prob=p).train(), views, ALL_16)[0] for p in (0.0, 0.9)]
    assert torch.equal(*scores)


def test_with_closed_gates_256_paths_have_two_scores_by_whether_all_are_convolutions(
    make_net: MakeNet, views: tuple[View, View]
) -> None:
    scores = rank(make_net((4,), scale=0.0), views, ALL_256)[0].mean(dim=1)
    convolutions = torch.tensor([min(path) >= 2 for path in ALL_256])
    assert int(convolutions.sum()) == 16
    for group in (scores[convolutions], scores[~convolutions]):
        assert group.max() - group.min() < 1e-5
    assert abs(scores[convolutions].mean() - scores[~convolutions].mean()) > 1e-4


@pytest.mark.parametrize("n_own", [16, 5, 0], ids="{} of 16 paths are this process's".format)
def test_progress_counts_every_path_and_sequence_of_both_views(
    n_own: int, make_net: MakeNet, views: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.distributed.share", lambda values: values[:n_own])

    class Counting(Progress):
        total = 0

        def advance(self, n: int = 1, **info: object) -> None:
            self.total += n

    for leave_one_out in (False, True):
        progress = Counting()
        common = {"batch_size": 5, "progress": progress, "leave_one_out": leave_one_out}
        rank_paths(make_net(), [()], views, ALL_16, **common)
        assert progress.total == (2 + leave_one_out) * 16 * 13


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_a_process_that_has_no_share_of_the_paths_adds_nothing(
    leave_one_out: bool, make_net: MakeNet, views: tuple[View, View], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.distributed.share", lambda values: values[:0])  # of more processes than paths
    found, target = rank_paths(
        make_net(), [()], views, ALL_16, batch_size=5, progress=Progress(), leave_one_out=leave_one_out
    )
    assert found.shape == (0, 13)
    assert (target == 0).all()


def test_a_score_that_is_not_finite_names_its_path_and_still_restores_the_modes(
    make_net: MakeNet, views: tuple[View, View]
) -> None:
    net = make_net().train()
    with torch.no_grad():
        net.block(0).layers[0][3].blocks[0].first.taps.bias.fill_(torch.nan)
    with pytest.raises(NumericalError, match=r"path \(0, 0\) of block 1.*`search_learning_rate`"):
        rank(net, views, ALL_16)  # one bad path makes the ensemble bad, hence all
    assert all(module.training for module in net.modules())


def test_the_effective_rank_counts_directions() -> None:
    line = torch.randn(50, 1) @ torch.randn(1, 8)
    assert effective_rank(line + 3) == pytest.approx(1, abs=1e-3)
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(axes) == pytest.approx(4)
    assert effective_rank(torch.ones(5, 3)) == pytest.approx(1)
    assert 7 < effective_rank(torch.randn(4000, 8)) <= 8
