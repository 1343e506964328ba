"""The main pieces on a CUDA device; all skipped without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recbole_nasr.determinism import be_deterministic
from recbole_nasr.nets import HybridNet, Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.graphs import GraphedStep
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.trainer.batches import SequenceBatches

pytestmark = pytest.mark.gpu

SPACE = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2,))


@pytest.fixture
def no_waiting() -> Iterator[Callable[[], None]]:
    """Return a function after which anything that waits for the device raises."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


def sequences(n: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.randint(1, 13, (n,))
    return torch.where(torch.arange(12) < lengths.unsqueeze(1), torch.randint(1, 40, (n, 12)), 0), lengths


def opened(net: torch.nn.Module) -> torch.nn.Module:
    for module in net.modules():
        if isinstance(module, GatedResidual):
            torch.nn.init.constant_(module.scale, 0.5)
    return net.eval()


@pytest.mark.parametrize("name", ["transformer_h4", "tcn_d1_4", "gru4rec"])
def test_scores_of_the_same_weights_agree_with_the_cpu(name: str) -> None:
    net = HybridNet(
        Architecture.parse(f"{name},{name}"), n_items=40, max_length=12, settings=LayerSettings(hidden_size=16)
    )
    item_seq, lengths = sequences()
    with torch.no_grad(), Acceleration().products():  # cuDNN's own default is TF32
        expected = opened(net).scores(item_seq, lengths)
        found = net.cuda().scores(item_seq.cuda(), lengths.cuda()).cpu()
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def test_path_scores_of_the_same_weights_agree_with_the_cpu() -> None:
    net = opened(Supernet(SPACE, n_items=40, max_length=12, settings=LayerSettings(hidden_size=16)))
    views = sequences(), sequences()
    paths = list(SPACE.paths(0))
    expected, _ = rank_paths(net, [()], views, paths, batch_size=7, progress=Progress())
    on_device = tuple((view[0].cuda(), view[1].cuda()) for view in views)
    found, _ = rank_paths(net.cuda(), [()], on_device, paths, batch_size=7, progress=Progress())
    torch.testing.assert_close(found.mean(dim=1), expected.mean(dim=1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", ["gru", "gru4rec"])
def test_a_recurrence_is_not_computed_in_fp16_where_bf16_was_asked_for(name: str) -> None:
    layer = build_operation(name, LayerSettings(hidden_size=16)).cuda()
    hidden = torch.randn(2, 5, 16, device="cuda")
    with Acceleration().products():
        expected = layer.eval()(hidden)
        with Acceleration("bf16").training(torch.device("cuda")):
            found = layer(hidden)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("reproducible", [False, True])
def test_a_search_step_never_waits_for_the_device(reproducible: bool, no_waiting: Callable[[], None]) -> None:
    if reproducible:
        be_deterministic(torch.device("cuda"), strict=True)
    net = Supernet(SPACE, n_items=40, max_length=12, settings=LayerSettings(hidden_size=16)).cuda()
    settings = SearchSettings(augmentations=("mask", "crop", "reorder"))
    trainer = BlockTrainer(net, [()], SPACE, settings, 1, Contrastive(net, settings, 1))
    item_seq, lengths = (tensor.cuda() for tensor in sequences())
    trainer.step(item_seq, lengths)  # the first step makes the state of the optimiser
    no_waiting()
    trainer.step(item_seq, lengths)


def test_a_training_step_never_waits_for_the_device(
    assemble: Callable[..., SimpleNamespace], toy: Path, no_waiting: Callable[[], None]
) -> None:
    run = assemble("NASR", toy, gpu_id="0")
    batches = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cuda")
    rows = torch.arange(6, device="cuda")
    run.trainer.train_step(*batches.gather(rows))
    no_waiting()
    run.trainer.train_step(*batches.gather(rows))


def most_apart(learning_rate: float, n_steps: int) -> float:
    """How far two equal trainings can part in one weight.

    Adam moves a weight by about its rate a step, also where the gradient is nothing but rounding, as that of a bias of
    keys: there the two may move in opposite directions at every step.
    """
    return 2 * learning_rate * n_steps


def test_a_captured_training_step_learns_what_a_plain_one_does(
    assemble: Callable[..., SimpleNamespace], toy: Path
) -> None:
    how: dict[str, Any] = {"hidden_dropout_prob": 0.0, "precision": "fp32", "compile": False, "epochs": 6}
    runs = [assemble("NASR", toy, gpu_id="0", cuda_graphs=graphs, **how) for graphs in (False, True)]
    for run in runs:
        run.trainer.fit(run.train, run.valid, saved=False)
    plain, captured = runs
    assert captured.trainer.speed._graphed._captured
    n_steps = captured.trainer._average.n_steps
    assert n_steps == plain.trainer._average.n_steps
    losses = [list(run.trainer.train_loss_dict.values()) for run in runs]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
    for name, value in captured.model.state_dict().items():
        expected = plain.model.state_dict()[name]
        torch.testing.assert_close(value, expected, atol=most_apart(1e-3, n_steps), rtol=0, msg=name)


ALL_VIEWS = ("mask", "crop", "reorder")
HOW: list[dict[str, Any]] = [
    {},
    {"path_sampling": "fair", "symmetric": True, "target_momentum": 0.9, "augmentations": ALL_VIEWS},
]


def trained_both_ways(backend: str, **how: Any) -> list[BlockTrainer]:
    """Train plainly, and captured; return the trainers."""
    item_seq, lengths = (tensor.cuda() for tensor in sequences(26))
    data = SearchSequences(item_seq, lengths, torch.arange(26, device="cuda"))
    trainers = []
    for acceleration in (Acceleration(), Acceleration(backend=backend, graphs=True, required=True)):
        torch.manual_seed(1)
        settings = SearchSettings(batch_size=13, epochs=12, **how)
        layers = LayerSettings(hidden_size=16, dropout_prob=0.0)
        net = opened(Supernet(SPACE, n_items=40, max_length=12, settings=layers)).cuda()
        objective = Contrastive(net, settings, 1)
        objective.acceleration = acceleration
        acceleration.compile_operations(net)
        trainers.append(BlockTrainer(net, [()], SPACE, settings, 1, objective))
        trainers[-1].train(data, "test")
        assert not acceleration.graphs or trainers[-1].dealt._step._captured
    return trainers


@pytest.mark.parametrize(("backend", "reproducible"), [("", False), ("", True), ("inductor", False)])
@pytest.mark.parametrize("how", HOW)
def test_captured_search_steps_have_the_losses_and_gradients_of_plain_ones(
    how: dict[str, Any], backend: str, reproducible: bool
) -> None:
    if reproducible:  # RecBole's default, with other kernels for what is picked and added up
        be_deterministic(torch.device("cuda"), strict=True)
    plain, captured = trained_both_ways(backend, learning_rate=1e-9, **how)  # weights stay as they are
    assert captured.losses == pytest.approx(plain.losses, rel=1e-5)
    if "path_sampling" in how:  # one graph: the gradients are those of its last step
        pairs = list(zip(captured.parameters, plain.parameters, strict=True))
        difference = sum(float((a.grad - b.grad).square().sum()) for a, b in pairs)
        assert difference**0.5 <= 1e-4 * sum(float(b.grad.square().sum()) for _, b in pairs) ** 0.5


@pytest.mark.parametrize("how", HOW)
def test_a_captured_search_learns_what_a_plain_one_does(how: dict[str, Any]) -> None:
    plain, captured = trained_both_ways("", **how)
    assert captured.losses == pytest.approx(plain.losses, rel=1e-2)
    for name, value in captured.supernet.state_dict().items():
        expected = plain.supernet.state_dict()[name]
        torch.testing.assert_close(value, expected, atol=most_apart(1e-3, 24), rtol=0, msg=name)


@pytest.mark.parametrize("wait", [lambda x: float(x.sum()), lambda _: torch.cuda.synchronize()])
def test_a_step_that_waits_runs_uncaptured_and_goes_on_drawing(wait: Callable[[Any], Any], caplog: Any) -> None:
    rng = torch.Generator("cuda").manual_seed(1)

    def function(x: torch.Tensor) -> torch.Tensor:
        wait(x)
        return torch.nn.functional.dropout(x).sum() + torch.rand((), device="cuda", generator=rng)

    step = GraphedStep(function, "step", generators=[rng])
    with caplog.at_level("WARNING", logger="recbole_nasr"):
        found = [float(step(torch.ones(100, device="cuda"))) for _ in range(8)]
    assert len(set(found)) == 8
    assert [record.message.split(":")[0] for record in caplog.records] == ["cuda_graphs"]
    assert "previous error" not in caplog.text  # but what that was
    torch.cuda.empty_cache()  # torch is in order, and so is the next step
    other = GraphedStep(lambda x: torch.nn.functional.dropout(x).sum(), "step", required=True)
    assert len({float(other(torch.ones(100, device="cuda"))) for _ in range(8)}) > 1


def test_a_capture_that_runs_out_of_memory_is_given_up_and_torch_goes_on_drawing() -> None:
    def function(x: torch.Tensor) -> torch.Tensor:
        dropped = torch.nn.functional.dropout(x)
        if torch.cuda.is_current_stream_capturing():
            raise torch.cuda.OutOfMemoryError
        return dropped.sum()

    step = GraphedStep(function, "step")
    assert len({float(step(torch.ones(1000, device="cuda"))) for _ in range(8)}) > 1
    other = GraphedStep(lambda x: torch.nn.functional.dropout(x).sum(), "step", required=True)
    assert len({float(other(torch.ones(1000, device="cuda"))) for _ in range(8)}) > 1


def test_memory_of_captured_steps_is_given_back() -> None:
    step = GraphedStep(lambda x: (x @ x).relu().sum(), "step", required=True)
    values = torch.ones(2048, 2048, device="cuda")
    for _ in range(6):
        step(values)
    held = torch.cuda.memory_allocated()
    step.release()
    assert torch.cuda.memory_allocated() <= held - values.nbytes  # its copy of the input
    assert float(step(values)) == 2048.0**3


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_a_step_on_another_gpu_than_the_present_one_is_captured_there() -> None:
    weight = torch.zeros((), device="cuda:1")
    step = GraphedStep(lambda x: weight.add_(x).clone(), "step", required=True)
    found = [float(step(torch.ones((), device="cuda:1"))) for _ in range(8)]
    assert found == [float(number) for number in range(1, 9)]


def test_a_search_draws_new_views_whenever_a_step_is_replayed() -> None:
    item_seq, lengths = (tensor.cuda() for tensor in sequences(13))
    settings = SearchSettings(batch_size=13, path_sampling="fair", learning_rate=1e-9)
    net = opened(Supernet(SPACE, n_items=40, max_length=12, settings=LayerSettings(hidden_size=16))).cuda()
    objective = Contrastive(net, settings, 1)
    objective.acceleration = Acceleration(graphs=True, required=True)
    trainer = BlockTrainer(net, [()], SPACE, settings, 1, objective)
    rows = torch.arange(13, device="cuda")
    losses = [float(trainer.step(item_seq, lengths, rows)) for _ in range(12)]
    assert len(set(losses[-6:])) == 6


def test_stacked_path_scores_agree_with_one_path_at_a_time() -> None:
    net = opened(Supernet(SPACE, n_items=40, max_length=12, settings=LayerSettings(hidden_size=16))).cuda()
    views = tuple((view[0].cuda(), view[1].cuda()) for view in (sequences(), sequences()))
    paths = list(SPACE.paths(0))
    plain, stacked = (
        rank_paths(net, [()], views, paths, batch_size=7, progress=Progress(), at_a_time=number)[0]
        for number in (0, None)
    )
    torch.testing.assert_close(stacked, plain, atol=1e-5, rtol=0)


@pytest.mark.parametrize("metric", ["loss", "ndcg@5"])
def test_stacked_scores_by_the_next_item_agree_with_the_cpu(metric: str) -> None:
    torch.manual_seed(1)
    layers = LayerSettings(hidden_size=16, dropout_prob=0.0)
    net = opened(Supernet(SPACE, n_items=40, max_length=12, settings=layers, softmax=True))
    item_seq, lengths = sequences()
    found = []
    for device in ("cpu", "cuda"):
        settings = SearchSettings(objective="next_item", ranking_metric=metric, ranking_batch_size=7)
        objective = NextItem(net.to(device), settings, 1)
        objective.hold(SearchSequences(item_seq, lengths, torch.arange(16)).to(device))
        found.append(objective.score([()], list(SPACE.paths(0)), Progress()).values.mean(dim=-1))
    torch.testing.assert_close(found[1], found[0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("how", [{"precision": "fp32", "compile": False}, {}, {"reproducibility": False}])
def test_search_training_and_evaluation_give_finite_metrics(
    how: dict[str, Any], assemble: Callable[..., SimpleNamespace], toy: Path
) -> None:
    run = assemble("NASRSearch", toy, gpu_id="0", **how)
    assert run.model.network.output.weight.is_cuda
    score, _ = run.trainer.fit(run.train, run.valid)
    assert run.trainer.search_result.architecture == run.model.architecture
    assert run.model.network.output.weight.is_cuda
    assert 0 <= score <= 1
    assert all(0 <= value <= 1 for value in run.trainer.evaluate(run.test).values())
