from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops import LayerSettings, Operation, build_operation, operation_class
from recbole_nasr.ops.convolution import ConvolutionOperation
from recbole_nasr.ops.transformer import TransformerOperation

Build = Callable[..., Operation]

GATED = ["transformer_h4", "tcn_d1_2", "ffn", "ligr_h4", "hstu_h4", "lru", "dwconv_k7", "gru"]
OPERATIONS = [*GATED, "transformer_h1", "tcn_d1_4", "tcn_d3", "dwconv_k1", "gru4rec", "skip"]
PRE_NORM = GATED[2:]


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_rows_make_no_rows(name: str, open_operation: Build) -> None:
    """Of several processes that share a small batch one may have none."""
    assert open_operation(name)(torch.zeros(0, 3, 8)).shape == (0, 3, 8)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("changed", [1, 5, 9])
def test_no_output_depends_on_a_later_input(name: str, changed: int, open_operation: Build) -> None:
    operation = open_operation(name).double()
    hidden = torch.randn(3, 10, 8, dtype=torch.float64)
    other = hidden.clone()
    other[:, changed:] = 100 * torch.randn(3, 10 - changed, 8, dtype=torch.float64)
    before, after = operation(hidden), operation(other)
    torch.testing.assert_close(before[:, :changed], after[:, :changed], rtol=0, atol=1e-13)
    assert not torch.allclose(before[:, changed:], after[:, changed:])


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_stands_in_the_padding_and_how_much_of_it_there_is_never_matters(name: str, open_operation: Build) -> None:
    operation = open_operation(name).double()
    hidden = torch.randn(3, 5, 8, dtype=torch.float64)
    padded = torch.cat([hidden, 100 * torch.randn(3, 7, 8, dtype=torch.float64)], dim=1)
    torch.testing.assert_close(operation(padded)[:, :5], operation(hidden), rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", GATED)
def test_behind_a_closed_gate_weights_get_no_gradient_and_the_gates_do(name: str, open_operation: Build) -> None:
    operation = open_operation(name, scale=0.0)
    (operation(torch.randn(4, 6, 8)) * torch.randn(4, 6, 8)).sum().backward()
    outer_norms = {"attention_norm", "feed_forward_norm"}  # on the stream itself, not behind a gate
    for key, parameter in operation.named_parameters():
        if key.endswith("scale"):
            assert parameter.grad != 0, key
        elif key.split(".")[0] not in outer_norms:
            assert not parameter.grad.any(), key


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", [*PRE_NORM, "skip"])
def test_with_a_closed_gate_the_operation_is_the_identity(name: str, training: bool) -> None:
    operation = build_operation(name, LayerSettings(hidden_size=8, dropout_prob=0.5)).train(training)
    hidden = torch.randn(3, 12, 8)
    assert torch.equal(operation(hidden), hidden)


@pytest.mark.parametrize("name", PRE_NORM)
def test_the_gate_can_be_taken_out_and_dropout_is_for_training_alone(name: str) -> None:
    settings = LayerSettings(hidden_size=8, dropout_prob=0.5, linear_residual=False)
    operation, hidden = build_operation(name, settings), torch.randn(3, 12, 8)
    assert not [key for key, _ in operation.named_parameters() if key.endswith("residual.scale")]
    assert not torch.equal(operation(hidden), operation(hidden))
    operation.eval()
    assert torch.equal(operation(hidden), operation(hidden))
    assert not torch.allclose(operation(hidden), hidden)


@pytest.mark.parametrize("name", OPERATIONS)
def test_training_never_makes_the_host_wait(name: str, open_operation: Build, no_synchronisation: Any) -> None:
    operation = open_operation(name).train()
    hidden = torch.randn(2, 9, 8, requires_grad=True)
    with no_synchronisation:
        operation(hidden).square().sum().backward()
    assert hidden.grad is not None
    assert all(parameter.grad is not None for parameter in operation.parameters())


@pytest.mark.parametrize("name", OPERATIONS)
def test_under_bf16_autocast_the_result_is_that_of_fp32_but_for_rounding(name: str, open_operation: Build) -> None:
    operation, hidden = open_operation(name), torch.randn(4, 20, 8)
    with torch.autocast("cpu", torch.bfloat16):
        rough = operation(hidden)
    torch.testing.assert_close(rough.float(), operation(hidden), rtol=0.05, atol=0.05)


@pytest.mark.filterwarnings("ignore:The tensor attributes.*flat_weights")  # torch's own, of its GRU
@pytest.mark.parametrize("name", PRE_NORM)
def test_it_is_one_graph_without_control_flow(name: str, open_operation: Build) -> None:
    operation, hidden = open_operation(name), torch.randn(2, 6, 8)
    graph = torch.export.export(operation, (hidden,)).module()
    other = torch.randn(2, 6, 8)
    torch.testing.assert_close(graph(other), operation(other))


@pytest.mark.parametrize("name", OPERATIONS)
def test_shape_and_dtype_are_kept_even_for_one_item(name: str, open_operation: Build) -> None:
    out = open_operation(name)(torch.randn(2, 1, 8))
    assert (out.shape, out.dtype) == ((2, 1, 8), torch.float32)


def test_a_name_gives_the_class_and_its_numbers() -> None:
    assert operation_class("transformer_h8") == (TransformerOperation, {"n_heads": (8,)})
    assert operation_class("tcn_d1_4") == (ConvolutionOperation, {"dilations": (1, 4)})


@pytest.mark.parametrize(
    "name", ["", "7", "tcn", "tcn_d", "tcn_d1_", "Transformer_h4", "transformer_h4 ", "tcn_d1_2\n", "x" * 1000]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(ArchitectureError, match="must be one of the known families"):
        operation_class(name)


@pytest.mark.parametrize("name", ["tcn_d0", "tcn_d1_0", "transformer_h0", "tcn_d10000", "tcn_d01"])
def test_numbers_are_written_in_one_way_only(name: str) -> None:
    with pytest.raises(ArchitectureError, match=rf"1\.\.9999.*'{name}'"):
        operation_class(name)


def test_digits_of_other_scripts_are_no_numbers() -> None:
    with pytest.raises(ArchitectureError, match="known families"):
        operation_class("tcn_d\N{FULLWIDTH DIGIT TWO}")


def test_a_near_miss_is_told_the_nearest_name() -> None:
    with pytest.raises(ArchitectureError, match="Did you mean 'transformer_h4'"):
        operation_class("transfomer_h4")


def test_built_twice_an_operation_shares_no_weights() -> None:
    settings = LayerSettings(hidden_size=8)
    first, second = (build_operation("tcn_d1_2", settings) for _ in range(2))
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}
