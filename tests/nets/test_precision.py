"""How far bf16 is from fp32: what docs/reliability.md states is what is asserted here, on the CPU's bf16."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor

from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.nets import HybridNet, Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.softmax import SampledSoftmax, SoftmaxLoss, full_softmax, softmax_in_parts
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.progress import Progress
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.space import Architecture, SearchSpace

OPERATIONS = sorted(
    {name for space in available("properties/space") for name in load_yaml("properties/space", space)["candidate_ops"]}
    | {"gru4rec"}
)
OUTPUT, GRADIENT = 0.01, 0.01
WITH_RELU = 0.1
"""Of gradients behind ReLU: bf16 rounds some inputs to the other side of its kink."""
SETTINGS = LayerSettings(dropout_prob=0.0, linear_residual=False)


def relative(found: Tensor, exact: Tensor) -> float:
    """Return the norm of the difference over that of the exact value."""
    with torch.no_grad():
        return float((found.float() - exact).norm() / exact.norm().clamp_min(1e-30))


def both(function: Callable[[], Tensor], wanted: Sequence[Tensor]) -> list[tuple[Tensor, tuple[Tensor, ...]]]:
    """Return what ``function`` gives in fp32 and in bf16, and the gradients of a fixed mixture of it."""
    found = []
    for precision in ("fp32", "bf16"):
        with Acceleration(precision).training(torch.device("cpu")):
            output = function()
        mixture = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
        gradients = torch.autograd.grad((output.float() * mixture).sum(), wanted)
        found.append((output.detach().float(), gradients))
    return found


def flat(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([gradient.flatten().float() for gradient in gradients])


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_in_bf16_has_outputs_and_gradients_within_the_stated_bounds(name: str) -> None:
    torch.manual_seed(0)
    layer = build_operation(name, SETTINGS)
    hidden = torch.randn(8, 30, 64, requires_grad=True)
    (exact, exact_gradients), (found, gradients) = both(lambda: layer(hidden), [hidden, *layer.parameters()])
    assert relative(found, exact) < OUTPUT
    assert relative(found - hidden, exact - hidden) < OUTPUT  # of the branch alone
    bound = WITH_RELU if name.startswith("tcn") else GRADIENT
    assert relative(gradients[0], exact_gradients[0]) < bound
    assert relative(flat(gradients), flat(exact_gradients)) < bound


DRAWN = torch.arange(0, 400, 3)
LOSSES: dict[str, SoftmaxLoss] = {
    "full": full_softmax,
    "in parts": lambda *given: softmax_in_parts(*given, n_rows=64),
    "sampled": lambda *given: SampledSoftmax(torch.ones(400), len(DRAWN)).loss(DRAWN, *given),
}


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_the_softmax_loss_in_bf16_is_within_a_ten_thousandth_and_its_gradients_within_a_hundredth(
    loss: SoftmaxLoss,
) -> None:
    torch.manual_seed(0)
    hidden, weight = torch.randn(300, 64, requires_grad=True), (torch.randn(400, 64) / 8).requires_grad_()
    bias, targets = torch.zeros(400, requires_grad=True), torch.randint(0, 401, (300,))
    wanted = [hidden, weight, bias]
    (exact, exact_gradients), (found, gradients) = both(lambda: loss(hidden, weight, bias, targets), wanted)
    assert relative(found, exact) < 1e-4
    assert all(relative(one, other) < 0.01 for one, other in zip(gradients, exact_gradients, strict=True))


def test_a_network_of_the_papers_operations_in_bf16_has_its_loss_within_a_thousandth() -> None:
    torch.manual_seed(0)
    architecture = Architecture.parse("tcn_d1_2,tcn_d1_4,transformer_h8,transformer_h4")
    net = HybridNet(architecture, n_items=500, max_length=30, settings=SETTINGS)
    items = torch.randint(1, 500, (16, 30))
    (exact, _), (found, _) = both(lambda: net.loss(items, torch.full((16,), 30), items.roll(-1, 1)), [net.norm.weight])
    assert relative(found, exact) < 1e-3


@pytest.mark.parametrize("name", ["gru", "gru4rec"])
def test_a_recurrence_is_never_computed_in_half_precision_which_a_gpu_would_make_fp16(name: str) -> None:
    layer = build_operation(name, SETTINGS)
    hidden = torch.randn(2, 5, 64)
    with Acceleration("bf16").training(torch.device("cpu")):
        found = layer(hidden)
    assert found.dtype == torch.float32
    assert torch.equal(found, layer(hidden))


def test_paths_rank_alike_in_bf16_which_no_ranking_here_uses() -> None:
    torch.manual_seed(0)
    names = ("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4")
    net = Supernet(SearchSpace(names, (3,)), n_items=500, max_length=30, settings=SETTINGS)
    views = [(torch.randint(1, 500, (24, 30)), torch.full((24,), 30)) for _ in range(2)]
    scores = []
    for precision in ("fp32", "bf16"):
        with Acceleration(precision).training(torch.device("cpu")):
            values, _ = rank_paths(
                net, [()], (views[0], views[1]), list(product(range(4), repeat=3)), batch_size=24, progress=Progress()
            )
        scores.append(values.mean(dim=1).numpy())
    assert kendalltau(*scores).statistic > 0.9
