"""The objective that needs no second view: predict the next item, as the retrained network will."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from recbole_nasr import distributed
from recbole_nasr.errors import DataError
from recbole_nasr.nets import NextItemHead, Supernet
from recbole_nasr.nets.padding import passes
from recbole_nasr.progress import Progress
from recbole_nasr.search.dealing import Deal, run_dealt
from recbole_nasr.search.frozen import FrozenOutputs
from recbole_nasr.search.next_item_scores import PathScorer, last_outputs
from recbole_nasr.search.objective import Objective, Prefix, evaluation_mode
from recbole_nasr.search.path_scores import PathScores, check_finite
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.search.stacked import in_order, states_at_a_time
from recbole_nasr.space import Path

Examples = tuple[Tensor, Tensor, Tensor]
"""``item_seq (B, L - 1)``, ``item_seq_len (B,)`` and ``targets (B, L - 1)``, right-padded with 0."""


def _stretches(n_rows: int, n_parts: int) -> list[range]:
    """Cut ``n_rows`` rows into stretches of equal length, the first ones longer by one where they must be."""
    size, n_longer = divmod(n_rows, n_parts)
    ends = [part * size + min(part, n_longer) for part in range(n_parts + 1)]
    return [range(start, end) for start, end in pairwise(ends)]


def next_items(item_seq: Tensor, item_seq_len: Tensor) -> Examples:
    """Return inputs and targets of right-padded sequences: at every position but the last, the item after it."""
    length = (item_seq_len - 1).clamp_min(0)
    real = torch.arange(item_seq.size(1) - 1, device=item_seq.device) < length.unsqueeze(1)
    return torch.where(real, item_seq[:, :-1], 0), length, torch.where(real, item_seq[:, 1:], 0)


class NextItem(Objective):
    """Single-path one-shot training on the next item (SPOS, Guo et al. 2020), ranking by shared weights.

    In sequential recommendation the labels are free: the items that follow. Every sampled path of a step takes an equal
    share of the batch, so that a step costs one pass through the softmax layer however many paths it samples, and
    paths are scored by the cross-entropy of the held-out sequences, or by ``1 - NDCG@k`` at their last item. Items
    of validation and test, with leave-one-out the last two of every sequence, are no part of any sequence here.
    """

    adds_up = False  # the score behind a block is already that of the whole network up to there

    def __init__(self, supernet: Supernet, settings: SearchSettings, seed: int) -> None:
        super().__init__(supernet, settings, seed)
        self.trained_on: FrozenOutputs | None = None
        cut = settings.ndcg_cut
        self.metric = "cross-entropy of the next item" if cut is None else f"1 - NDCG@{cut} of the last item"

    @property
    def head(self) -> NextItemHead:
        """The softmax layer of the supernet."""
        assert self.supernet.head is not None  # noqa: S101 - for the type checker
        return self.supernet.head

    def train_on(self, sequences: SearchSequences, prefixes: Sequence[Prefix]) -> None:
        """Compute what the frozen blocks make of ``sequences``, once for all steps, if it fits into memory."""
        inputs, length, _ = next_items(sequences.item_seq, sequences.item_seq_len)
        if self.trained_on is None:  # the sequences are the same for every block
            self.trained_on = FrozenOutputs(self.supernet, inputs, length)
        self.trained_on.advance(prefixes, self.batch_size)

    def loss(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return the mean cross-entropy over all targets, each path on its share of the rows.

        Of several processes each computes its share of the rows, and returns what these add to the mean.
        """
        n_rows = item_seq.size(0)
        own = distributed.own_rows(n_rows)
        hidden, targets = self._entering(item_seq[own], item_seq_len[own], prefix, None if rows is None else rows[own])
        losses = []
        for path, stretch in zip(paths, _stretches(n_rows, len(paths)), strict=True):
            part = slice(max(stretch.start, own.start) - own.start, min(stretch.stop, own.stop) - own.start)
            if part.start < part.stop:
                losses.append(self._sum(hidden[part], targets[part], path, n_held=len(paths)))
        summed = torch.stack(losses).sum() if losses else hidden.new_zeros(())
        return summed / (item_seq_len - 1).clamp_min(0).sum().clamp_min(1)

    def trained_paths(self, paths: Sequence[Path], n_rows: int) -> Sequence[Path]:
        """Return the paths that get a row."""
        return paths[:n_rows]

    def _sum(self, hidden: Tensor, targets: Tensor, path: Path, n_held: int = 1) -> Tensor:
        block, sums = self.supernet.block(self.index), []
        for rows, width in passes((targets > 0).sum(dim=1), targets.size(1), targets.size(0)):
            outputs = block(hidden[rows, :width], path)
            sums.append(self.head.summed_cross_entropy(outputs, targets[rows, :width], n_held=n_held))
        return torch.stack(sums).sum()

    def parts(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None,
        n_parts: int,
    ) -> list[Callable[[], Tensor]]:
        """Return a function for some of the rows of one path: no row of this loss knows of another."""
        places = torch.arange(item_seq.size(0), device=item_seq.device)
        n_targets = (item_seq_len - 1).clamp_min(0).sum().clamp_min(1)
        pieces = math.ceil(n_parts / len(paths))

        def one(chosen: Tensor, path: Path) -> Tensor:
            own = None if rows is None else rows[chosen]
            hidden, targets = self._entering(item_seq[chosen], item_seq_len[chosen], prefix, own)
            return self._sum(hidden, targets, path) / n_targets

        return [
            partial(one, chosen, path)
            for share, path in zip(places.tensor_split(len(paths)), paths, strict=True)
            for chosen in share.tensor_split(pieces)
            if chosen.size(0)
        ]

    def most_parts(self, n_rows: int, n_paths: int) -> int:  # noqa: ARG002 - however many paths
        """Return one for each row."""
        return n_rows

    def _entering(
        self, item_seq: Tensor, item_seq_len: Tensor, prefix: Prefix, rows: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return what enters the block, ``(B, L - 1, D)``, and the targets."""
        inputs, length, targets = next_items(item_seq, item_seq_len)
        if prefix and rows is not None and self.trained_on is not None:
            return self.trained_on.rows(prefix, rows), targets
        with torch.set_grad_enabled(torch.is_grad_enabled() and not prefix):
            return self.supernet.prefix(inputs, length, prefix), targets

    def dealt_loss(
        self, item_seq: Tensor, item_seq_len: Tensor, prefix: Prefix, deal: Deal, rows: Tensor | None = None
    ) -> Tensor:
        """Return the same mean; where the rows cannot be shared out evenly, some paths get one without targets."""
        hidden, targets = self._entering(item_seq, item_seq_len, prefix, rows)
        n_rows, n_paths = hidden.size(0), deal.place.size(1)
        most, n_longer = math.ceil(n_rows / n_paths), n_rows % n_paths or n_paths  # the first have one more
        path = torch.arange(n_paths, device=hidden.device).unsqueeze(1)
        place = torch.arange(most, device=hidden.device)
        own = (place < most - 1) | (path < n_longer)
        source = (path * most - (path - n_longer).clamp_min(0) + place).clamp_max(n_rows - 1)  # (P, most)
        outputs = run_dealt(self.supernet.block(self.index), hidden[source], deal)
        wanted = torch.where(own.unsqueeze(-1), targets[source], 0)
        summed = self.head.summed_cross_entropy(outputs.flatten(0, 1), wanted.flatten(0, 1))
        return summed / (targets > 0).sum().clamp_min(1)

    def hold(self, held_out: SearchSequences) -> None:
        """Keep the sequences with at least one target."""
        rows = (held_out.item_seq_len > 1).nonzero().flatten()
        if rows.numel() < 2:
            msg = (
                "Ranking by the next item needs at least two held-out sequences of two items or more, but there are "
                f"{rows.numel()}; use more data, or raise `search_holdout_ratio` or `MAX_ITEM_LIST_LENGTH`."
            )
            raise DataError(msg)
        kept = held_out.rows(rows)
        self.group = kept.group
        self.examples = next_items(kept.item_seq, kept.item_seq_len)
        self.held_out = FrozenOutputs(self.supernet, *self.examples[:2])

    def work(self, n_paths: int) -> int:
        """Count every path and sequence once."""
        return n_paths * self.examples[1].size(0)

    def score(self, prefixes: Sequence[Prefix], paths: Sequence[Path], progress: Progress) -> PathScores:
        """Return the cross-entropy, or ``1 - NDCG@k``, of every path on every held-out sequence.

        Several processes share the batches, each whole, so that a score is the same to the last bit.
        """
        self.agree()
        n_sequences, n_paths = self.examples[1].size(0), len(prefixes) * len(paths)
        device = self.examples[1].device
        values = torch.zeros(n_paths, n_sequences, dtype=torch.float64, device=device)
        last = torch.zeros(n_sequences, self.supernet.embedding.items.embedding_dim, device=device)
        scorer = self._scorer(len(prefixes[0]), paths)
        with evaluation_mode(self.supernet):
            self.held_out.advance(prefixes, self.batch_size)
            for rows, width in self._batches():
                length, targets = self.examples[1][rows], self.examples[2][rows, :width]
                for number, prefix in enumerate(prefixes):
                    own = values[number * len(paths) : (number + 1) * len(paths)]
                    found = []
                    for group, outputs in scorer.run(self.held_out.rows(prefix, rows, width)):
                        found.append((group, scorer.values(outputs, length, targets)))
                        last[rows] += self.head.norm(last_outputs(outputs, length)).sum(dim=0)
                    own[:, rows] = in_order(found)
                    progress.advance(len(paths) * length.size(0) * distributed.world_size())
        values, last = distributed.total(values).cpu(), distributed.total(last)
        check_finite(values, paths, len(prefixes[0]))
        return PathScores(
            values=values.view(len(prefixes), len(paths), -1),
            representation=last / n_paths,
            views=values.new_empty(0, len(prefixes), len(paths)),
            n_view_sequences=0,
        )

    def _batches(self) -> Iterator[tuple[Tensor | slice, int]]:
        """Yield which sequences this process scores together, and how wide they are."""
        length, width = self.examples[1], self.examples[0].size(1)
        for start in distributed.share(range(0, length.size(0), self.batch_size)):
            batch = length[start : start + self.batch_size]
            for rows, own_width in passes(batch, width, self.batch_size):
                if isinstance(rows, slice):
                    yield slice(start + rows.start, start + rows.stop), own_width
                else:
                    yield start + rows, own_width

    def _scorer(self, index: int, paths: Sequence[Path]) -> PathScorer:
        """Return what runs and scores ``paths`` of block ``index``."""
        inputs, width = self.examples[0], self.supernet.embedding.items.embedding_dim
        n_sequences, length = inputs.shape
        at_a_time = states_at_a_time(inputs.device, min(self.batch_size, n_sequences), length, width)
        return PathScorer(self.supernet.block(index), self.head, paths, self.settings.ndcg_cut, at_a_time)
