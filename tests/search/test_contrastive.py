from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.branch import Branch
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Path, SearchSpace

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
SPACE = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1))
PATHS = [(0, 2), (3, 1), (0, 1)]


def objective_of(net: Supernet, index: int = 0, **settings: Any) -> Contrastive:
    found = Contrastive(net, SearchSettings(**settings), 5)
    found.start(index)
    return found


@torch.no_grad()
def move(branch: Branch) -> None:
    for weight in branch.block.parameters():
        weight.add_(torch.randn_like(weight), alpha=0.25)


@pytest.fixture
def batch(make_sequences: MakeSequences) -> tuple[Tensor, Tensor]:
    sequences = make_sequences(12)
    return sequences.item_seq, sequences.item_seq_len


def test_the_symmetric_loss_is_the_mean_of_both_directions(make_net: MakeNet, batch: tuple[Tensor, Tensor]) -> None:
    net = make_net((2, 1), dropout_prob=0.0)
    objective = objective_of(net, symmetric=True)
    calls = []
    towards = objective._towards

    def spy(shown: Any, seen: Any, *args: Any) -> Tensor:
        calls.append((shown, seen, towards(shown, seen, *args)))
        return calls[-1][2]

    objective._towards = spy
    loss = objective.loss(*batch, (), PATHS)
    (shown, seen, first), (shown_back, seen_back, second) = calls
    assert shown is seen_back
    assert seen is shown_back
    torch.testing.assert_close(loss, (first + second) / 2)
    # One direction alone is the paper's loss on the same views.
    torch.testing.assert_close(objective_of(net).loss(*batch, (), PATHS), first)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_the_loss_is_the_distance_to_what_the_target_branch_makes_of_other_views(
    leave_one_out: bool, make_net: MakeNet, batch: tuple[Tensor, Tensor]
) -> None:
    objective = objective_of(make_net(dropout_prob=0.0), leave_one_out=leave_one_out, target_momentum=0.5)
    move(objective.target)
    drawn, views_of_paths = [], objective._views_of_paths
    objective._views_of_paths = lambda *given: drawn.append(views_of_paths(*given)) or drawn[-1]
    loss = objective.loss(*batch, (), PATHS)
    ((shown, seen),) = drawn
    assert len({tuple(items.flatten().tolist()) for items, _ in (*shown, *seen)}) == 6

    def projected(branch: Branch, view: View, path: Path) -> Tensor:
        return branch.block.projector(masked_mean(branch.block(branch.embedding(*view), path), view[1]))

    units = [F.normalize(projected(objective.target, *given)) for given in zip(shown, PATHS, strict=True)]
    for number, given in enumerate(zip(seen, PATHS, strict=True)):
        ensemble = [unit for other, unit in enumerate(units) if other != number or not leave_one_out]
        predicted = F.normalize(objective.online.block.predictor(projected(objective.online, *given)))
        loss = loss - (predicted - F.normalize(sum(ensemble))).square().sum(dim=1).mean() / 3
    assert loss.item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("index", [0, 1])
def test_the_target_branch_is_a_moving_average_of_the_weights(
    index: int, make_net: MakeNet, batch: tuple[Tensor, Tensor]
) -> None:
    net = make_net((2, 1))
    settings = SearchSettings(batch_size=6, target_momentum=0.75)
    objective = Contrastive(net, settings, 5)
    prefixes = [((0, 2),)] if index else [()]
    trainer = BlockTrainer(net, prefixes, SPACE, settings, 5, objective)
    start = [weight.detach().clone() for weight in net.block(index).parameters()]
    trainer.step(*batch)
    assert objective.target is not objective.online
    followers = zip(objective.target.block.parameters(), start, net.block(index).parameters(), strict=True)
    for average, before, after in followers:
        torch.testing.assert_close(average, 0.75 * before + 0.25 * after.detach())
    # Behind block 0 the embedding is frozen and the same for both branches.
    assert (objective.target.embedding is net.embedding) == (index == 1)
    assert not any(weight.requires_grad for weight in objective.target.block.parameters())


def test_without_momentum_both_branches_are_one(make_net: MakeNet) -> None:
    objective = objective_of(make_net())
    assert objective.target is objective.online


def scores(net: Supernet, sequences: SearchSequences, **settings: Any) -> Any:
    objective = objective_of(net, **settings)
    objective.hold(sequences)
    counted = []

    class Counting(Progress):
        def advance(self, n: int = 1, **info: object) -> None:
            counted.append(n)

    found = objective.score([()], list(SPACE.paths(0)), Counting())
    assert sum(counted) == objective.work(16)
    return found


def test_scores_are_means_over_the_stored_pairs_of_views_in_both_directions(
    make_net: MakeNet, make_sequences: MakeSequences
) -> None:
    net, sequences = make_net((2, 1)), make_sequences(12)
    one = scores(net, sequences, report_view_pairs=0)
    two = scores(net, sequences, view_pairs=2, report_view_pairs=0)
    both = scores(net, sequences, symmetric=True, report_view_pairs=0)
    assert (one.views.shape, two.views.shape) == ((1, 1, 16), (2, 1, 16))
    torch.testing.assert_close(two.values.mean(dim=2), two.views.mean(dim=0), atol=1e-12, rtol=0)
    torch.testing.assert_close(two.views[0], one.views[0], atol=0, rtol=0)  # the first pair stays the first
    back = objective_of(net)
    back.hold(sequences)
    back.stored = [pair[::-1] for pair in back.stored]
    reverse = back.score([()], list(SPACE.paths(0)), Progress())
    torch.testing.assert_close(both.values, (one.values + reverse.values) / 2)


def test_scores_are_distances_to_what_the_target_branch_makes_of_the_other_paths(
    make_net: MakeNet, make_sequences: MakeSequences
) -> None:
    net, paths = make_net((2, 1)), list(SPACE.paths(0))
    objective = objective_of(net, leave_one_out=True, target_momentum=0.5)
    move(objective.target)
    objective.hold(make_sequences(12))
    ((shown, seen),) = objective.stored
    how = {"batch_size": 5, "progress": Progress(), "target_branch": objective.target, "leave_one_out": True}
    expected, _ = rank_paths(net, [()], (shown.view, seen.view), paths, **how)
    torch.testing.assert_close(objective.score([()], paths, Progress()).values[0], expected)


def test_views_for_the_report_change_no_score_and_use_no_more_sequences_than_asked(
    make_net: MakeNet, make_sequences: MakeSequences
) -> None:
    net, sequences = make_net((2, 1)), make_sequences(12)
    without = scores(net, sequences, report_view_pairs=0)
    found = scores(net, sequences, report_view_pairs=2, report_sequences=4)
    assert torch.equal(found.values, without.values)
    assert (found.views.shape, found.n_view_sequences) == ((3, 1, 16), 4)
    assert not torch.allclose(found.views[1], found.views[2])


def test_views_are_compared_on_the_same_sequences_with_the_statistics_of_these_alone(
    make_net: MakeNet, make_sequences: MakeSequences
) -> None:
    net, paths, rows = make_net((2, 1)), list(SPACE.paths(0)), torch.tensor([0, 3, 6, 9])
    objective = objective_of(net, report_view_pairs=1, report_sequences=4)
    objective.hold(make_sequences(12))
    ((shown, seen),) = objective.stored
    views = [(item_seq[rows], item_seq_len[rows]) for item_seq, item_seq_len in (shown.view, seen.view)]
    how = {"batch_size": 5, "progress": Progress(), "target_branch": objective.target}
    expected, _ = rank_paths(net, [()], tuple(views), paths, **how)
    torch.testing.assert_close(objective.score([()], paths, Progress()).views[0, 0], expected.mean(dim=1))


def test_a_step_with_every_option_never_waits_for_the_device(
    make_net: MakeNet, batch: tuple[Tensor, Tensor], no_synchronisation: Any
) -> None:
    settings = SearchSettings(
        symmetric=True, target_momentum=0.9, leave_one_out=True, path_sampling="fair", batch_size=6
    )
    net = make_net((2, 1))
    for prefixes in ([()], [((0, 2),), ((1, 1),)]):
        trainer = BlockTrainer(net, prefixes, SPACE, settings, 5, Contrastive(net, settings, 5))
        with no_synchronisation:
            trainer.step(*batch)
            trainer.step(*batch)


def test_several_prefixes_take_turns(make_net: MakeNet, batch: tuple[Tensor, Tensor]) -> None:
    net, settings = make_net((2, 1)), replace(SearchSettings(), batch_size=6)
    objective, seen = Contrastive(net, settings, 5), []
    trainer = BlockTrainer(net, [((0, 2),), ((1, 1),)], SPACE, settings, 5, objective)
    loss = objective.loss
    objective.loss = lambda *args: seen.append(args[2]) or loss(*args)
    for _ in range(3):
        trainer.step(*batch)
    assert seen == [((0, 2),), ((1, 1),), ((0, 2),)]
