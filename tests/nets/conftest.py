from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from recbole_nasr.ops.base import GatedResidual


@pytest.fixture
def open_gates() -> Callable[[nn.Module], nn.Module]:
    """Return a function that sets every λ of a network to a different value away from zero."""

    def open_all(net: nn.Module, scale: float = 0.6) -> nn.Module:
        gates = [module for module in net.modules() if isinstance(module, GatedResidual)]
        for number, gate in enumerate(gates):
            nn.init.constant_(gate.scale, scale + 0.05 * (number % 7))
        return net

    return open_all


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Five right-padded sequences of lengths 6, 3, 1, 5 and 6, of items 1..19."""
    lengths = torch.tensor([6, 3, 1, 5, 6])
    items = torch.randint(1, 20, (5, 6), generator=torch.Generator().manual_seed(0))
    return torch.where(torch.arange(6) < lengths.unsqueeze(1), items, 0), lengths
