"""What every operation must keep to, tried out on random numbers: shape, causality, one result for one sequence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops.base import LayerSettings, Operation, open_gates
from recbole_nasr.ops.registry import build_operation, operation_class, operation_flops

_BATCH, _CHANGED = 2, 6
_FEWEST, _MOST = 3, 300  # items from the first changed one on


def check_own(names: Iterable[str], settings: LayerSettings) -> None:
    """Check, once each, those of ``names`` that no module of this package registers, in the settings of the network.

    Raises:
        ArchitectureError: As `check_contract` does.
    """
    for name in dict.fromkeys(names):
        operation = operation_class(name)[0]
        if not operation.__module__.startswith("recbole_nasr."):
            _check_once(name, operation, settings)


@lru_cache(maxsize=1024)
def _check_once(name: str, _operation: type[Operation], settings: LayerSettings) -> None:
    check_contract(name, settings)


def check_contract(name: str, settings: LayerSettings) -> None:
    """Build the operation called ``name`` with open gates and run it; the global random state is left as it was.

    An operation that looks ahead sees the item it is trained to predict: every score would be too good. Rankings and
    recommendations take sequences in batches of any size, and several paths go on from one hidden sequence. Numbers in
    the name, up to 300, may say how far an operation looks, so sequences are longer than each of them.

    Raises:
        ArchitectureError: If it cannot be built, its FLOPs are no number, or it breaks a rule of
            :class:`~recbole_nasr.ops.Operation`.
    """
    length = _CHANGED + max([_FEWEST, *(min(int(number), _MOST) for number in re.findall(r"\d+", name))])
    flops = operation_flops(name, settings, length)
    if not isinstance(flops, int) or flops < 0:
        msg = f"The FLOPs of {name!r} must be an integer of at least 0, but are {flops!r}."
        raise ArchitectureError(msg)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        operation = build_operation(name, settings)
        open_gates(operation, 1.0)
        hidden = torch.randn(_BATCH, length, settings.hidden_size)
        for rules_of in (_rules_of_evaluation, _rules_of_training):
            for holds, rule in rules_of(operation, hidden):
                if not holds:
                    msg = f"The operation {name!r} {rule}, at hidden_size={settings.hidden_size}."
                    raise ArchitectureError(msg)


def _rules_of_evaluation(operation: Operation, hidden: Tensor) -> list[tuple[bool, str]]:
    operation.eval()
    given = hidden.clone()
    before, again, after = operation(hidden), operation(hidden), operation(_with_other_items(given))
    alone, shorter = operation(given[:1].clone()), operation(given[:, :_CHANGED].clone())
    return [
        (before.shape == hidden.shape, f"must map (B, L, D) to (B, L, D), but made {tuple(before.shape)}"),
        (torch.equal(hidden, given), "must leave its input as it is, but changes it in place"),
        (bool(before.isfinite().all()), "must give finite numbers, but gave a NaN or an infinity"),
        (torch.equal(before, again), "must give one result for one input in eval mode, but gave two"),
        (_close(before[:1], alone), "must map each sequence by itself, but its outputs change with others of a batch"),
        (_close(before, after), "must be causal, but its earlier outputs change with later items"),
        (
            _close(before, shorter),
            "must map an item alike however many follow, but its outputs change with their number",
        ),
    ]


def _rules_of_training(operation: Operation, hidden: Tensor) -> list[tuple[bool, str]]:
    """Return those of training mode, where dropout draws alike each time, and statistics are those of a batch."""
    operation.train()

    def trained(inputs: Tensor) -> Tensor:
        torch.manual_seed(0)
        return operation(inputs)

    others = torch.cat([hidden[:1], torch.randn_like(hidden[1:])])
    before, after, beside = trained(hidden.clone()), trained(_with_other_items(hidden)), trained(others)
    return [
        (_close(before, after), "must be causal in training too, but its earlier outputs change with later items"),
        (
            _close(before[:1], beside[:1]),
            "must map each sequence by itself in training too, but its outputs change with others of a batch",
        ),
    ]


def _with_other_items(hidden: Tensor) -> Tensor:
    """Return a copy with other values from the item ``_CHANGED`` on."""
    return torch.cat([hidden[:, :_CHANGED], torch.randn_like(hidden[:, _CHANGED:])], dim=1)


def _close(before: Tensor, after: Tensor) -> bool:
    before, after = before[:, :_CHANGED], after[:, :_CHANGED]
    return before.shape == after.shape and torch.allclose(before, after, atol=1e-4)
