from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops import LayerSettings, Operation, build_operation, validate_operation
from recbole_nasr.ops.registry import operation_flops

Build = Callable[..., Operation]


def test_each_half_is_scaled_by_its_gate_of_the_raw_input(open_operation: Build) -> None:
    operation = open_operation("ligr_h2", layer_norm_eps=1e-3).double()
    hidden = torch.randn(2, 6, 8, dtype=torch.float64)
    expected = hidden
    for branch in (operation.attention, operation.feed_forward):
        gate = 1 / (1 + torch.exp(-(expected @ branch.gate.weight.T + branch.gate.bias)))
        expected = expected + 0.7 * gate * branch.body(F.layer_norm(expected, (8,), eps=1e-3))
    torch.testing.assert_close(operation(hidden), expected)


def test_its_attention_is_softmax_attention_over_what_came_before(open_operation: Build) -> None:
    attention = open_operation("ligr_h2").double().attention.body
    hidden = torch.randn(1, 5, 8, dtype=torch.float64)
    query, key, value = attention.query_key_value(hidden)[0].split(8, dim=-1)
    mixed = torch.zeros(5, 8, dtype=torch.float64)
    for part in (slice(0, 4), slice(4, 8)):
        for step in range(5):
            weights = torch.softmax(key[: step + 1, part] @ query[step, part] / 4**0.5, dim=0)
            mixed[step, part] = weights @ value[: step + 1, part]
    torch.testing.assert_close(attention(hidden)[0], attention.output(mixed))


def test_its_feed_forward_layer_is_swiglu(open_operation: Build) -> None:
    swiglu = open_operation("ligr_h2").feed_forward.body
    inputs = torch.randn(3, 8)
    first, second = swiglu.inner.weight.split(24)  # two thirds of 4 · 8, rounded up to a multiple of 8
    products = inputs @ first.T, inputs @ second.T
    torch.testing.assert_close(
        swiglu(inputs), (products[0] * torch.sigmoid(products[0]) * products[1]) @ swiglu.outer.weight.T
    )


def test_it_has_59426_parameters_at_width_64() -> None:
    operation = build_operation("ligr_h4", LayerSettings())
    attention, gates, norms = 4 * (64 * 64 + 64), 2 * (64 * 64 + 64), 2 * 2 * 64
    swiglu = 64 * 352 + 352 + 176 * 64 + 64
    assert sum(p.numel() for p in operation.parameters()) == attention + gates + norms + swiglu + 2 == 59_426


def test_its_flops_are_projections_gates_attention_and_three_matrices() -> None:
    macs = (4 + 2) * 30 * 64 * 64 + 2 * 30 * 30 * 64 + 3 * 30 * 64 * 176
    assert operation_flops("ligr_h4", LayerSettings(), 30) == 2 * macs == 3_732_480


@pytest.mark.parametrize("family", ["ligr", "hstu"])
def test_heads_that_do_not_divide_the_width_are_refused_before_building(family: str) -> None:
    with pytest.raises(ArchitectureError, match=rf"`{family}_h3`.*hidden_size=64; change one of the two"):
        validate_operation(f"{family}_h3", LayerSettings())
