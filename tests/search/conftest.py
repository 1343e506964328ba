from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from recbole_nasr.nets import Supernet
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.search import SearchSequences
from recbole_nasr.space import SearchSpace

N_ITEMS = 30
PAPER_OPS = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")


@pytest.fixture
def make_sequences() -> Callable[..., SearchSequences]:
    """Return a function that draws ``n`` right-padded sequences of 3 to 10 items, two per group."""

    def make(n: int = 12, seed: int = 0) -> SearchSequences:
        rng = torch.Generator().manual_seed(seed)
        lengths = torch.randint(3, 11, (n,), generator=rng)
        items = torch.randint(1, N_ITEMS, (n, 10), generator=rng)
        item_seq = torch.where(torch.arange(10) < lengths.unsqueeze(1), items, 0)
        return SearchSequences(item_seq, lengths, torch.arange(n) // 2)

    return make


@pytest.fixture
def make_net() -> Callable[..., Supernet]:
    """Return a function that builds a supernet; every λ is ``scale``, or varied around 0.5 if None."""

    def make(
        layers: tuple[int, ...] = (2,),
        scale: float | None = None,
        dropout_prob: float = 0.1,
        operations: tuple[str, ...] = PAPER_OPS,
    ) -> Supernet:
        settings = LayerSettings(hidden_size=8, dropout_prob=dropout_prob)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            space = SearchSpace(operations, layers)
            net = Supernet(space, n_items=N_ITEMS, max_length=10, settings=settings)
            for module in net.modules():
                if isinstance(module, GatedResidual):
                    value = 0.3 + 0.4 * float(torch.rand(())) if scale is None else scale
                    nn.init.constant_(module.scale, value)
        return net

    return make


class CountKernels(TorchDispatchMode):
    """Counts calls that compute something: all but views and allocations."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        idle = ("detach", "empty", "_unsafe_view", "lift_fresh", "new_empty")
        self.n += not func.is_view and func.overloadpacket.__name__ not in idle
        return func(*args, **(kwargs or {}))


@pytest.fixture
def count_kernels() -> Callable[[Callable[[], object]], int]:
    """Return a function that counts the kernels a call would launch on a GPU."""

    def count(call: Callable[[], object]) -> int:
        with CountKernels() as kernels:
            call()
        return kernels.n

    return count
