"""Output layer, cross-entropy and their backward pass, without the network before them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator

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
        "fast": (fast, "all rows at once where memory allows, as the package does it here"),
        "in parts": (in_parts, f"logits of {PART} rows at a time, gradients with the loss"),
    }


def cases(setting: Setting) -> Iterator[Case]:
    """Yield the loss at every size."""
    for shape in setting.shapes:
        yield _loss(setting, shape)


def _loss(setting: Setting, shape: Shape) -> Case:
    device = setting.device
    _, _, targets = training_batch(shape, shape.batch_size, device)
    rng = torch.Generator().manual_seed(SEED)
    hidden = torch.randn(*targets.shape, shape.hidden_size, generator=rng).to(device).requires_grad_()
    layer = nn.Linear(shape.hidden_size, shape.n_items).to(device)

    def step(loss: Loss, output: nn.Linear, states: Tensor) -> Tensor:
        output.zero_grad(set_to_none=True)
        states.grad = None
        value = loss(states, output, targets)
        torch.autograd.backward(value)
        return value.detach()

    def check(loss: Loss) -> list[Check]:
        layers, states = (
            [copy.deepcopy(layer) for _ in range(2)],
            [hidden.detach().clone().requires_grad_() for _ in range(2)],
        )
        found, expected = step(loss, layers[0], states[0]), step(plain.softmax_loss, layers[1], states[1])
        given, wanted = states[0].grad, states[1].grad
        if given is None or wanted is None:
            return [Check("gradient of the input: there is none", float("nan"), 0.0)]
        inner = close(
            "gradient of the input", given / wanted.abs().max(), wanted / wanted.abs().max(), GRADIENT_TOLERANCE
        )
        return [
            close("loss", found, expected, TOLERANCE),
            inner,
            same_gradients(layers[0], layers[1], GRADIENT_TOLERANCE),
        ]

    lines = [
        Implementation(
            name="reference", run=lambda: step(plain.softmax_loss, layer, hidden), note="all logits written out"
        )
    ]
    for name, (loss, note) in losses(device).items():
        lines.append(_line(name, note, loss, step, check, layer, hidden))
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


def _line(
    name: str,
    note: str,
    loss: Loss,
    step: Callable[[Loss, nn.Linear, Tensor], Tensor],
    check: Callable[[Loss], list[Check]],
    layer: nn.Linear,
    hidden: Tensor,
) -> Implementation:
    return Implementation(name=name, note=note, run=lambda: step(loss, layer, hidden), check=lambda: check(loss))
