from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from recbole_nasr.ops import LayerSettings, Operation, build_operation
from recbole_nasr.ops.hstu import LONGEST_DISTANCE
from recbole_nasr.ops.registry import operation_flops

Build = Callable[..., Operation]


def test_it_equals_its_equations_as_a_plain_loop(open_operation: Build) -> None:
    operation = open_operation("hstu_h2", layer_norm_eps=1e-3).double()
    body = operation.branch.body
    torch.nn.init.normal_(body.distance_bias.weight)
    hidden = torch.randn(1, 6, 8, dtype=torch.float64)
    gate, query, key, value = F.silu(body.projections(F.layer_norm(hidden, (8,), eps=1e-3)))[0].split(8, dim=-1)
    mixed = torch.zeros(6, 8, dtype=torch.float64)
    for head, part in enumerate((slice(0, 4), slice(4, 8))):
        for step in range(6):
            for source in range(step + 1):
                bias = body.distance_bias.weight[step - source, head]
                mixed[step, part] += F.silu(query[step, part] @ key[source, part] + bias) * value[source, part]
    expected = hidden[0] + 0.7 * body.output(F.layer_norm(mixed, (8,), eps=1e-3) * gate)
    torch.testing.assert_close(operation(hidden)[0], expected)


def test_far_items_share_the_last_bias(open_operation: Build) -> None:
    operation = open_operation("hstu_h2").double()
    hidden = torch.randn(1, LONGEST_DISTANCE + 3, 8, dtype=torch.float64)
    before = operation(hidden)
    with torch.no_grad():
        operation.branch.body.distance_bias.weight[LONGEST_DISTANCE] += 1
    changed = (operation(hidden) - before).abs().sum(dim=(0, 2)) > 1e-9
    assert changed.tolist() == [False] * LONGEST_DISTANCE + [True] * 3


def test_it_has_21569_parameters_at_width_64() -> None:
    operation = build_operation("hstu_h4", LayerSettings())
    projections, norms, biases = 5 * (64 * 64 + 64), 2 * 2 * 64, 128 * 4
    assert sum(p.numel() for p in operation.parameters()) == projections + norms + biases + 1 == 21_569


def test_its_flops_are_five_projections_and_two_attention_products() -> None:
    macs = 5 * 30 * 64 * 64 + 2 * 30 * 30 * 64
    assert operation_flops("hstu_h4", LayerSettings(), 30) == 2 * macs == 1_459_200
