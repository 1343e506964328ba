from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from recbole_nasr.ops import LayerSettings, Operation, build_operation
from recbole_nasr.ops.registry import operation_flops

Build = Callable[..., Operation]


def gelu_layers(operation: Operation, inputs: torch.Tensor) -> torch.Tensor:
    return operation.outer(F.gelu(operation.inner(inputs)))


def test_skip_does_nothing_and_costs_nothing() -> None:
    operation, hidden = build_operation("skip", LayerSettings()), torch.randn(2, 3, 64)
    assert operation(hidden) is hidden
    assert not list(operation.parameters())
    assert operation_flops("skip", LayerSettings(), 30) == 0


def test_ffn_is_a_gated_feed_forward_layer_of_the_normalised_input(open_operation: Build) -> None:
    operation, hidden = open_operation("ffn", layer_norm_eps=1e-3), torch.randn(2, 5, 8)
    expected = hidden + 0.7 * gelu_layers(operation.branch.body, F.layer_norm(hidden, (8,), eps=1e-3))
    torch.testing.assert_close(operation(hidden), expected)


def test_ffn_mixes_no_items(open_operation: Build) -> None:
    operation, hidden = open_operation("ffn"), torch.randn(2, 5, 8)
    torch.testing.assert_close(operation(hidden.flip(1)), operation(hidden).flip(1))


@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_dwconv_equals_a_plain_loop_over_taps(kernel_size: int, open_operation: Build) -> None:
    operation = open_operation(f"dwconv_k{kernel_size}", layer_norm_eps=1e-3)
    hidden = torch.randn(2, 9, 8)
    mixed = operation.convolution.bias.expand(2, 9, 8).clone()
    for step in range(9):
        for back in range(min(kernel_size, step + 1)):
            mixed[:, step] += hidden[:, step - back] * operation.convolution.weight[:, 0, kernel_size - 1 - back]
    expected = hidden + 0.7 * gelu_layers(operation.feed_forward, F.layer_norm(mixed, (8,), eps=1e-3))
    torch.testing.assert_close(operation(hidden), expected)


def test_gru_is_the_ungated_layer_in_a_gated_branch(open_operation: Build) -> None:
    operation, hidden = open_operation("gru", layer_norm_eps=1e-3), torch.randn(2, 5, 8)
    expected = hidden + 0.7 * operation.branch.body(F.layer_norm(hidden, (8,), eps=1e-3))
    torch.testing.assert_close(operation(hidden), expected)


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("ffn", 64 * 256 + 256 + 256 * 64 + 64 + 128 + 1, 2 * 30 * 64 * 256),
        ("dwconv_k7", 64 * 7 + 64 + 33_088 + 128 + 1, 30 * 64 * 7 + 2 * 30 * 64 * 256),
        ("gru", 6 * 64 * 64 + 6 * 64 + 128 + 1, 6 * 30 * 64 * 64),
    ],
)
def test_parameters_and_flops_at_width_64_and_30_items(name: str, parameters: int, macs: int) -> None:
    operation = build_operation(name, LayerSettings())
    assert sum(parameter.numel() for parameter in operation.parameters()) == parameters
    assert operation_flops(name, LayerSettings(), 30) == 2 * macs
