from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from recbole_nasr.ops import LayerSettings, Operation, build_operation
from recbole_nasr.ops.convolution import CausalConvolution
from recbole_nasr.ops.registry import operation_flops

Build = Callable[..., Operation]


@pytest.mark.parametrize(("kernel_size", "dilation"), [(2, 1), (3, 1), (3, 4)])
def test_the_convolution_equals_a_plain_loop(kernel_size: int, dilation: int) -> None:
    convolution = CausalConvolution(4, kernel_size, dilation).double()
    hidden = torch.randn(2, 11, 4, dtype=torch.float64)
    weight = convolution.taps.weight.view(4, kernel_size, 4)  # oldest tap first
    expected = convolution.taps.bias.expand(2, 11, 4).clone()
    for step in range(11):
        for tap in range(kernel_size):
            source = step - (kernel_size - 1 - tap) * dilation
            if source >= 0:
                expected[:, step] += hidden[:, source] @ weight[:, tap].T
    torch.testing.assert_close(convolution(hidden), expected)


def test_the_convolution_equals_torchs_own() -> None:
    convolution = CausalConvolution(4, 3, 2)
    hidden = torch.randn(2, 9, 4)
    weight = convolution.taps.weight.view(4, 3, 4).transpose(1, 2)  # (out, in, taps)
    padded = F.pad(hidden.transpose(1, 2), (4, 0))
    expected = F.conv1d(padded, weight, convolution.taps.bias, dilation=2).transpose(1, 2)
    torch.testing.assert_close(convolution(hidden), expected)


def test_one_operation_equals_two_residual_blocks_written_out(open_operation: Build) -> None:
    operation = open_operation("tcn_d1_2", layer_norm_eps=1e-3)
    hidden = torch.randn(2, 7, 8)
    expected = hidden
    for block in operation.blocks:
        branch = F.relu(F.layer_norm(block.first(expected), (8,), eps=1e-3))
        branch = F.relu(F.layer_norm(block.second(branch), (8,), eps=1e-3))
        expected = expected + 0.7 * branch
    torch.testing.assert_close(operation(hidden), expected)
    assert [(b.first.dilation, b.second.dilation) for b in operation.blocks] == [(1, 2), (2, 4)]


@pytest.mark.parametrize(("name", "reach"), [("tcn_d1_2", 19), ("tcn_d1_4", 31)])
def test_an_output_sees_as_many_items_as_the_dilations_and_kernels_reach(
    name: str, reach: int, open_operation: Build
) -> None:
    operation = open_operation(name, scale=1.0).double()
    hidden = torch.randn(4, 40, 8, dtype=torch.float64, requires_grad=True)
    operation(hidden)[:, -1].square().sum().backward()
    seen = hidden.grad.abs().sum(dim=(0, 2)) > 0
    assert seen.tolist() == [False] * (40 - reach) + [True] * reach
    dilations = [int(text) for text in name.removeprefix("tcn_d").split("_")]
    assert reach == 1 + sum((3 - 1) * (dilation + 2 * dilation) for dilation in dilations)  # two convolutions each


@pytest.mark.parametrize("training", [False, True])
def test_with_a_closed_gate_the_operation_is_the_identity(training: bool) -> None:
    operation = build_operation("tcn_d1_4", LayerSettings(hidden_size=8, dropout_prob=0.5)).train(training)
    hidden = torch.randn(3, 12, 8)
    assert torch.equal(operation(hidden), hidden)


def test_it_has_49922_parameters_at_width_64() -> None:
    operation = build_operation("tcn_d1_2", LayerSettings())
    assert sum(p.numel() for p in operation.parameters()) == 4 * (3 * 64 * 64 + 64) + 4 * 2 * 64 + 2 == 49_922


def test_its_flops_are_four_convolutions() -> None:
    # 30 items, 4 convolutions, 3 taps of 64 x 64 multiply-adds each
    assert operation_flops("tcn_d1_2", LayerSettings(), 30) == 2 * 30 * 4 * 3 * 64 * 64 == 2_949_120
    assert operation_flops("tcn_d1", LayerSettings(), 30) == 1_474_560
