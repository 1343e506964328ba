from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_nasr.errors import NumericalError
from recbole_nasr.nets import Supernet
from recbole_nasr.progress import Progress
from recbole_nasr.rng import derive_seed
from recbole_nasr.search import SearchSequences, SearchSettings, contrastive
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Path, SearchSpace

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
PATHS = [(0, 2), (3, 1)]


def trainer_of(net: Supernet, chosen: list[Path] | None = None, **settings: Any) -> BlockTrainer:
    names = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
    space = SearchSpace(names, tuple(len(block.layers) for block in net.blocks))
    how = SearchSettings(**{"batch_size": 6, **settings})
    return BlockTrainer(net, [tuple(chosen or [])], space, how, 5, Contrastive(net, how, 5))


def loss_of(trainer: BlockTrainer, batch: tuple[Tensor, Tensor]) -> Tensor:
    return trainer.objective.loss(*batch, trainer.prefixes[0], PATHS)


@pytest.fixture
def batch(make_sequences: MakeSequences) -> tuple[Tensor, Tensor]:
    sequences = make_sequences(12)
    return sequences.item_seq, sequences.item_seq_len


def test_the_loss_is_the_mean_distance_of_every_path_to_their_ensemble(
    make_net: MakeNet, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes, distances = [], []
    ensemble, distance = contrastive.path_ensemble_target, contrastive.distance
    monkeypatch.setattr(contrastive, "path_ensemble_target", lambda p, **_: shapes.append(p.shape) or ensemble(p))
    monkeypatch.setattr(contrastive, "distance", lambda p, t: distances.append(distance(p, t)) or distances[-1])
    loss = loss_of(trainer_of(make_net()), batch)
    assert shapes == [(2, 12, 8)]
    assert [tuple(values.shape) for values in distances] == [(12,), (12,)]
    torch.testing.assert_close(loss, torch.cat(distances).mean())
    assert 0 <= loss.item() <= 4


def gradients(trainer: BlockTrainer, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    torch.manual_seed(0)
    torch.autograd.backward(loss_of(trainer, batch))
    named = trainer.supernet.named_parameters()
    return {name: parameter.grad for name, parameter in named if parameter.grad is not None}


def test_the_gradient_is_that_towards_a_constant_target(
    make_net: MakeNet, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    targets, ensemble = [], contrastive.path_ensemble_target
    monkeypatch.setattr(contrastive, "path_ensemble_target", lambda p, **_: targets.append(ensemble(p)) or targets[-1])
    found = gradients(trainer_of(make_net()), batch)
    constant = torch.tensor(targets[0].tolist())
    monkeypatch.setattr(contrastive, "path_ensemble_target", lambda _, **__: constant)
    expected = gradients(trainer_of(make_net()), batch)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert any(gradient.any() for gradient in found.values())


def test_without_the_student_there_is_no_gradient(
    make_net: MakeNet, batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    distance = contrastive.distance
    monkeypatch.setattr(contrastive, "distance", lambda p, t: distance(p.detach(), t))
    assert not loss_of(trainer_of(make_net()), batch).requires_grad


def test_padding_changes_no_loss(make_net: MakeNet, batch: tuple[Tensor, Tensor]) -> None:
    item_seq, lengths = batch
    losses = []
    for padding in (0, 7):
        trainer = trainer_of(make_net(dropout_prob=0.0), augmentation_ratio=1.0)  # every item masked, no chance
        padded = torch.where(item_seq > 0, item_seq, padding)
        losses.append(loss_of(trainer, (padded, lengths)).item())
    assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def changed(net: Supernet, before: dict[str, Tensor]) -> set[str]:
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_step_changes_its_block_alone_and_with_block_0_the_embedding(
    index: int, make_net: MakeNet, batch: tuple[Tensor, Tensor]
) -> None:
    net = make_net((2, 1, 1))
    before = copy.deepcopy(net.state_dict())
    trainer_of(net, [(0, 2), (3,)][:index], weight_decay=0.1).step(*batch)
    parts = {".".join(name.split(".")[:2]).removesuffix(".weight") for name in changed(net, before)}
    assert {part.split(".")[0] if "embedding" in part else part for part in parts} == {
        f"blocks.{index}",
        *(["embedding"] if index == 0 else []),
    }
    assert not changed(net, before) & {"embedding.items.weight"} or index == 0


def test_operations_on_no_path_sampled_for_a_step_keep_every_bit_despite_weight_decay_and_momentum(
    make_net: MakeNet, batch: tuple[Tensor, Tensor]
) -> None:
    net = make_net((3,))
    trainer = trainer_of(net, n_paths=2, weight_decay=0.1)
    rng = random.Random(derive_seed(5, "search/paths/0"))
    for _ in range(3):  # a later step finds gradients and momentum of an earlier one
        before = copy.deepcopy(net.state_dict())
        paths = trainer.sampler.space.sample_paths(0, 2, rng)
        trainer.step(*batch)
        operations = {tuple(map(int, name.split(".")[3:5])) for name in changed(net, before) if ".layers." in name}
        assert operations == {(layer, op) for path in paths for layer, op in enumerate(path)}


def test_other_blocks_are_frozen_and_in_eval_mode_and_the_trained_one_has_dropout(make_net: MakeNet) -> None:
    net = make_net((1, 1, 1)).train()
    trainer_of(net, [(0,)])
    for part in (*net.blocks, net.embedding):
        trained = part is net.blocks[1]
        assert part.training == trained
        assert all(weight.requires_grad == trained for weight in part.parameters())


def test_a_step_never_waits_for_the_device(
    make_net: MakeNet, batch: tuple[Tensor, Tensor], no_synchronisation: Any
) -> None:
    for chosen in ([], [(0, 2)]):
        trainer = trainer_of(make_net((2, 2)), chosen, augmentations=("mask", "crop", "reorder"), weight_decay=0.1)
        with no_synchronisation:
            trainer.step(*batch)
            trainer.step(*batch)


def test_a_narrow_predictor_starts_without_exploding_gradients(make_net: MakeNet, batch: tuple[Tensor, Tensor]) -> None:
    # With a zero bias a bottleneck of two puts out the zero vector for a quarter of the rows.
    found = gradients(trainer_of(make_net(scale=0.0)), batch)
    assert max(float(gradient.abs().max()) for gradient in found.values()) < 100


def test_the_learning_rate_decays_in_steps(make_net: MakeNet, batch: tuple[Tensor, Tensor]) -> None:
    trainer = trainer_of(make_net(), learning_rate=0.1, learning_rate_decay=0.5, decay_steps=2)
    rates = []
    for _ in range(5):
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        trainer.step(*batch)
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025])


@pytest.mark.parametrize(
    ("n", "batch_size", "expected"),
    [(12, 6, [6, 6]), (13, 6, [5, 4, 4]), (4, 100, [4]), (5, 2, [3, 2]), (3, 2, [3]), (2, 2, [2])],
)
def test_an_epoch_takes_every_sequence_once_in_near_equal_batches_never_alone(
    n: int,
    batch_size: int,
    expected: list[int],
    make_net: MakeNet,
    make_sequences: MakeSequences,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trainer, seen = trainer_of(make_net(), batch_size=batch_size), []
    step = trainer.step

    def spy(item_seq: Tensor, lengths: Tensor, rows: Tensor) -> Tensor:
        assert torch.equal(sequences.item_seq[rows], item_seq)
        seen.append(item_seq)
        return step(item_seq, lengths, rows)

    monkeypatch.setattr(trainer, "step", spy)
    sequences = make_sequences(n)
    trainer.epoch(sequences, Progress())
    assert [len(rows) for rows in seen] == expected
    assert len(seen) == trainer.n_steps(n)
    assert sorted(torch.cat(seen).tolist()) == sorted(sequences.item_seq.tolist())
    assert n < 10 or not torch.equal(torch.cat(seen), sequences.item_seq), "in random order"


def test_training_lowers_the_loss(make_net: MakeNet, make_sequences: MakeSequences) -> None:
    trainer, sequences = trainer_of(make_net(), batch_size=16, learning_rate=0.01), make_sequences(48)
    losses = [trainer.epoch(sequences, Progress()) for _ in range(12)]
    assert sum(losses[-3:]) < sum(losses[:3]) - 0.3


def test_a_loss_that_is_not_finite_stops_the_search(make_net: MakeNet, make_sequences: MakeSequences) -> None:
    net = make_net()
    torch.nn.init.constant_(net.block(0).predictor[-1].bias, torch.nan)
    with pytest.raises(NumericalError, match=r"became nan in the training of block 1, epoch 1, batch 1 of"):
        trainer_of(net).epoch(make_sequences(12), Progress())


def test_weights_that_are_not_finite_after_the_last_step_stop_the_search_and_are_not_saved(
    make_net: MakeNet, make_sequences: MakeSequences
) -> None:
    trainer = trainer_of(make_net())
    step = trainer.step

    def last(*args: Tensor) -> Tensor:
        loss = step(*args)
        with torch.no_grad():
            trainer.supernet.embedding.items.weight[5, 0] = torch.inf
        return loss

    trainer.step = last
    message = r"embedding\.items\.weight became NaN or infinite in the training of block 1, epoch 1, by batch 1 of"
    with pytest.raises(NumericalError, match=message):
        trainer.epoch(make_sequences(6), Progress())
    with pytest.raises(NumericalError, match=message):
        trainer.state()
