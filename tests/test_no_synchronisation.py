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


def test_the_guard_lets_indices_through(no_synchronisation: Any) -> None:
    rows = torch.tensor([1, 4])
    with no_synchronisation:
        picked = torch.arange(6.0)[rows]
    assert picked.tolist() == [1.0, 4.0]
