from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops import LayerSettings, Operation, build_operation, operation_class
from recbole_nasr.ops.convolution import ConvolutionOperation
from recbole_nasr.ops.transformer import TransformerOperation

Build = Callable[..., Operation]

OPERATIONS = ["transformer_h1", "transformer_h4", "tcn_d1_2", "tcn_d1_4", "tcn_d3", "gru4rec"]


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


@pytest.mark.parametrize("name", ["transformer_h4", "tcn_d1_2"])
def test_behind_a_closed_gate_weights_get_no_gradient_and_the_gates_do(name: str, open_operation: Build) -> None:
    operation = open_operation(name, scale=0.0)
    (operation(torch.randn(4, 6, 8)) * torch.randn(4, 6, 8)).sum().backward()
    outer_norms = {"attention_norm", "feed_forward_norm"}  # on the stream itself, not behind a gate
    for key, parameter in operation.named_parameters():
        if key.endswith("scale"):
            assert parameter.grad != 0, key
        elif key.split(".")[0] not in outer_norms:
            assert not parameter.grad.any(), key


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
