from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recbole_nasr.ops import LayerSettings, Operation, build_operation
from recbole_nasr.ops.lru import LinearRecurrence, decaying_sum
from recbole_nasr.ops.registry import operation_flops

Build = Callable[..., Operation]


@pytest.fixture
def recurrence(open_operation: Build) -> LinearRecurrence:
    return open_operation("lru").double().recurrence.body


def plain(recurrence: LinearRecurrence, inputs: torch.Tensor) -> torch.Tensor:
    """The recurrence of the paper, item after item, in complex numbers."""
    eigenvalues = torch.exp(torch.complex(-recurrence.log_rate.exp(), recurrence.log_angle.exp()))
    scale, state, outputs = recurrence.log_gain.exp(), torch.zeros(8, dtype=torch.complex128), []
    real, imaginary = recurrence.output.weight.split(8, dim=1)
    for driven in recurrence.input(inputs):
        state = eigenvalues * state + scale * torch.complex(*driven.split(8))
        outputs.append((torch.complex(real, -imaginary) @ state).real + recurrence.output.bias)
    return torch.stack(outputs)


@pytest.mark.parametrize("length", [1, 2, 7, 8, 200])
def test_it_equals_the_plain_recurrence(length: int, recurrence: LinearRecurrence) -> None:
    inputs = torch.randn(length, 8, dtype=torch.float64)
    torch.testing.assert_close(recurrence(inputs.unsqueeze(0))[0], plain(recurrence, inputs))


def test_its_gradients_equal_those_of_the_plain_recurrence(recurrence: LinearRecurrence) -> None:
    inputs, upstream = torch.randn(11, 8, dtype=torch.float64), torch.randn(11, 8, dtype=torch.float64)
    ours = torch.autograd.grad(recurrence(inputs.unsqueeze(0))[0], list(recurrence.parameters()), upstream)
    theirs = torch.autograd.grad(plain(recurrence, inputs), list(recurrence.parameters()), upstream)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_a_decaying_sum_written_out() -> None:
    values = torch.tensor([[[1.0], [0.0], [4.0]]])
    assert decaying_sum(values, torch.tensor([0.5]).log()).flatten().tolist() == pytest.approx([1, 0.5, 4.25])


def test_at_the_start_states_are_uniform_on_a_ring_and_white_input_gives_them_variance_one() -> None:
    torch.manual_seed(0)
    recurrence = LinearRecurrence(LayerSettings(hidden_size=1000))
    modulus, angle = torch.exp(-recurrence.log_rate.detach().exp()), recurrence.log_angle.detach().exp()
    torch.manual_seed(0)
    share, turn = torch.rand(1000), torch.rand(1000)  # of the area between the two circles, and of a whole turn
    torch.testing.assert_close(modulus**2, 0.8**2 + share * (0.99**2 - 0.8**2))
    torch.testing.assert_close(angle, turn * 2 * torch.pi, rtol=0, atol=2e-3)
    # A sum of r^(2n) over all n is 1 / (1 - r²).
    torch.testing.assert_close(recurrence.log_gain.exp() ** 2 / (1 - modulus**2), torch.ones(1000), rtol=1e-4, atol=0)


def test_in_float32_a_long_sequence_stays_close_to_the_exact_result(recurrence: LinearRecurrence) -> None:
    inputs = torch.randn(1, 500, 8, dtype=torch.float64)
    exact = recurrence(inputs)
    torch.testing.assert_close(recurrence.float()(inputs.float()).double(), exact, rtol=0, atol=2e-3)


def test_it_has_50114_parameters_at_width_64() -> None:
    operation = build_operation("lru", LayerSettings())
    recurrence = 64 * 128 + 128 + 128 * 64 + 64 + 3 * 64
    feed_forward = 64 * 256 + 256 + 256 * 64 + 64
    assert sum(p.numel() for p in operation.parameters()) == recurrence + feed_forward + 2 * 128 + 2 == 50_114


def test_its_flops_are_projections_turns_sum_and_feed_forward() -> None:
    # 5 = log2 of 30, rounded up; a turn of a complex number is 4 multiply-adds
    macs = 2 * 30 * 64 * 128 + 2 * 30 * 64 * 4 + 5 * 30 * 128 + 2 * 30 * 64 * 256
    assert operation_flops("lru", LayerSettings(), 30) == 2 * macs == 3_018_240
    assert operation_flops("lru", LayerSettings(hidden_size=1, inner_ratio=1), 1) == 2 * (4 + 8 + 0 + 2)
