"""The target of the contrastive objective: what several paths see in other views (Eq. 4-6)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def path_ensemble_target(projections: Tensor, *, leave_one_out: bool = False) -> Tensor:
    """Average the target branch over paths and return unit vectors, detached (Eq. 4 and 6).

    Every projection is normalised first, so that no path dominates through its norm, and the mean is normalised
    again, so that the distance to it lies in ``[0, 4]``.

    Args:
        projections: ``(P, B, D)``, one slice per path, in any order.
        leave_one_out: Return a target for each path, of the other paths alone; needs two paths.

    Returns:
        ``(B, D)`` of norm 1, or ``(P, B, D)`` when a path is left out of its own target.

    Raises:
        ValueError: If ``projections`` is not three-dimensional or holds too few paths.

    Example:
        >>> path_ensemble_target(torch.tensor([[[3.0, 0.0]], [[0.0, 4.0]]]))
        tensor([[0.7071, 0.7071]])
    """
    least = 1 + leave_one_out
    if projections.dim() != 3 or projections.size(0) < least:
        msg = f"`projections` must be (P >= {least}, B, D), but got shape {tuple(projections.shape)}."
        raise ValueError(msg)
    units = F.normalize(projections, dim=-1)
    if leave_one_out:
        return F.normalize(units.sum(dim=0) - units, dim=-1).detach()
    return F.normalize(units.mean(dim=0), dim=-1).detach()


def distance(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the squared L2 distance of each row of ``prediction (..., D)``, normalised, to unit ``target (..., D)``.

    It equals ``2 - 2 cos`` and lies in ``[0, 4]``.

    Note:
        Eq. 5 writes an L2 distance without saying what is normalised; the published code uses ``-2 cos``, which
        differs from this by the constant 2.

    Example:
        >>> distance(torch.tensor([[0.0, 5.0]]), torch.tensor([[1.0, 0.0]]))
        tensor([2.])
    """
    return (F.normalize(prediction, dim=-1) - target).square().sum(dim=-1)
