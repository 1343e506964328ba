"""Training sequences on the device, and batches of them without a loop over rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from recbole_nasr.data.chunks import TrainingChunks
from recbole_nasr.data.gather import gather_windows
from recbole_nasr.search import SearchSequences


@dataclass(frozen=True)
class SequenceBatches:
    """The training chunks of a data set, held on the device.

    Args:
        items: ``(T,)`` all items in order.
        start: ``(N,)`` flat position of each chunk's first input.
        length: ``(N,)`` inputs of each chunk.
        width: Inputs of the longest chunk.
    """

    items: Tensor
    start: Tensor
    length: Tensor
    width: int

    @classmethod
    def from_chunks(cls, chunks: TrainingChunks, device: torch.device | str) -> SequenceBatches:
        """Move ``chunks`` to ``device``."""
        width = int(chunks.length.max())
        return cls(chunks.items.to(device), chunks.start.to(device), chunks.length.to(device), width)

    def __len__(self) -> int:
        return self.start.size(0)

    def n_steps(self, batch_size: int) -> int:
        """Return how many batches an epoch has."""
        return math.ceil(len(self) / batch_size)

    def gather(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ``item_seq (B, width)``, ``item_seq_len (B,)`` and ``targets (B, width)``, right-padded with 0."""
        length = self.length[rows]
        steps = torch.arange(self.width, device=self.items.device)
        real = steps < length.unsqueeze(1)
        source = torch.where(real, self.start[rows].unsqueeze(1) + steps, 0)
        return torch.where(real, self.items[source], 0), length, torch.where(real, self.items[source + 1], 0)

    def target_counts(self, n_items: int) -> Tensor:
        """Return how often each of ``n_items`` ids is a target, ``(n_items,)``; padding is none."""
        # A step up where targets begin, one down behind their end: the running sum is how many chunks have a place.
        change = torch.zeros(self.items.size(0) + 1, dtype=torch.int64, device=self.items.device)
        ones = torch.ones_like(self.start)
        change.index_add_(0, self.start + 1, ones).index_add_(0, self.start + self.length + 1, -ones)
        times = change.cumsum(0)[:-1]
        counts = torch.zeros(n_items, dtype=torch.int64, device=self.items.device)
        return counts.index_add_(0, self.items.long(), times)

    def epoch(
        self, batch_size: int, generator: torch.Generator | None, rank: int = 0, world_size: int = 1, n_done: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """Yield every chunk once, in batches that differ in size by at most one.

        Args:
            batch_size: Largest batch.
            generator: Source of a random order, on the device of the chunks and in the same state in every process;
                without it, the order is that of the data.
            rank: Number of this process.
            world_size: How many processes share each batch.
            n_done: Batches to leave out at the start.

        Yields:
            What :meth:`gather` returns for this process's share of a batch, and how many targets the whole batch has.
        """
        if generator is None:
            order = torch.arange(len(self), device=self.items.device)
        else:
            order = torch.randperm(len(self), generator=generator, device=self.items.device)
        for rows in order.tensor_split(self.n_steps(batch_size))[n_done:]:
            own = rows.tensor_split(world_size)[rank]
            yield *self.gather(own), self.length[rows].sum()


def search_sequences(chunks: TrainingChunks, max_length: int) -> SearchSequences:
    """Return what a search may see: the training items of every chunk, its last target included.

    Args:
        chunks: The training part; validation and test items are no part of any chunk.
        max_length: Longest sequence; of a longer one the last items are taken.

    Returns:
        Sequences of at most ``max_length`` items, on the CPU.
    """
    length = (chunks.length + 1).clamp_max(max_length)
    start = chunks.start + chunks.length + 1 - length
    return SearchSequences(gather_windows(chunks.items, start, length, int(length.max())), length, chunks.group)
