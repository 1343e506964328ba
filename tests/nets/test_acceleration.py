from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from recbole_nasr.errors import ConfigError
from recbole_nasr.nets import HybridNet, acceleration, graphs
from recbole_nasr.nets.acceleration import Acceleration, choose
from recbole_nasr.nets.graphs import GraphedStep
from recbole_nasr.nets.losses import LossWatch, bad_weight
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.space import Architecture

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ALL = "transformer_h2,transformer_h4,tcn_d1_2,tcn_d1_4"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that pretends there is a GPU of some generation, with or without Triton."""

    def pretend(capability: tuple[int, int] = (9, 0), triton: object = True) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
        monkeypatch.setattr(acceleration, "find_spec", lambda _: triton)
        monkeypatch.setattr(acceleration, "_TORCH", (2, 5))
        found = acceleration._failure_to_compile
        monkeypatch.setattr(
            acceleration,
            "_failure_to_compile",
            lambda backend, device: "" if device == "cuda" else found(backend, device),
        )

    return pretend


def test_a_cpu_runs_plain_fp32_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose(CPU) == Acceleration() == Acceleration("fp32", "", graphs=False)
    assert not caplog.records


def test_a_gpu_trains_in_bf16_compiled_and_in_graphs(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu()
    with caplog.at_level(logging.INFO):
        found = choose(GPU)
    assert found == Acceleration("bf16", "inductor", graphs=True)
    assert str(found) == "bf16, compiled, CUDA graphs"
    assert not caplog.records


def test_what_a_gpu_lacks_is_left_out_with_a_reason_each(gpu: Any, caplog: pytest.LogCaptureFixture) -> None:
    gpu((7, 5), triton=None)
    with caplog.at_level(logging.INFO):
        assert choose(GPU, n_processes=2) == Acceleration()
    assert [record.getMessage() for record in caplog.records] == [
        "precision: fp32, since Old GPU has no fast bf16 and TF32",
        "compile: off, since triton is not installed",
        "cuda_graphs: off, since 2 processes exchange gradients within a step",
    ]


@pytest.mark.parametrize(
    ("device", "asked", "message"),
    [
        (CPU, {"precision": "tf32"}, "`precision: tf32` cannot be had: it is for NVIDIA GPUs, and the device is cpu"),
        (CPU, {"precision": "fp16"}, "`precision` must be one of auto, fp32, tf32, bf16, but is 'fp16'"),
        (CPU, {"graphs": True}, "`cuda_graphs: True` cannot be had: the device is cpu"),
        (CPU, {"graphs": "on"}, "`cuda_graphs` must be auto, True or False, but is 'on'"),
        (CPU, {"compiled": "indctor"}, "`compile: indctor` cannot be had"),
        (CPU, {"compiled": 3}, "`compile` must be auto, True, False or a backend of torch.compile, but is 3"),
        (GPU, {"graphs": True, "n_processes": 2}, "cannot be had: 2 processes exchange gradients"),
        (GPU, {"precision": "bf16"}, "`precision: bf16` cannot be had: Old GPU has no fast bf16 and TF32"),
        (GPU, {"compiled": True}, "`compile: True` cannot be had: triton is not installed"),
    ],
)
def test_what_cannot_be_had_is_refused(device: torch.device, asked: dict[str, Any], message: str, gpu: Any) -> None:
    gpu((7, 5), triton=None)
    with pytest.raises(ConfigError, match=message):
        choose(device, **asked)


def test_what_a_gpu_fails_to_compile_leaves_compiling_out_and_is_an_error_where_it_was_asked_for(
    gpu: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gpu()
    monkeypatch.setattr(acceleration, "_failure_to_compile", lambda backend, device: f"{backend} on {device}: no gcc")
    with caplog.at_level(logging.INFO):
        assert not choose(GPU).backend
    assert [record.getMessage() for record in caplog.records] == ["compile: off, since inductor on cuda: no gcc"]
    with pytest.raises(ConfigError, match="`compile: True` cannot be had: inductor on cuda: no gcc"):
        choose(GPU, compiled=True)


def test_whether_a_gpu_can_compile_is_found_by_compiling_for_it() -> None:
    assert acceleration._failure_to_compile("eager", "cpu") == ""
    assert (acceleration._failure_to_compile("eager", "cuda") == "") == torch.cuda.is_available()


def test_early_torch_which_would_compile_every_layer_for_itself_compiles_nothing_on_a_gpu(
    gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu()
    monkeypatch.setattr(acceleration, "_TORCH", (2, 4))
    assert not choose(GPU).backend


def test_compiling_on_a_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceleration.shutil, "which", lambda _: None)
    with pytest.raises(ConfigError, match="there is no C\\+\\+ compiler"):
        choose(CPU, compiled=True)


@pytest.mark.parametrize(("precision", "inside"), [("fp32", "highest"), ("tf32", "high"), ("bf16", "highest")])
def test_products_are_exact_but_with_tf32_and_torch_is_put_back(precision: str, inside: str) -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with Acceleration(precision).products():
        assert torch.get_float32_matmul_precision() == inside
        assert torch.backends.cudnn.allow_tf32 == (precision == "tf32")
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before


def test_a_weight_used_without_gradient_first_still_gets_one_in_half_precision() -> None:
    layer, rows = nn.Linear(4, 4), torch.randn(3, 4)
    with Acceleration("bf16").training(CPU):
        with torch.no_grad():
            target = layer(rows)
        loss = (layer(rows) - target + 1).sum()
    assert target.dtype == torch.bfloat16
    torch.autograd.backward(loss)
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32


def network(architecture: str) -> HybridNet:
    torch.manual_seed(1)
    settings = LayerSettings(hidden_size=8, dropout_prob=0.0)
    net = HybridNet(Architecture.parse(architecture), n_items=20, max_length=6, settings=settings)
    for module in net.modules():
        if isinstance(module, GatedResidual):
            nn.init.constant_(module.scale, 0.5)
    return net


def loss_and_gradients(net: HybridNet) -> list[torch.Tensor]:
    rng = torch.Generator().manual_seed(2)
    item_seq, targets = (torch.randint(1, 20, (5, 6), generator=rng) for _ in range(2))
    loss = net.loss(item_seq, torch.full((5,), 6), targets)
    return [loss, *torch.autograd.grad(loss, list(net.parameters()))]


@pytest.mark.skipif(acceleration._TORCH < (2, 5), reason="torch 2.4 compiles every layer for itself")
def test_compiled_operations_have_the_same_outputs_and_gradients_and_one_code_for_all_architectures() -> None:
    torch._dynamo.reset()
    n_compiled = []

    def backend(graph: Any, _inputs: Any) -> Any:
        n_compiled.append(1)
        return graph.forward

    counts = []
    for architecture in (ALL, "tcn_d1_4,transformer_h2,transformer_h4,tcn_d1_2", "tcn_d1_2,tcn_d1_2,transformer_h4"):
        plain, compiled = network(architecture), network(architecture)
        Acceleration(backend=backend).compile_operations(compiled)
        for found, expected in zip(loss_and_gradients(compiled), loss_and_gradients(plain), strict=True):
            torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
        counts.append(len(n_compiled))
    assert counts == [4, 4, 4]  # one per operation of the space
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_without_a_gpu_a_step_is_just_called() -> None:
    calls = []
    step = GraphedStep(lambda x, y: calls.append(1) or x + y, "step", required=True)
    assert [step(torch.tensor(1.0), torch.tensor(float(n))).item() for n in range(6)] == [1, 2, 3, 4, 5, 6]
    assert len(calls) == 6


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_is_noticed_at_the_next_look_even_if_later_ones_are(bad: float) -> None:
    watch = LossWatch(every=4)
    losses = [1.0, 2.0, 3.0, 4.0, 5.0, bad, 1.0, 1.0]
    assert [watch.see(torch.tensor(loss)) for loss in losses] == [False] * 7 + [True]


def test_a_step_that_reads_a_value_back_is_not_captured_and_the_message_says_why(
    tapes: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    @contextmanager
    def refused() -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.Tensor, "item", failing_item)
            yield

    def failing_item(_tensor: torch.Tensor) -> float:
        msg = "called a synchronizing CUDA operation\nand more"
        raise RuntimeError(msg)

    monkeypatch.setattr(graphs, "waiting_refused", refused)
    step = GraphedStep(lambda x: x * x.item(), "training step")
    with caplog.at_level(logging.WARNING, logger="recbole_nasr"):
        assert [float(step(torch.tensor(float(n)))) for n in range(6)] == [0, 1, 4, 9, 16, 25]
    said = "cuda_graphs: off for the training step, which could not be captured: called a synchronizing CUDA operation"
    assert [record.message for record in caplog.records] == [said]
    assert not tapes
    required = GraphedStep(lambda x: x * x.item(), "training step", required=True)
    with pytest.raises(RuntimeError, match="called a synchronizing"):
        [required(torch.tensor(1.0)) for _ in range(6)]


@pytest.mark.parametrize("fails_in", ["the last warm-up", "the capture"])
def test_a_step_that_cannot_be_captured_is_repeated_with_the_same_random_numbers(
    tapes: list[Any], monkeypatch: pytest.MonkeyPatch, fails_in: str
) -> None:
    place = []  # where the step is while it must not wait

    @contextmanager
    def watched(*_: Any) -> Iterator[None]:
        place.append("the last warm-up")
        try:
            yield
        finally:
            place.pop()

    def capture(step: GraphedStep, inputs: tuple[torch.Tensor, ...]) -> Any:
        place.append("the capture")
        try:
            return step._function(*inputs)
        finally:
            place.pop()

    def drawn(generator: torch.Generator, x: torch.Tensor) -> torch.Tensor:
        found = torch.nn.functional.dropout(x).sum() + torch.rand((), generator=generator)
        if place == [fails_in]:
            msg = "called a synchronizing CUDA operation"
            raise RuntimeError(msg)
        return found

    monkeypatch.setattr(graphs, "waiting_refused", watched)
    monkeypatch.setattr(GraphedStep, "_capture", capture)
    found = []
    for captured in (False, True):
        torch.manual_seed(3)
        rng = torch.Generator().manual_seed(1)
        function = partial(drawn, rng)
        step = GraphedStep(function, "step", generators=[rng]) if captured else function
        found.append([float(step(torch.ones(50))) for _ in range(6)])
    assert found[1] == found[0]
    assert len(set(found[0])) == 6


def test_a_replayed_step_uses_the_values_it_is_given_and_only_those_of_the_host_that_its_key_stands_for(
    tapes: list[Any],
) -> None:
    factor = 2.0
    step = GraphedStep(lambda x: x * factor, "step")
    assert [float(step(torch.tensor(float(n)), key=factor)) for n in range(6)] == [0, 2, 4, 6, 8, 10]
    factor = 3.0
    assert float(step(torch.tensor(1.0), key=2.0)) == 2.0  # as captured
    assert [float(step(torch.tensor(float(n)), key=factor)) for n in range(6)] == [0, 3, 6, 9, 12, 15]
    assert [tape.n_replays for tape in tapes] == [4, 3]


def test_what_was_captured_can_be_given_back_and_a_later_step_is_captured_anew(tapes: list[Any]) -> None:
    step = GraphedStep(lambda x: 2 * x, "step")
    for _ in range(2):
        assert [float(step(torch.tensor(float(n)))) for n in range(6)] == [0, 2, 4, 6, 8, 10]
        step.release()
    assert [tape.n_replays for tape in tapes] == [3, 3]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_weight_that_is_not_finite_is_named_and_a_huge_one_is_none(bad: float) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    assert bad_weight(net) == ""
    with torch.no_grad():
        net[0].weight.fill_(1e38)  # the square of which is infinite
    assert bad_weight(net) == ""
    with torch.no_grad():
        net[1].bias[0] = bad
    assert bad_weight(net) == "1.bias"
    assert bad_weight(torch.nn.ReLU()) == ""
