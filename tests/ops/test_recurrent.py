from __future__ import annotations

import torch

from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.ops.registry import operation_flops


def test_it_equals_the_equations_of_a_gru() -> None:
    operation = build_operation("gru4rec", LayerSettings(hidden_size=4))
    weights = dict(operation.recurrence.named_parameters())
    inputs, state, expected = torch.randn(2, 5, 4), torch.zeros(2, 4), []
    for step in range(5):
        from_input = inputs[:, step] @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]
        from_state = state @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]
        (r_in, z_in, n_in), (r_st, z_st, n_st) = from_input.chunk(3, 1), from_state.chunk(3, 1)
        reset, update = torch.sigmoid(r_in + r_st), torch.sigmoid(z_in + z_st)
        state = (1 - update) * torch.tanh(n_in + reset * n_st) + update * state
        expected.append(state)
    torch.testing.assert_close(operation(inputs), torch.stack(expected, dim=1))


def test_under_autocast_it_keeps_the_precision_of_its_weights() -> None:
    operation, inputs = build_operation("gru4rec", LayerSettings(hidden_size=4)), torch.randn(2, 5, 4)
    plain = operation(inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(operation(inputs), plain)
        assert operation(inputs.bfloat16()).dtype == torch.float32


def test_its_flops_are_six_matrix_products_per_item() -> None:
    assert operation_flops("gru4rec", LayerSettings(), 30) == 2 * 30 * 6 * 64 * 64
