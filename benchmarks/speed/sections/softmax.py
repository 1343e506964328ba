"""Output layer, cross-entropy and their backward pass, without the network before them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.floors import softmax_work
from benchmarks.speed.gates import Check, close, same_gradients
from benchmarks.speed.published import AS_SHIPPED
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SEED, Shape, training_batch
from recbole_nasr.nets.softmax import ExactSoftmax, softmax_in_parts

TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
PART = 128

Loss = Callable[[Tensor, nn.Linear, Tensor], Tensor]


def losses(device: torch.device) -> dict[str, tuple[Loss, str]]:
    """Return the package's ways to compute the loss, by name, each with a note."""
    exact = ExactSoftmax("inductor" if device.type == "cuda" else "")

    def fast(hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        return exact(hidden.flatten(0, 1), output.weight, output.bias, targets.flatten()) / (targets > 0).sum()

    def in_parts(hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
        total = softmax_in_parts(hidden.flatten(0, 1), output.weight, output.bias, targets.flatten(), PART)
        return total / (targets > 0).sum()

    return {
        "fast": (
            fast,
            "as the package does it here: on a CPU without padding, and as many rows at a time as its cache takes",
        ),
        "in parts": (in_parts, f"logits of {PART} rows at a time, gradients with the loss"),
    }


def cases(setting: Setting) -> Iterator[Case]:
    """Yield the loss at every size."""
    for shape in setting.shapes:
        yield _loss(setting, shape)


def _gradient(loss: Loss, hidden: Tensor, output: nn.Linear, targets: Tensor) -> Tensor:
    """Leave the gradients of a loss in ``hidden`` and ``output``, and return it."""
    output.zero_grad(set_to_none=True)
    hidden.grad = None
    value = loss(hidden, output, targets)
    torch.autograd.backward(value)
    return value.detach()


def _compared(loss: Loss, hidden: Tensor, output: nn.Linear, targets: Tensor) -> list[Check]:
    """Compare a loss and its gradients with those of the reference."""
    layers = [copy.deepcopy(output) for _ in range(2)]
    states = [hidden.detach().clone().requires_grad_() for _ in range(2)]
    found, expected = (
        _gradient(one, own, layer, targets)
        for one, own, layer in zip((loss, plain.softmax_loss), states, layers, strict=True)
    )
    given, wanted = states[0].grad, states[1].grad
    if given is None or wanted is None:
        return [Check("gradient of the input: there is none", float("nan"), 0.0)]
    scale = wanted.abs().max()
    return [
        close("loss", found, expected, TOLERANCE),
        close("gradient of the input", given / scale, wanted / scale, GRADIENT_TOLERANCE),
        same_gradients(layers[0], layers[1], GRADIENT_TOLERANCE),
    ]


def _loss(setting: Setting, shape: Shape) -> Case:
    device = setting.device
    _, _, targets = training_batch(shape, shape.batch_size, device)
    rng = torch.Generator().manual_seed(SEED)
    hidden = torch.randn(*targets.shape, shape.hidden_size, generator=rng).to(device).requires_grad_()
    layer = nn.Linear(shape.hidden_size, shape.n_items).to(device)

    lines = [
        Implementation(
            name="reference",
            run=lambda: _gradient(plain.softmax_loss, hidden, layer, targets),
            note="all logits written out",
        )
    ]
    for name, (loss, note) in losses(device).items():
        lines.append(
            Implementation(
                name=name,
                run=partial(_gradient, loss, hidden, layer, targets),
                check=partial(_compared, loss, hidden, layer, targets),
                note=note,
            )
        )
    if setting.published:
        note = "its network without layers: embedding, softmax layer, loss, backward pass"
        lines.append(setting.published.line(shape, AS_SHIPPED, "softmax", note=note))
    n_targets = int((targets > 0).sum())
    return Case(
        section="softmax",
        title="forward and backward",
        shape=shape.name,
        unit=f"{n_targets} targets among {shape.n_items} items",
        implementations=lines,
        work=softmax_work(shape, n_targets, backward=True),
        precision=setting.training_precision,
    )
