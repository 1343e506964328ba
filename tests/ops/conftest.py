from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from recbole_nasr.nets.embedding import initialise
from recbole_nasr.ops import LayerSettings, Operation, build_operation, loading, registry
from recbole_nasr.ops.base import GatedResidual


@pytest.fixture(autouse=True)
def forgotten(tmp_path: Path) -> Iterator[None]:
    """What a test registers is gone after it."""
    families, loaded = dict(registry._FAMILIES), dict(loading._LOADED)
    yield
    registry._FAMILIES.clear()
    registry._FAMILIES.update(families)
    loading._LOADED.clear()
    loading._LOADED.update(loaded)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def open_operation() -> Callable[..., Operation]:
    """Return a function that builds an operation in eval mode with every λ at the given value."""

    def build(name: str, scale: float = 0.7, **settings: float) -> Operation:
        torch.manual_seed(1)
        operation = build_operation(name, LayerSettings(**{"hidden_size": 8, **settings}))
        operation.apply(initialise)
        for module in operation.modules():
            if isinstance(module, GatedResidual) and module.scale is not None:
                torch.nn.init.constant_(module.scale, scale)
        return operation.eval()

    return build
