from __future__ import annotations

import torch
from torch import nn

from benchmarks.speed.cases import Case, Effort, Implementation, measure
from benchmarks.speed.gates import Check, close, equal, same_gradients, same_order
from benchmarks.speed.timing import Seconds

CPU = torch.device("cpu")
QUICK = Effort(rounds=3, budget_s=0.0, least_rounds=1, shortest_round_s=0.0)


def lines_of(*implementations: Implementation) -> dict[str, dict]:
    case = Case(section="test", title="sum", shape="tiny", unit="call", implementations=list(implementations))
    return {line["implementation"]: line for line in measure(case, CPU, QUICK)}


def test_an_implementation_that_gives_something_else_is_refused_and_never_timed() -> None:
    numbers = torch.arange(6.0)
    calls: list[str] = []

    def wrong() -> torch.Tensor:
        calls.append("wrong")
        return numbers.sum() + 0.1

    found = lines_of(
        Implementation(name="reference", run=numbers.sum),
        Implementation(name="right", run=numbers.sum, check=lambda: [close("sum", numbers.sum(), numbers.sum(), 0.0)]),
        Implementation(name="wrong", run=wrong, check=lambda: [close("sum", wrong(), numbers.sum(), 1e-5)]),
    )
    assert "median_s" in found["reference"]
    assert "median_s" in found["right"]
    assert "median_s" not in found["wrong"]
    assert found["wrong"]["refused"] == "sum differs by 0.00667, more than 1e-05"
    assert calls == ["wrong"]


def test_a_difference_that_is_no_number_does_not_pass() -> None:
    assert not Check("anything", float("nan"), 1.0).passed
    assert not close("shapes", torch.zeros(2), torch.zeros(3), 1.0).passed
    assert not close("numbers", torch.tensor([float("nan")]), torch.zeros(1), 1.0).passed


def test_one_rank_that_differs_is_one_too_many() -> None:
    assert equal("ranks", torch.tensor([1, 2, 3]), torch.tensor([1, 2, 3])).passed
    assert equal("ranks", torch.tensor([1, 2, 3]), torch.tensor([1, 2, 4])).difference == 1.0


def test_order_matters_only_where_scores_are_further_apart_than_the_tolerance() -> None:
    expected = torch.tensor([0.0, 1e-7, 1.0])
    assert same_order("order", torch.tensor([1e-7, 0.0, 1.0]), expected, 1e-5).passed
    assert not same_order("order", torch.tensor([0.0, 1.0, 0.5]), expected, 1e-5).passed


def test_a_gradient_that_is_missing_counts_as_zero() -> None:
    first, second = nn.Linear(2, 1), nn.Linear(2, 1)
    second.load_state_dict(first.state_dict())
    for layer in (first, second):
        layer(torch.ones(1, 2)).sum().backward()
    assert same_gradients(first, second, 1e-6).passed
    first.bias.grad = None
    assert not same_gradients(first, second, 1e-6).passed


def test_kernels_and_the_first_call_are_kept_beside_the_time() -> None:
    numbers = torch.ones(1000)
    line = lines_of(Implementation(name="reference", run=lambda: (numbers.view(10, 100) + 1).mul_(2).sum()))[
        "reference"
    ]
    assert line["kernels"] == 3  # the view is none
    assert 4000 <= line["peak_bytes"] < 5000
    assert line["first_call_s"] > 0


def test_another_process_reports_its_own_seconds() -> None:
    found = lines_of(Implementation(name="theirs", remote=lambda: Seconds(2.0, 1.5)))["theirs"]
    assert (found["wall_s"], found["median_s"], found["q3_s"]) == (2.0, 1.5, 1.5)
