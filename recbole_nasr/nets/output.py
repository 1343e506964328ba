"""The softmax layer: one with weights of its own, or one that shares them with the item embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TiedOutput(nn.Module):
    """Scores item ``i`` as ``h · E_i + b_i`` with its own embedding ``E_i``, so only the bias is a weight of its own.

    It replaces a ``torch.nn.Linear`` over the items and has the same attributes: ``weight`` and ``bias``,
    ``in_features`` and ``out_features``, item ``i`` in row ``i - 1``. Padding has no row: its embedding stays zero.
    Embeddings are drawn small (standard deviation 0.02), so that all items start nearly equal, as they do with a layer
    of its own.

    Note:
        Press and Wolf (EACL 2017). SASRec (Kang and McAuley, ICDM 2018) ties, without a bias; NASR (§2.2.3) does not.

    Args:
        items: The item embedding; row 0 is padding.
        n_items: Item ids in use, padding included; later rows of ``items`` are no items. By default all rows are.
    """

    def __init__(self, items: nn.Embedding, n_items: int | None = None) -> None:
        super().__init__()
        self.in_features, self.out_features = items.embedding_dim, (n_items or items.num_embeddings) - 1
        self.bias = nn.Parameter(torch.zeros(self.out_features))
        self._items = (items,)  # in a tuple: as a part of this module, the table would be in a checkpoint twice

    @property
    def weight(self) -> Tensor:
        """The rows of the item embedding but padding's, ``(V, D)``: a view, so gradients reach the embedding."""
        return self._items[0].weight[1 : self.out_features + 1]

    def forward(self, hidden: Tensor) -> Tensor:
        """Return the logits ``(..., V)`` of ``hidden (..., D)``."""
        return F.linear(hidden, self.weight, self.bias)


def softmax_layer(width: int, n_items: int, items: nn.Embedding | None = None) -> nn.Linear | TiedOutput:
    """Return a softmax layer over all items but padding; item ``i`` is row ``i - 1``.

    Args:
        width: Of what it is given.
        n_items: Item ids in use, padding included.
        items: Item embedding to score with; without one the layer has weights of its own.
    """
    return nn.Linear(width, n_items - 1) if items is None else TiedOutput(items, n_items)
