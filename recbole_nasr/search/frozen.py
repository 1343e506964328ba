"""What frozen blocks make of sequences that stay the same: computed once, not at every step and every ranking."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recbole_nasr.nets import Supernet
from recbole_nasr.nets.memory import memory_share, ran_out
from recbole_nasr.search.augmentation import View
from recbole_nasr.search.objective import Prefix


class FrozenOutputs:
    """The outputs of the earlier, frozen blocks for a fixed set of sequences, held where they fit into memory.

    Blocks before the one under search run in eval mode and no longer change, so what they make of a sequence is
    always the same. It holds for a stored view too, but not for the views of a training step, which are drawn anew.

    Args:
        supernet: Holds the frozen blocks.
        item_seq: ``(N, L)`` item ids, right-padded.
        item_seq_len: ``(N,)`` lengths.
        n_shares: How many such objects share the memory.
    """

    def __init__(self, supernet: Supernet, item_seq: Tensor, item_seq_len: Tensor, n_shares: int = 1) -> None:
        self.supernet, self.item_seq, self.item_seq_len, self.n_shares = supernet, item_seq, item_seq_len, n_shares
        self._held: dict[Prefix, Tensor] = {}

    @property
    def view(self) -> View:
        """The sequences and their lengths."""
        return self.item_seq, self.item_seq_len

    @property
    def prefixes(self) -> tuple[Prefix, ...]:
        """Whose outputs are held."""
        return tuple(self._held)

    def some(self, rows: Tensor) -> FrozenOutputs:
        """Return the same for the sequences at ``rows``, without what is held."""
        return FrozenOutputs(self.supernet, self.item_seq[rows], self.item_seq_len[rows], self.n_shares)

    @torch.no_grad()
    def advance(self, prefixes: Sequence[Prefix], batch_size: int) -> None:
        """Hold the outputs behind ``prefixes`` instead of what was held, if they fit; go on from what was held.

        Call it when the blocks of ``prefixes`` are frozen and in eval mode.

        Args:
            prefixes: Chosen paths of the earlier blocks; outputs of no block, the embedding alone, are not held.
            batch_size: Sequences per forward pass.
        """
        n_sequences, length = self.item_seq.shape
        table = self.supernet.embedding.items.weight
        n_bytes = len(prefixes) * n_sequences * length * table.size(1) * table.element_size()
        if not all(prefixes) or n_bytes > memory_share(table.device) // self.n_shares:
            self._held = {}
            return
        try:
            self._held = {
                prefix: self._held[prefix] if prefix in self._held else self._outputs(prefix, batch_size)
                for prefix in prefixes
            }
        except RuntimeError as error:
            if not ran_out(error):
                raise
            self._held = {}  # they are computed whenever they are asked for

    def _outputs(self, prefix: Prefix, batch_size: int) -> Tensor:
        before, path = self._held.get(prefix[:-1]), prefix[-1]
        parts = []
        for start in range(0, self.item_seq.size(0), batch_size):
            rows = slice(start, start + batch_size)
            if before is None:
                parts.append(self.supernet.prefix(self.item_seq[rows], self.item_seq_len[rows], prefix))
            else:
                parts.append(self.supernet.block(len(prefix) - 1)(before[rows], path))
        return torch.cat(parts)

    def rows(self, prefix: Prefix, rows: Tensor | slice, width: int | None = None) -> Tensor:
        """Return the first ``width`` positions of what enters block ``len(prefix)``, by default all: ``(B, L, D)``.

        It is held or computed now. Held outputs are in fp32; those computed within a step in bf16 are too, so that a
        search does not depend on whether they fit into memory.
        """
        held = self._held.get(prefix)
        if held is not None:
            return held[rows, :width].contiguous()
        with torch.autocast(self.item_seq.device.type, enabled=False):
            return self.supernet.prefix(self.item_seq[rows, :width], self.item_seq_len[rows], prefix)
