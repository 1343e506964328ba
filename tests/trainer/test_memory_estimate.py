"""The memory that a run will need is known before it begins."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import HybridNet, Supernet, memory, softmax
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.footprint import (
    LiveBytes,
    check_weights,
    layer_footprint,
    layer_weights,
    network_weights,
    supernet_weights,
)
from recbole_nasr.nets.memory import device_memory, size_text
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.search import SearchSettings
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Architecture, SearchSpace
from recbole_nasr.trainer import memory as estimates
from recbole_nasr.trainer.memory import MemoryNeed, Shape, announce, training_need
from recbole_nasr.trainer.search_memory import search_need

Assemble = Callable[..., SimpleNamespace]

GIB = 1 << 30
CPU = torch.device("cpu")
WIDE = LayerSettings(hidden_size=64)
NAMES = ("transformer_h4", "tcn_d1_2")


def test_bytes_are_counted_for_as_long_as_their_tensor_lives() -> None:
    given = torch.ones(100)
    with LiveBytes([given]) as live:
        first = given * 2  # 400 bytes
        view = first[:50]
        second = first.double()  # 800 more
        assert (live.now, live.peak) == (1200, 1200)
        del first
        assert live.now == 1200  # the view holds it
        del view, second
        assert (live.now, live.peak) == (0, 1200)
        assert given.view(10, 10).sum() == 100
        assert live.now == 0  # a view of what was there before is nothing new


@pytest.mark.parametrize("name", ["transformer_h4", "tcn_d1_2", "lru", "gru4rec"])
def test_the_weights_of_a_layer_are_counted_without_making_them(name: str) -> None:
    layer = build_operation(name, WIDE)
    assert layer_weights(name, WIDE) == sum(4 * weights.numel() for weights in layer.parameters())
    assert layer_weights("transformer_h4", LayerSettings(hidden_size=65536)) > 190 * GIB


def test_the_weights_of_networks_are_those_they_have_but_for_a_norm() -> None:
    architecture = Architecture.parse(",".join(NAMES))
    net = HybridNet(architecture, n_items=500, max_length=30, settings=WIDE)
    found = network_weights(architecture.layers, WIDE, 500, 30)
    assert found == pytest.approx(sum(4 * weights.numel() for weights in net.parameters()), rel=0.01)
    space = SearchSpace(NAMES, (2, 1))
    supernet = Supernet(space, n_items=500, max_length=30, settings=WIDE, softmax=True)
    expected = sum(4 * weights.numel() for weights in supernet.parameters())
    assert supernet_weights(space, WIDE, 500, 30) == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("name", ["transformer_h4", "hstu_h4"])
def test_what_long_rows_take_is_told_from_shorter_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = LayerSettings(hidden_size=16)
    told = layer_footprint(name, narrow, 256)
    monkeypatch.setattr("recbole_nasr.nets.footprint._LONG", 1000)
    layer_footprint.cache_clear()
    measured = layer_footprint(name, narrow, 256)
    layer_footprint.cache_clear()
    assert told.held == pytest.approx(measured.held, rel=0.05)


@pytest.mark.parametrize("share", [1 << 30, 1 << 23], ids=["at once", "in parts"])
@pytest.mark.parametrize("tied", [False, True])
def test_the_estimate_of_a_training_is_near_what_its_step_takes(
    tied: bool, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "memory_share", lambda _: share)
    rows, length, n_items = 64, 30, 3000
    architecture = Architecture.parse(",".join(NAMES * 2))
    items, lengths = torch.ones(rows, length, dtype=torch.long), torch.full((rows,), length)
    with LiveBytes() as live:
        net = HybridNet(architecture, n_items=n_items, max_length=length, settings=WIDE, tie_embeddings=tied)
        optimizer = torch.optim.Adam(net.parameters(), fused=True)
        for _ in range(2):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(net.loss(items, lengths, items))
            optimizer.step()
    need = training_need(
        architecture,
        WIDE,
        Shape(length, n_items, CPU),
        rows=rows,
        targets_per_row=length,
        eval_rows=1,
        averaged=False,
        tied=tied,
    )
    assert need.total == pytest.approx(estimates.ALLOCATOR["cpu"] * live.peak, rel=0.25)


def test_the_estimate_of_a_search_is_near_what_its_step_takes() -> None:
    space, rows, length = SearchSpace(NAMES, (2, 2)), 32, 30
    how = SearchSettings(batch_size=rows, n_paths=3)
    items = torch.randint(1, 500, (rows, length))
    with LiveBytes() as live:
        net = Supernet(space, n_items=500, max_length=length, settings=WIDE)
        trainer = BlockTrainer(net, [()], space, how, 5, Contrastive(net, how, 5))
        for _ in range(4):
            trainer.step(items, torch.full((rows,), length))
    need = search_need(space, WIDE, how, Shape(length, 500, CPU), rows)
    assert need.total == pytest.approx(estimates.ALLOCATOR["cpu"] * live.peak, rel=0.3)


@pytest.mark.parametrize(
    ("n_items", "share", "tied"),
    [(3000, 1 << 30, False), (3000, 1 << 22, False), (30_000, 1 << 22, False), (30_000, 1 << 22, True)],
    ids=["at once", "in parts", "many items", "tied"],
)
def test_the_estimate_of_a_search_by_the_next_item_is_near_what_its_step_takes(
    n_items: int, share: int, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(softmax, "memory_share", lambda _: share)
    space, rows, length = SearchSpace(NAMES, (2, 2)), 32, 30
    how = SearchSettings(batch_size=rows, n_paths=4, objective="next_item")
    items = torch.randint(1, n_items, (rows, length))
    with LiveBytes() as live:
        net = Supernet(space, n_items=n_items, max_length=length, settings=WIDE, softmax=True, tie_embeddings=tied)
        trainer = BlockTrainer(net, [()], space, how, 5, NextItem(net, how, 5))
        for _ in range(4):
            trainer.step(items, torch.full((rows,), length))
    need = search_need(space, WIDE, how, Shape(length, n_items, CPU), rows, tied=tied)
    assert need.total == pytest.approx(estimates.ALLOCATOR["cpu"] * live.peak, rel=0.3)


@pytest.mark.parametrize("sampling", ["uniform", "fair"])
@pytest.mark.parametrize("objective", ["contrastive", "next_item"])
def test_the_estimate_of_a_search_of_dealt_steps_is_near_what_the_largest_takes(objective: str, sampling: str) -> None:
    space, rows, length, n_items = SearchSpace((*NAMES, "gru4rec"), (2, 2)), 30, 30, 500
    how = SearchSettings(batch_size=rows, n_paths=3, objective=objective, path_sampling=sampling)
    items = torch.randint(1, n_items, (rows, length))
    with LiveBytes() as live:
        net = Supernet(space, n_items=n_items, max_length=length, settings=WIDE, softmax=objective == "next_item")
        aim = (NextItem if objective == "next_item" else Contrastive)(net, how, 5)
        aim.acceleration = Acceleration(graphs=True)
        trainer = BlockTrainer(net, [()], space, how, 5, aim)
        if sampling == "uniform":
            trainer.sampler.draw = lambda n: [(0, 0)] * n  # the most places that there can be
        for _ in range(3):
            trainer.step(items, torch.full((rows,), length), torch.arange(rows))
    need = search_need(space, WIDE, how, Shape(length, n_items, CPU), rows, dealt=True)
    assert need.total == pytest.approx(estimates.ALLOCATOR["cpu"] * live.peak, rel=0.3)


def need_of(weights: int, activations: int, least: int = 0) -> MemoryNeed:
    return MemoryNeed("training", weights, activations, 0, least, "`hidden_size`")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """8 GiB, of which 4 are free."""
    monkeypatch.setattr(estimates, "device_memory", lambda _: (4 * GIB, 8 * GIB))


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("need", "level", "said"),
    [
        (need_of(GIB // 8, GIB // 8), None, ""),
        (
            need_of(GIB, GIB),
            "INFO",
            "the training needs about 2.0 GiB (weights and optimiser 1.0 GiB, activations 1.0 GiB, logits 0 B); "
            "4.0 GiB are free on cpu",
        ),
        (need_of(3 * GIB, 3 * GIB, GIB), "WARNING", "only 4.0 GiB are free on cpu; lower `hidden_size` if it runs out"),
    ],
)
def test_much_is_said_and_more_than_is_free_is_a_warning(
    need: MemoryNeed, level: str | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "recbole_nasr"):
        announce(need, CPU)
    assert [record.levelname for record in caplog.records] == ([level] if level else [])
    assert said in caplog.text


@pytest.mark.usefixtures("machine")
def test_what_can_never_fit_is_refused() -> None:
    with pytest.raises(MemoryLimitError, match=r"needs at least 9.0 GiB, but cpu has 8.0 GiB; lower `hidden_size`\."):
        announce(need_of(6 * GIB, 5 * GIB, 3 * GIB), CPU)


def test_weights_that_can_never_fit_are_refused_before_they_are_made() -> None:
    huge = LayerSettings(hidden_size=65536)
    with pytest.raises(MemoryLimitError, match=r"for weights alone, but cpu has .*; lower `hidden_size`"):
        check_weights(["transformer_h4"] * 1000, huge, n_items=10, length=30, device="cpu")


def test_a_run_says_before_its_search_what_search_and_training_need(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(estimates, "LARGE", 0)
    run = assemble("NASRSearch", toy, epochs=1)
    with caplog.at_level(logging.INFO, "recbole_nasr"):
        run.trainer.fit(run.train, run.valid, saved=False)
    lines = [
        message.partition(" needs")[0] for message in caplog.messages if "memory:" in message or "search:" in message
    ]
    assert lines[:2] == ["memory: the search", "memory: the training"]
    assert set(run.trainer.needs) == {"search", "training"}


def test_a_container_may_have_less_than_its_machine_and_its_files_in_memory_are_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit, used, parts = (tmp_path / name for name in ("memory.max", "memory.current", "memory.stat"))
    limit.write_text(f"{GIB}\n")
    used.write_text(f"{GIB // 2}\n")
    parts.write_text(f"anon {GIB // 8}\ninactive_file {GIB // 4}\nactive_file {GIB // 8}\n")
    here = memory.Container(str(limit), str(used), str(parts), "inactive_file")
    monkeypatch.setattr(memory, "_CONTAINERS", [here, memory.Container("none", "none", "none", "none")])
    machine = SimpleNamespace(available=4 * GIB, total=8 * GIB)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: machine)
    assert device_memory(CPU) == (GIB - GIB // 4, GIB)
    parts.unlink()
    assert device_memory(CPU) == (GIB // 2, GIB)
    machine.available = GIB // 8
    assert device_memory(CPU) == (GIB // 8, GIB)
    limit.write_text("max\n")
    assert device_memory(CPU) == (GIB // 8, 8 * GIB)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 B"), (1023, "1,023 B"), (5 << 20, "5 MiB"), (3 << 29, "1.5 GiB"), (1 << 52, "4,096.0 TiB")],
)
def test_sizes_are_written_for_people(n_bytes: int, text: str) -> None:
    assert size_text(n_bytes) == text
