from __future__ import annotations

import pytest
import torch

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual, dropout


@pytest.mark.parametrize(
    ("broken", "rule"),
    [
        ({"hidden_size": 0}, r"`hidden_size` must lie in 1\.\.65536, but is 0"),
        ({"inner_ratio": 0}, "`inner_ratio`"),
        ({"kernel_size": 1}, "`kernel_size` must lie in 2"),
        ({"dropout_prob": 1.0}, r"`hidden_dropout_prob` must lie in \[0, 1\)"),
        ({"dropout_prob": float("nan")}, "`hidden_dropout_prob`"),
        ({"layer_norm_eps": 0.0}, "`layer_norm_eps`"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(broken: dict[str, float], rule: str) -> None:
    with pytest.raises(ArchitectureError, match=rule):
        LayerSettings(**broken)


def test_every_broken_rule_is_named_at_once() -> None:
    with pytest.raises(ArchitectureError, match=r"hidden_size.*kernel_size"):
        LayerSettings(hidden_size=0, kernel_size=0)


def test_the_gate_starts_closed_and_is_one_trainable_number() -> None:
    gate = GatedResidual(LayerSettings(dropout_prob=0.0))
    hidden, branch = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert [parameter.numel() for parameter in gate.parameters()] == [1]
    assert torch.equal(gate(hidden, branch), hidden)
    with torch.no_grad():
        gate.scale.fill_(0.5)
    assert torch.equal(gate(hidden, branch), hidden + 0.5 * branch)


def test_without_the_gate_the_branch_is_added_as_it_is() -> None:
    gate = GatedResidual(LayerSettings(linear_residual=False, dropout_prob=0.0))
    hidden, branch = torch.randn(2, 3, 4), torch.randn(2, 3, 4)
    assert not list(gate.parameters())
    assert torch.equal(gate(hidden, branch), hidden + branch)


def test_dropout_falls_on_the_branch_and_never_on_the_residual_stream() -> None:
    gate = GatedResidual(LayerSettings(dropout_prob=0.5)).train()
    torch.nn.init.ones_(gate.scale)
    out = gate(torch.full((1, 100, 10), 3.0), torch.ones(1, 100, 10))
    assert set(out.unique().tolist()) == {3.0, 5.0}  # 1 / (1 - p) = 2 where it was kept
    assert gate.eval()(torch.zeros(1, 2, 2), torch.ones(1, 2, 2)).unique().tolist() == [1.0]


@pytest.mark.parametrize("prob", [0.1, 0.5, 0.9])
def test_dropout_zeroes_the_asked_share_and_keeps_the_mean(prob: float) -> None:
    values = torch.ones(1001, 333, requires_grad=True)  # an odd number: the random words do not divide it
    dropped = dropout(values, prob)
    zeros = dropped.detach() == 0
    assert float(zeros.double().mean()) == pytest.approx(prob, abs=5 * (prob * (1 - prob) / zeros.numel()) ** 0.5)
    assert dropped.detach()[~zeros].unique().tolist() == pytest.approx([1 / (1 - prob)], rel=1e-4)
    dropped.sum().backward()
    assert values.grad is not None
    assert torch.equal(values.grad, dropped.detach())


def test_dropout_is_independent_along_every_dimension() -> None:
    kept = (dropout(torch.ones(400, 400), 0.5) > 0).double() - 0.5
    for lag in range(1, 9):
        for dim in (0, 1):
            assert abs(float((kept * kept.roll(lag, dim)).mean())) < 0.25 * 5 / 400


def test_dropout_follows_the_seed_and_zero_is_the_identity() -> None:
    values = torch.randn(7, 5)
    torch.manual_seed(3)
    first = dropout(values, 0.3)
    torch.manual_seed(3)
    assert torch.equal(dropout(values, 0.3), first)
    assert torch.equal(dropout(values, 0.0), values)
