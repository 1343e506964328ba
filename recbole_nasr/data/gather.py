"""Gathers many windows of one flat column at once."""

from __future__ import annotations

import torch
from torch import Tensor


def gather_windows(column: Tensor, start: Tensor, length: Tensor, width: int) -> Tensor:
    """Return ``column[start : start + length]`` for every window, padded with zeros on the right.

    Args:
        column: ``(T, ...)`` values.
        start: ``(...)`` first position of each window.
        length: Same shape as ``start``; lengths in ``0..width``.
        width: Width of the result.

    Returns:
        ``(*start.shape, width, *column.shape[1:])``, the dtype of ``column``.

    Example:
        >>> gather_windows(torch.tensor([5, 6, 7, 8]), torch.tensor([0, 2]), torch.tensor([3, 1]), 4)
        tensor([[5, 6, 7, 0],
                [7, 0, 0, 0]])
    """
    step = torch.arange(width)
    outside = step >= length.unsqueeze(-1)
    position = (start.unsqueeze(-1) + step).masked_fill_(outside, 0)
    values = column[position]
    return values.masked_fill_(outside.reshape(outside.shape + (1,) * (column.dim() - 1)), 0)
