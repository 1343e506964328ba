"""Rules of a CUDA device that the other tests here rely on: they hold on a GPU and on the simulated one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

pytestmark = pytest.mark.gpu

MIXED: dict[str, Callable[[torch.Tensor, torch.Tensor], Any]] = {
    "add": lambda here, there: here + there,
    "add in place": lambda here, there: here.add_(there),
    "cat": lambda here, there: torch.cat([here, there]),
    "gather": lambda here, there: here.gather(0, there.long()),
    "pick from the host": lambda here, there: there[here.long()],
    "put from the host": lambda here, there: here.index_put_((here.long(),), there),
    "draw": lambda here, there: torch.rand(2, device=here.device, generator=torch.Generator()),
    "draw on the host": lambda here, there: torch.rand(2, generator=torch.Generator(here.device)),
}


@pytest.mark.parametrize("operation", MIXED.values(), ids=MIXED)
def test_tensors_of_two_devices_are_refused(operation: Callable[[torch.Tensor, torch.Tensor], Any]) -> None:
    with pytest.raises(RuntimeError):
        operation(torch.zeros(2, device="cuda"), torch.zeros(2))


def test_places_and_single_numbers_may_be_on_the_host() -> None:
    values = torch.tensor([5.0, 7.0], device="cuda")
    found = values[torch.tensor([1, 0])] * torch.tensor(2.0)
    assert found.device.type == "cuda"
    assert found.tolist() == [14.0, 10.0]


@pytest.mark.parametrize("wait", [lambda x: x.sum().item(), lambda x: x.cpu(), lambda x: x.nonzero()])
def test_waiting_is_refused_where_it_is_an_error(wait: Callable[[torch.Tensor], Any]) -> None:
    values = torch.ones(3, device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        with pytest.raises(RuntimeError, match="called a synchronizing CUDA operation"):
            wait(values)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_graph_runs_at_its_replays_alone_and_reads_memory_as_it_is_then() -> None:
    given, total = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
    factor = 2.0
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        found = given * factor
        total.add_(found)
    assert total.tolist() == [0.0, 0.0, 0.0]
    factor = 5.0  # on the host, which a graph does not read
    for number in (1.0, 10.0):
        given.fill_(number)
        graph.replay()
        assert found.tolist() == [2.0 * number] * 3
    assert total.tolist() == [22.0] * 3


def test_a_graph_draws_anew_at_every_replay() -> None:
    generator = torch.Generator("cuda").manual_seed(3)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        drawn = torch.rand(4, device="cuda", generator=generator)
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(tuple(drawn.tolist()))
    assert len(set(seen)) == 3
