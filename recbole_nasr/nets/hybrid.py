"""The network of one architecture (paper Fig. 1)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.nets.embedding import SequenceEmbedding, initialise
from recbole_nasr.nets.next_item import last_real
from recbole_nasr.nets.output import softmax_layer
from recbole_nasr.nets.softmax import ExactSoftmax, SoftmaxLoss
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.space import Architecture


class HybridNet(nn.Module):
    """Embedding, the operations of an architecture in sequence, final LayerNorm, softmax layer.

    It knows nothing of RecBole and can be used on its own:

    Example:
        >>> net = HybridNet(Architecture.parse("transformer_h4,tcn_d1_2"), n_items=10, max_length=5)
        >>> item_seq, item_seq_len = torch.tensor([[3, 7, 2, 0, 0]]), torch.tensor([3])
        >>> net.scores(item_seq, item_seq_len).shape
        torch.Size([1, 10])

    Args:
        architecture: The operation of each layer.
        n_items: Item ids in use, padding (0) included.
        max_length: Longest input sequence.
        settings: Width, dropout and so on; the paper's by default.
        final_norm: Put a LayerNorm before the softmax layer. Off is Eq. 3 to the letter, where a stack of
            convolutions alone has no normalisation on its residual stream and trains badly.
        tie_embeddings: Let the softmax layer share the weights of the item embedding. Off is the paper (§2.2.3).

    Attributes:
        softmax: Computes the loss: the full softmax, unless it is replaced by a sampled one.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        n_items: int,
        max_length: int,
        settings: LayerSettings | None = None,
        final_norm: bool = True,
        tie_embeddings: bool = False,
    ) -> None:
        super().__init__()
        settings = settings or LayerSettings()
        self.architecture = architecture
        self.n_items = n_items
        self.embedding = SequenceEmbedding(n_items, max_length, settings.hidden_size)
        self.layers = nn.Sequential(*(build_operation(name, settings) for name in architecture.layers))
        self.norm = nn.LayerNorm(settings.hidden_size, eps=settings.layer_norm_eps) if final_norm else nn.Identity()
        self.softmax: SoftmaxLoss = ExactSoftmax()
        self.output = softmax_layer(settings.hidden_size, n_items, self.embedding.items if tie_embeddings else None)
        self.layers.apply(initialise)
        self.output.apply(initialise)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Encode right-padded ``item_seq (B, L)`` as ``(B, L, D)``, one vector per position."""
        hidden: Tensor = self.norm(self.layers(self.embedding(item_seq, item_seq_len)))
        return hidden

    def encode_last(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return the vector of the last real item, ``(B, D)``."""
        return last_real(self(item_seq, item_seq_len), item_seq_len)

    def loss(self, item_seq: Tensor, item_seq_len: Tensor, targets: Tensor, n_targets: Tensor | None = None) -> Tensor:
        """Return the mean cross-entropy of the next item over all real positions (§2.1, §2.2.3).

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            targets: ``(B, L)`` the item after each position; 0 where there is none.
            n_targets: What the sum is divided by if these rows are part of a batch; by default their number of targets.
        """
        hidden = self(item_seq, item_seq_len).flatten(0, 1)
        total = self.softmax(hidden, self.output.weight, self.output.bias, targets.flatten())
        return total / ((targets > 0).sum() if n_targets is None else n_targets)

    def scores(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Return the next-item logits ``(B, n_items)``; padding scores ``-inf``."""
        logits = self.output(self.encode_last(item_seq, item_seq_len))
        return F.pad(logits, (1, 0), value=-torch.inf)
