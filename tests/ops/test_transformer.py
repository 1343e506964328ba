from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops import LayerSettings, Operation, build_operation, validate_operation
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.ops.transformer import LONGEST_PRODUCT, causal_attention

Build = Callable[..., Operation]


@pytest.mark.parametrize("n_heads", [1, 4])
@pytest.mark.parametrize("length", [1, 7, LONGEST_PRODUCT, LONGEST_PRODUCT + 1])
def test_attention_equals_torchs_own_outputs_and_gradients(n_heads: int, length: int) -> None:
    parts = [torch.randn(3, n_heads, length, 4, dtype=torch.double, requires_grad=True) for _ in range(3)]
    upstream = torch.randn(3, n_heads, length, 4, dtype=torch.double)
    ours, theirs = causal_attention(*parts), F.scaled_dot_product_attention(*parts, is_causal=True)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for mine, other in zip(
        torch.autograd.grad(ours, parts, upstream), torch.autograd.grad(theirs, parts, upstream), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def plain_attention(operation: Operation, hidden: torch.Tensor, n_heads: int) -> torch.Tensor:
    batch, length, width = hidden.shape
    size = width // n_heads
    query, key, value = operation.query_key_value(hidden).split(width, dim=-1)
    mixed = torch.zeros_like(hidden)
    for row in range(batch):
        for head in range(n_heads):
            part = slice(head * size, (head + 1) * size)
            for step in range(length):
                logits = key[row, : step + 1, part] @ query[row, step, part] / size**0.5
                mixed[row, step, part] = torch.softmax(logits, dim=0) @ value[row, : step + 1, part]
    return operation.attention_output(mixed)


@pytest.mark.parametrize("n_heads", [1, 2, 4])
def test_the_operation_equals_equation_2_with_attention_as_a_plain_loop(n_heads: int, open_operation: Build) -> None:
    operation = open_operation(f"transformer_h{n_heads}", layer_norm_eps=1e-3).double()
    hidden = torch.randn(2, 6, 8, dtype=torch.float64)
    middle = F.layer_norm(hidden + 0.7 * plain_attention(operation, hidden, n_heads), (8,), eps=1e-3)
    branch = operation.outer(F.gelu(operation.inner(middle)))
    expected = F.layer_norm(middle + 0.7 * branch, (8,), eps=1e-3)
    torch.testing.assert_close(operation(hidden), expected)


@pytest.mark.parametrize("training", [False, True])
def test_with_closed_gates_only_the_two_norms_remain(training: bool, open_operation: Build) -> None:
    operation = open_operation("transformer_h2", scale=0.0, dropout_prob=0.5).train(training)
    for norm in (operation.attention_norm, operation.feed_forward_norm):
        torch.nn.init.normal_(norm.weight)
        torch.nn.init.normal_(norm.bias)
    hidden = 0.01 * torch.randn(3, 5, 8)
    expected = operation.feed_forward_norm(operation.attention_norm(hidden))
    assert torch.equal(operation(hidden), expected)


@pytest.mark.parametrize("n_heads", [4, 8])
def test_it_has_49986_parameters_at_width_64_whatever_its_heads(n_heads: int) -> None:
    operation = build_operation(f"transformer_h{n_heads}", LayerSettings())
    attention, feed_forward = 4 * (64 * 64 + 64), 64 * 256 + 256 + 256 * 64 + 64
    assert sum(p.numel() for p in operation.parameters()) == attention + feed_forward + 4 * 64 + 2 == 49_986


def test_its_flops_are_projections_attention_and_feed_forward() -> None:
    projections, attention, feed_forward = 4 * 30 * 64 * 64, 2 * 30 * 30 * 64, 2 * 30 * 64 * 256
    assert operation_flops("transformer_h8", LayerSettings(), 30) == 3_179_520
    assert 2 * (projections + attention + feed_forward) == 3_179_520


def test_heads_that_do_not_divide_the_width_are_refused_before_building() -> None:
    with pytest.raises(ArchitectureError, match=r"`transformer_h3`.*hidden_size=64; change one of the two"):
        validate_operation("transformer_h3", LayerSettings())
