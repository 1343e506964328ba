"""The output head of a supernet that predicts the next item: that of the retrained network, at every position."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.nets.embedding import initialise
from recbole_nasr.nets.output import softmax_layer
from recbole_nasr.nets.padding import rows_with_targets
from recbole_nasr.nets.softmax import rows_at_a_time, rows_in_cache, softmax_in_parts
from recbole_nasr.ops import LayerSettings


class NextItemHead(nn.Module):
    """LayerNorm and a softmax layer over the items, as at the end of the retrained network.

    Args:
        n_items: Item ids in use, padding (0) included; item ``i`` is row ``i - 1`` of the softmax layer.
        settings: Width and epsilon of the LayerNorm.
        items: Item embedding to score with; the softmax layer has weights of its own without one.
        final_norm: Whether there is a LayerNorm.
    """

    def __init__(
        self, n_items: int, settings: LayerSettings, items: nn.Embedding | None = None, *, final_norm: bool = True
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps) if final_norm else nn.Identity()
        self.output = softmax_layer(settings.hidden_size, n_items, items)
        self.output.apply(initialise)

    def cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the cross-entropy at every position, shaped as ``targets``; 0 where there is no target.

        Args:
            hidden: ``(B, L, D)`` or ``(M, D)``, the output of the layers.
            targets: ``(B, L)`` or ``(M,)`` next items, 0 where there is none.
        """
        logits = self.output(self.norm(hidden))
        losses = F.cross_entropy(logits.flatten(0, -2), targets.flatten() - 1, ignore_index=-1, reduction="none")
        return losses.view_as(targets)

    def summed_cross_entropy(self, hidden: Tensor, targets: Tensor, *, n_held: int = 1) -> Tensor:
        """Return the sum of the cross-entropies at all positions, to be differentiated.

        Logits that would not fit into memory, or on a CPU into its cache, are computed some rows at a time, with the
        same loss and gradients; a CPU leaves out positions without a target.

        Args:
            hidden: ``(B, L, D)``, what the layers put out.
            targets: ``(B, L)`` next items, 0 where there is none.
            n_held: Sums such as this one of which a step computes all before the first gradient.
        """
        rows, targets = rows_with_targets(hidden.flatten(0, -2), targets.flatten())
        most = rows_at_a_time(self.output.out_features, hidden.device, n_held)
        if targets.size(0) <= most:
            return self.cross_entropy(rows, targets).sum()
        return softmax_in_parts(self.norm(rows), self.output.weight, self.output.bias, targets, most)

    @torch.no_grad()
    def cross_entropy_in_cache(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the same without gradients, where that takes half the time: on a CPU.

        Positions without a target are left out, and of the others so many are taken at a time that their logits do not
        leave the cache.
        """
        real, size = targets > 0, rows_in_cache(self.output.out_features)
        parts = zip(torch.split(hidden[real], size), torch.split(targets[real], size), strict=True)
        losses = hidden.new_zeros(targets.shape)
        losses[real] = torch.cat([self.cross_entropy(rows, wanted) for rows, wanted in parts])
        return losses

    def ranks(self, hidden: Tensor, targets: Tensor) -> Tensor:
        """Return the rank of each row's target among all items, 1 being best, ties counted against it.

        Args:
            hidden: ``(B, D)``, the output of the layers at one position.
            targets: ``(B,)`` item ids, none of them padding.
        """
        logits = self.output(self.norm(hidden))
        own = logits.gather(1, targets.unsqueeze(1) - 1)
        return (logits >= own).sum(dim=1)


def last_real(values: Tensor, length: Tensor) -> Tensor:
    """Return the value at the last real position of each right-padded row of ``values (B, L, ...)``."""
    rows = torch.arange(values.size(0), device=values.device)
    return values[rows, (length - 1).clamp_min(0)]
