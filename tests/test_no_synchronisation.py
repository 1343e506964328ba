from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: x.max().item(),
        lambda x: bool((x > 2).any()),
        lambda x: x.nonzero(),
        lambda x: x[x > 2],
        lambda x: x.masked_select(x > 2),
        lambda x: x.unique(),
    ],
)
def test_the_guard_refuses_what_makes_the_host_wait(wait: Callable[[Any], Any], no_synchronisation: Any) -> None:
    numbers = torch.arange(6.0)
    with no_synchronisation, pytest.raises(AssertionError, match="waits for the device"):
        wait(numbers)


PLACES = torch.tensor([[1, 4]])


@pytest.mark.parametrize(
    "write",
    [
        lambda x: x.scatter(1, PLACES, torch.ones(1, 2)),
        lambda x: x.scatter_add_(1, PLACES, torch.ones(1, 2)),
        lambda x: x.scatter_reduce(1, PLACES, torch.ones(1, 2), "sum"),
        lambda x: x.index_copy_(1, PLACES[0], torch.ones(1, 2)),
        lambda x: x.index_add(1, PLACES[0], torch.ones(1, 2)),
        lambda x: x.index_put_((PLACES[0] * 0, PLACES[0]), torch.ones(2)),
    ],
)
def test_the_guard_refuses_writing_to_places_which_waits_where_torch_is_deterministic(
    write: Callable[[Any], Any], no_synchronisation: Any
) -> None:
    numbers = torch.zeros(1, 6)
    with no_synchronisation, pytest.raises(AssertionError, match="if it is to be deterministic"):
        write(numbers)


def test_the_guard_lets_one_number_be_written_and_the_least_be_kept(no_synchronisation: Any) -> None:
    with no_synchronisation:
        found = torch.zeros(1, 6).scatter_(1, PLACES, 2.0).scatter_reduce_(1, PLACES, torch.ones(1, 2), "amin")
    assert found.tolist() == [[0.0, 1.0, 0.0, 0.0, 1.0, 0.0]]


def test_the_guard_lets_the_gradient_of_picked_rows_be_added_up(no_synchronisation: Any) -> None:
    values = torch.zeros(6, requires_grad=True)
    with no_synchronisation:
        torch.autograd.backward(values[torch.tensor([1, 1, 4])].sum())
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 2.0, 0.0, 0.0, 1.0, 0.0]


def test_the_guard_lets_indices_through(no_synchronisation: Any) -> None:
    rows = torch.tensor([1, 4])
    with no_synchronisation:
        picked = torch.arange(6.0)[rows]
    assert picked.tolist() == [1.0, 4.0]
