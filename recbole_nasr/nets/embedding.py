"""Item and position embeddings of a right-padded sequence, and the initialisation all networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

EMBEDDING_STD = 0.02


def initialise(module: nn.Module) -> None:
    """Draw the weights of one module; meant for :meth:`torch.nn.Module.apply`.

    Embeddings are normal with standard deviation 0.02 (RecBole's default for SASRec), linear layers Xavier-uniform
    with zero bias; anything else keeps torch's default. Supernet and retrained network use the same rule.
    """
    if isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=EMBEDDING_STD)
        if module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class SequenceEmbedding(nn.Module):
    """Sum of an item embedding and a position embedding, positions counted back from the last item.

    Position 0 is the last real item, whatever the length of the sequence: every training sequence trains the position
    that recommendations are read from.

    Args:
        n_tokens: Rows of the item table: padding (0), the items, and, in a supernet, the mask token.
        max_length: Longest sequence, at least 1.
        hidden_size: Width ``D``.
    """

    def __init__(self, n_tokens: int, max_length: int, hidden_size: int) -> None:
        super().__init__()
        self.items = nn.Embedding(n_tokens, hidden_size, padding_idx=0)
        self.positions = nn.Embedding(max_length, hidden_size)
        self.apply(initialise)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Embed right-padded ``item_seq (B, L)`` of lengths ``item_seq_len (B,)`` as ``(B, L, D)``.

        Values at padding are arbitrary but finite: every operation is causal, so no real position reads them.
        """
        steps = torch.arange(item_seq.size(1), device=item_seq.device)
        from_last = (item_seq_len.unsqueeze(1) - 1 - steps).clamp_min(0)  # (B, L)
        embedded: Tensor = self.items(item_seq) + self.positions(from_last)
        return embedded
