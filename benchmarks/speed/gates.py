"""Gates: nothing is timed that does not give what the plain reference gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Check:
    """One comparison with the reference.

    Args:
        name: What is compared.
        difference: How much they differ; not a number if they cannot be compared.
        tolerance: How much they may.
    """

    name: str
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is a number within the tolerance."""
        return math.isfinite(self.difference) and self.difference <= self.tolerance

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON, which has no word for a difference that is not finite."""
        difference = self.difference if math.isfinite(self.difference) else None
        return {"name": self.name, "difference": difference, "tolerance": self.tolerance, "passed": self.passed}


def failures(checks: Sequence[Check]) -> list[str]:
    """Return a sentence for every check that did not pass."""
    return [
        f"{check.name} differs by {check.difference:.3g}, more than {check.tolerance:.3g}"
        for check in checks
        if not check.passed
    ]


def close(name: str, found: Tensor, expected: Tensor, tolerance: float) -> Check:
    """Compare two tensors by their largest difference, relative to the largest expected value if that is above 1."""
    if found.shape != expected.shape:
        return Check(f"{name} (shape {tuple(found.shape)}, not {tuple(expected.shape)})", math.nan, tolerance)
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    if not expected.numel():
        return Check(name, 0.0, tolerance)
    return Check(name, float((found - expected).abs().max() / expected.abs().max().clamp_min(1.0)), tolerance)


def equal(name: str, found: Tensor, expected: Tensor) -> Check:
    """Count the elements that are not equal; none may be."""
    if found.shape != expected.shape:
        return Check(f"{name} (shape {tuple(found.shape)}, not {tuple(expected.shape)})", math.nan, 0.0)
    return Check(name, float((found.cpu() != expected.cpu()).sum()), 0.0)


def same_ranks(found: Tensor, scores: Tensor, targets: Tensor, tolerance: float) -> Check:
    """Count ranks ``(B,)`` that differ by more than the items whose score is as good as the target's.

    Two products of the same numbers, cut differently, differ in their last bits; with 200,000 items some score is then
    above the target's in one and below in the other.

    Args:
        found: Ranks, ties against the target.
        scores: ``(B, V)`` of the reference; column 0 (padding) is ignored.
        targets: ``(B,)`` item ids.
        tolerance: Scores that close, relative to the largest, count as equal.
    """
    others = scores[:, 1:]
    own = scores.gather(1, targets.unsqueeze(1))
    margin = tolerance * others[others.isfinite()].abs().max()
    best, worst = (others > own + margin).sum(dim=1) + 1, (others >= own - margin).sum(dim=1)
    outside = (found.to(scores.device) < best) | (found.to(scores.device) > worst)
    return Check("ranks", float(outside.sum()), 0.0)


def same_order(name: str, found: Tensor, expected: Tensor, tolerance: float) -> Check:
    """Count pairs of scores ``(P,)`` that are further apart than ``tolerance`` and in another order; none may be."""
    found, expected = found.detach().double().cpu(), expected.detach().double().cpu()
    apart = expected.unsqueeze(0) - expected.unsqueeze(1)
    swapped = (apart.abs() > tolerance) & ((found.unsqueeze(0) - found.unsqueeze(1)) * apart <= 0)
    return Check(name, float(swapped.sum()), 0.0)


def same_gradients(found: torch.nn.Module, expected: torch.nn.Module, tolerance: float) -> Check:
    """Compare all gradients of two modules by the norm of their difference, relative to the norm of the expected."""
    theirs = dict(expected.named_parameters())
    difference = total = 0.0
    for name, parameter in found.named_parameters():
        got, wanted = ((torch.zeros_like(one) if one.grad is None else one.grad) for one in (parameter, theirs[name]))
        difference += float((got - wanted).double().square().sum())
        total += float(wanted.double().square().sum())
    return Check("gradients", math.sqrt(difference / total) if total else math.nan, tolerance)
