"""What every operation must keep to, tried out on random numbers: shape, causality, one result for one sequence."""

from __future__ import annotations

import torch

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.ops.base import LayerSettings, open_gates
from recbole_nasr.ops.registry import build_operation, operation_flops

_BATCH, _LENGTH, _CHANGED = 2, 9, 6


def check_contract(name: str, settings: LayerSettings) -> None:
    """Build the operation called ``name`` with open gates and run it; the global random state is left as it was.

    An operation that looks ahead sees the item it is trained to predict: every score would be too good. Rankings and
    recommendations take sequences in batches of any size, and several paths go on from one hidden sequence.

    Raises:
        ArchitectureError: If it cannot be built, its FLOPs are no number, or it breaks a rule of
            :class:`~recbole_nasr.ops.Operation`.
    """
    flops = operation_flops(name, settings, _LENGTH)
    if not isinstance(flops, int) or flops < 0:
        msg = f"The FLOPs of {name!r} must be an integer of at least 0, but are {flops!r}."
        raise ArchitectureError(msg)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        operation = build_operation(name, settings).eval()
        open_gates(operation, 1.0)
        hidden = torch.randn(_BATCH, _LENGTH, settings.hidden_size)
        given, other = hidden.clone(), hidden.clone()
        other[:, _CHANGED:] = torch.randn(_BATCH, _LENGTH - _CHANGED, settings.hidden_size)
        before, again, after, alone = (operation(one) for one in (hidden, hidden, other, given[:1].clone()))
    rules = (
        (before.shape == hidden.shape, f"must map (B, L, D) to (B, L, D), but made {tuple(before.shape)}"),
        (torch.equal(hidden, given), "must leave its input as it is, but changes it in place"),
        (bool(before.isfinite().all()), "must give finite numbers, but gave a NaN or an infinity"),
        (torch.equal(before, again), "must give one result for one input in eval mode, but gave two"),
        (_close(before[:1], alone), "must map each sequence by itself, but its outputs change with others of a batch"),
        (_close(before, after), "must be causal, but its earlier outputs change with later items"),
    )
    for holds, rule in rules:
        if not holds:
            msg = f"The operation {name!r} {rule}, at hidden_size={settings.hidden_size}."
            raise ArchitectureError(msg)


def _close(before: torch.Tensor, after: torch.Tensor) -> bool:
    return before.shape == after.shape and torch.allclose(before[:, :_CHANGED], after[:, :_CHANGED], atol=1e-4)
