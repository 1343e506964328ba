from __future__ import annotations

import copy
import logging
import random
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_nasr.nets import Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.dealing import Deal, run_dealt
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.objective import Objective
from recbole_nasr.search.skipping import SkippingAdamW, StepDecay
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Path, SearchSpace

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
NAMES = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
SPACE = SearchSpace(NAMES, (2, 1))
DRAWS: list[list[Path]] = [
    [(0, 1), (2, 3), (1, 0), (3, 2)],  # each operation once
    [(0, 1), (0, 1), (0, 1), (0, 1)],  # one path four times
    [(3, 0), (3, 1), (2, 1), (0, 1)],
    [(2, 2)],
    [(1, 3), (1, 0), (3, 0)],
]


def test_every_path_of_every_draw_has_its_place() -> None:
    rng = random.Random(0)
    for n_paths in range(1, 6):
        paths = [tuple(rng.randrange(4) for _ in range(3)) for _ in range(n_paths)]
        deal = Deal.of(paths, 4)
        for depth, path in product(range(3), range(n_paths)):
            place = int(deal.place[depth, path])
            assert place // deal.n_places == paths[path][depth]
            assert deal.taken[depth, place] == path
        used = [[float(all(path[depth] != op for path in paths)) for op in range(4)] for depth in range(3)]
        assert deal.unused.tolist() == used


@pytest.mark.parametrize(("draw", "n_places"), list(zip(DRAWS, (1, 4, 3, 1, 2), strict=True)))
def test_as_many_places_are_made_as_the_most_used_operation_needs(draw: list[Path], n_places: int) -> None:
    deal = Deal.of(draw, 4)
    assert deal.n_places == n_places
    assert deal.taken.shape == (2, 4 * n_places)


@pytest.mark.parametrize("draw", DRAWS)
def test_dealt_paths_have_the_outputs_and_gradients_of_one_path_at_a_time(draw: list[Path], make_net: MakeNet) -> None:
    block = make_net((2,), dropout_prob=0.0).block(0)
    hidden = torch.randn(len(draw), 3, 5, 8, generator=torch.Generator().manual_seed(1))
    found = run_dealt(block, hidden, Deal.of(draw, 4))
    expected = torch.stack([block(rows, path) for rows, path in zip(hidden, draw, strict=True)])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    parameters = list(block.layers.parameters())
    ours, theirs = (
        torch.autograd.grad(outputs.square().sum(), parameters, allow_unused=True) for outputs in (found, expected)
    )
    for own, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, torch.zeros_like(own) if other is None else other, atol=1e-4, rtol=1e-4)


def net_of(objective: str, space: SearchSpace) -> Supernet:
    torch.manual_seed(3)
    settings = LayerSettings(hidden_size=8, dropout_prob=0.0)
    net = Supernet(space, n_items=30, max_length=10, settings=settings, softmax=objective == "next_item")
    for module in net.modules():
        if isinstance(module, GatedResidual):
            nn.init.constant_(module.scale, 0.5)
    return net.double()  # so that Adam, which divides by small numbers, cannot enlarge rounding


def trainer_of(
    acceleration: Acceleration, chosen: list[Path], *, space: SearchSpace = SPACE, **settings: Any
) -> BlockTrainer:
    how = SearchSettings(**{"batch_size": 6, "weight_decay": 0.1, "decay_steps": 2, **settings})
    net = net_of(how.objective, space)
    objective: Objective = {"contrastive": Contrastive, "next_item": NextItem}[how.objective](net, how, 5)
    objective.acceleration = acceleration
    return BlockTrainer(net, [tuple(chosen)], space, how, 5, objective)


SETTINGS: list[dict[str, Any]] = [
    {},
    {"path_sampling": "fair"},
    {"symmetric": True, "target_momentum": 0.9, "leave_one_out": True},
    {"objective": "next_item", "n_paths": 4},
    {"objective": "next_item", "n_paths": 3, "path_sampling": "fair"},
    {"n_paths": 2},
]


@pytest.mark.parametrize(
    ("settings", "chosen"),
    [*((settings, []) for settings in SETTINGS), (SETTINGS[0], [(0, 2)]), (SETTINGS[4], [(0, 2)])],
)
def test_dealt_steps_learn_what_plain_ones_do(
    settings: dict[str, Any], chosen: list[Path], make_sequences: MakeSequences
) -> None:
    sequences, losses, states = make_sequences(13), [], []
    for acceleration in (Acceleration(), Acceleration(graphs=True)):  # on a CPU the same step, not captured
        trainer = trainer_of(acceleration, chosen, **settings)
        assert (trainer.dealt is not None) == acceleration.graphs
        losses.append(trainer.train(sequences, "test"))
        states.append(trainer.supernet.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for name, value in states[1].items():
        torch.testing.assert_close(value, states[0][name], atol=1e-5, rtol=1e-5, msg=name)


def test_an_operation_on_no_path_keeps_every_bit_despite_weight_decay_and_momentum(
    make_sequences: MakeSequences,
) -> None:
    trainer, sequences = trainer_of(Acceleration(graphs=True), [], n_paths=2), make_sequences(6)
    rows = torch.arange(6)
    draws: list[list[Path]] = []
    draw = trainer.sampler.draw
    trainer.sampler.draw = lambda n: draws.append(draw(n)) or draws[-1]
    for _ in range(4):
        before = copy.deepcopy(trainer.supernet.state_dict())
        trainer.step(sequences.item_seq, sequences.item_seq_len, rows)
        after = trainer.supernet.state_dict()
        moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
        operations = {tuple(map(int, name.split(".")[3:5])) for name in moved if ".layers." in name}
        assert operations == {(layer, op) for path in draws[-1] for layer, op in enumerate(path)}


@pytest.mark.parametrize("settings", SETTINGS[:4])
def test_a_dealt_step_never_waits_for_the_device(
    settings: dict[str, Any], make_sequences: MakeSequences, no_synchronisation: Any
) -> None:
    trainer, sequences = trainer_of(Acceleration(graphs=True), [(0, 2)], **settings), make_sequences(6)
    trainer.objective.train_on(sequences, trainer.prefixes)
    rows = torch.arange(6)
    with no_synchronisation:
        for _ in range(2):
            trainer.step(sequences.item_seq, sequences.item_seq_len, rows)


def test_dealt_and_compiled_all_draws_share_one_code_per_operation(make_sequences: MakeSequences) -> None:
    torch._dynamo.reset()
    n_compiled: list[int] = []

    def backend(graph: Any, _inputs: Any) -> Any:
        n_compiled.append(1)
        return graph.forward

    acceleration = Acceleration(backend=backend, graphs=True)
    space = SearchSpace(("transformer_h2", "tcn_d1"), (2,))
    trainer, sequences = trainer_of(acceleration, [], space=space, n_paths=2), make_sequences(6)
    acceleration.compile_operations(trainer.supernet)
    draws: list[list[Path]] = [[(0, 1), (1, 0)], [(0, 1), (0, 0)]]  # one place, two places
    draws += [[first, second] for first, second in product(space.paths(0), repeat=2)]
    counts = []
    for draw in draws:
        trainer.sampler.draw = lambda _, paths=draw: paths
        trainer.step(sequences.item_seq, sequences.item_seq_len, torch.arange(6))
        counts.append(len(n_compiled))
    assert counts[0] > 0
    assert set(counts[1:]) == {counts[1]}  # with a second shape torch compiles once more, for any


def test_with_many_operations_and_few_paths_steps_are_not_dealt_and_it_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        assert trainer_of(Acceleration(graphs=True), [], n_paths=1).dealt is None
    assert "cuda_graphs: off in the search, since of 4 operations in a layer 1 paths use few" in caplog.text
    assert trainer_of(Acceleration(graphs=True, required=True), [], n_paths=1).dealt is not None


def test_training_goes_on_from_the_state_of_dealt_steps(make_sequences: MakeSequences) -> None:
    sequences = make_sequences(6)
    whole, first, second = (trainer_of(Acceleration(graphs=True), []) for _ in range(3))

    def step(trainer: BlockTrainer) -> Tensor:
        return trainer.step(sequences.item_seq, sequences.item_seq_len, torch.arange(6))

    for _ in range(5):
        last = step(whole)
    for _ in range(3):
        step(first)
    second.supernet.load_state_dict(first.supernet.state_dict())
    second.restore(copy.deepcopy(first.state()))
    step(second)
    assert torch.equal(step(second), last)
    for name, value in second.supernet.state_dict().items():
        assert torch.equal(value, whole.supernet.state_dict()[name]), name


@pytest.mark.parametrize("skipped", [(), (0,), (1,), (0, 1)])
def test_a_skipped_group_is_as_one_without_gradient(skipped: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(3)) for _ in range(3)]
    theirs = [nn.Parameter(parameter.detach().clone()) for parameter in ours]
    optimizer = SkippingAdamW(ours[:1], [[ours[1]], [], [ours[2]]], lr=0.1, weight_decay=0.1)
    expected = torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.1)
    for step in range(4):
        left_out = skipped if step != 1 else ()
        optimizer.unused = torch.tensor([float(0 in left_out), 1.0, float(1 in left_out)])
        for index, (own, other) in enumerate(zip(ours, theirs, strict=True)):
            own.grad = torch.randn(3)
            other.grad = None if index - 1 in left_out else own.grad.clone()
        optimizer.step()
        expected.step()
        for own, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(own, other)
    assert len(optimizer.param_groups) == 3


def test_the_rate_of_a_tensor_falls_in_place_like_that_of_a_number() -> None:
    parameter = nn.Parameter(torch.zeros(1))
    plain = torch.optim.AdamW([parameter], lr=0.1)
    on_device = torch.optim.AdamW([parameter], lr=0.1)
    rate = on_device.param_groups[0]["lr"] = torch.tensor(0.1)
    schedules = [StepDecay(optimizer, 2, 0.5) for optimizer in (plain, on_device)]
    rates = []
    for _ in range(5):
        for schedule in schedules:
            schedule.step()
        rates.append(plain.param_groups[0]["lr"])
        assert float(rate) == pytest.approx(rates[-1])
    assert rates == pytest.approx([0.1, 0.05, 0.05, 0.025, 0.025])


def test_a_rate_on_the_device_stays_in_its_place_when_a_state_is_loaded() -> None:
    optimizers = [SkippingAdamW([nn.Parameter(torch.zeros(1))], [], lr=0.1, weight_decay=0.0) for _ in range(2)]
    rates = []
    for optimizer, value in zip(optimizers, (0.1, 0.025), strict=True):
        (group,) = optimizer.param_groups
        group["lr"] = torch.tensor(value)  # as on a GPU
        rates.append(group["lr"])
    optimizers[0].load_state_dict(copy.deepcopy(optimizers[1].state_dict()))
    assert optimizers[0].param_groups[0]["lr"] is rates[0]
    assert float(rates[0]) == float(rates[1])


HOW: list[dict[str, Any]] = [
    {},
    {"path_sampling": "fair", "symmetric": True, "target_momentum": 0.9, "augmentations": ("mask", "crop", "reorder")},
    {"objective": "next_item", "augmentations": ("mask",)},
]


@pytest.mark.parametrize("how", HOW)
def test_replayed_steps_learn_to_the_last_bit_what_steps_that_are_run_do(
    how: dict[str, Any], make_sequences: MakeSequences, tapes: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    states, losses, sequences = [], [], make_sequences(26)
    for captured in (False, True):
        torch.manual_seed(1)  # of dropout too
        objective_class = NextItem if how.get("objective") == "next_item" else Contrastive
        net = net_of(how.get("objective", "contrastive"), SPACE)
        settings = SearchSettings(batch_size=13, epochs=10, decay_steps=4, **how)
        objective = objective_class(net, settings, 5)
        objective.acceleration = Acceleration(graphs=True, required=True)
        trainer = BlockTrainer(net, [()], SPACE, settings, 5, objective)
        for group in trainer.optimizer.param_groups:  # as on a GPU
            group["lr"] = torch.tensor(settings.learning_rate)
        if not captured:
            monkeypatch.setattr(trainer.dealt._step, "_enabled", False)
        losses.append(trainer.train(sequences, "test"))
        states.append(net.state_dict())
        assert bool(tapes) == captured
    assert sum(tape.n_replays > 1 for tape in tapes) >= (1 if "path_sampling" in how else 2)  # one number of places
    assert losses[0] == losses[1]
    for name, value in states[1].items():
        assert torch.equal(value, states[0][name]), name
