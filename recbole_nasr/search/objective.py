"""What every objective of a search answers: how paths are trained, and how good each of them is."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recbole_nasr import distributed
from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets import Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.memory import give_back_unused, ran_out
from recbole_nasr.progress import Progress
from recbole_nasr.search.dealing import Deal
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.sequences import SearchSequences
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import Path

_LOG = logging.getLogger("recbole_nasr")

Prefix = tuple[Path, ...]
"""The chosen path of every earlier block; empty for the first."""


class Objective(ABC):
    """Trains the blocks of a supernet and scores their paths.

    Args:
        supernet: What is trained.
        settings: How.
        seed: Of the objective's own random streams.

    Attributes:
        acceleration: How to compute; plain torch unless set.
    """

    metric: str
    """What a score is, for people."""
    adds_up: bool
    """Whether a network's score is the sum over its blocks, or that of its last block alone."""
    group: Tensor
    """``(N,)`` whose each sequence held for the rankings is."""

    def __init__(self, supernet: Supernet, settings: SearchSettings, seed: int) -> None:
        self.supernet, self.settings, self.seed = supernet, settings, seed
        self.acceleration = Acceleration()
        self.batch_size = settings.ranking_batch_size  # of a ranking, less where memory asks for it

    @property
    def generators(self) -> tuple[torch.Generator, ...]:
        """The random generators that a loss draws from, beside torch's own; those of the block being trained."""
        return ()

    def start(self, index: int) -> None:
        """Get ready to train block ``index``."""
        self.index = index

    def train_on(self, sequences: SearchSequences, prefixes: Sequence[Prefix]) -> None:  # noqa: B027 - views are new
        """Get ready to train on ``sequences`` behind ``prefixes``, all in eval mode and frozen."""

    @abstractmethod
    def loss(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None = None,
    ) -> Tensor:
        """Return the training loss of ``paths`` behind ``prefix``, never waiting for the device.

        Several processes are given the same rows and paths. Each returns its share of the loss: the shares add up to
        the loss of one process, and so do their gradients.

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            prefix: What earlier blocks do; they are frozen.
            paths: The sampled paths of the block, at least one.
            rows: ``(B,)`` which of the sequences given to :meth:`train_on` they are, if they are any of them.
        """

    def trained_paths(self, paths: Sequence[Path], n_rows: int) -> Sequence[Path]:  # noqa: ARG002 - mostly all are
        """Return those of the sampled ``paths`` that a step on ``n_rows`` rows trains."""
        return paths

    @abstractmethod
    def parts(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        prefix: Prefix,
        paths: Sequence[Path],
        rows: Tensor | None,
        n_parts: int,
    ) -> list[Callable[[], Tensor]]:
        """Return functions whose losses add up to :meth:`loss`, to be called in order, each with a graph of its own.

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            prefix: What earlier blocks do.
            paths: The sampled paths.
            rows: As in :meth:`loss`.
            n_parts: How many are wanted, at least 2; at most as many as :meth:`most_parts` says come.
        """

    @abstractmethod
    def most_parts(self, n_rows: int, n_paths: int) -> int:
        """Return the most parts that a step on ``n_rows`` sequences and ``n_paths`` paths can be computed in."""

    @abstractmethod
    def dealt_loss(
        self, item_seq: Tensor, item_seq_len: Tensor, prefix: Prefix, deal: Deal, rows: Tensor | None = None
    ) -> Tensor:
        """Return what :meth:`loss` does for the paths of ``deal``, in operations of the same shape for every deal.

        Args:
            item_seq: ``(B, L)`` item ids, right-padded.
            item_seq_len: ``(B,)`` lengths.
            prefix: What earlier blocks do.
            deal: The sampled paths.
            rows: ``(B,)`` which of the sequences given to :meth:`train_on` they are, if they are any of them.
        """

    def after_step(self) -> None:  # noqa: B027 - only the moving average has something to do
        """Follow an optimiser step; by default there is nothing to do."""

    def agree(self) -> None:
        """Take the weights of the first of several processes, should rounding have led them apart."""
        distributed.make_equal(self.supernet.parameters())

    def state(self) -> dict[str, Any]:
        """Return what decides how the training of the block goes on, beside the weights of the supernet."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:  # noqa: B027 - most have no state
        """Go on from :meth:`state`, after :meth:`start`."""

    @abstractmethod
    def hold(self, held_out: SearchSequences) -> None:
        """Take the sequences that all rankings use.

        Raises:
            DataError: If they do not suffice.
        """

    @abstractmethod
    def work(self, n_paths: int) -> int:
        """Return what ranking ``n_paths`` paths will advance its progress by."""

    @abstractmethod
    def score(self, prefixes: Sequence[Prefix], paths: Sequence[Path], progress: Progress) -> PathScores:
        """Score every path behind every prefix; parameters, buffers, modes and random state stay as they were.

        Several processes share the work; all return the scores that one would.

        Args:
            prefixes: Of equal length; the block after them is scored.
            paths: Sorted and distinct.
            progress: Advanced by :meth:`work` of the number of prefixes times paths.

        Raises:
            NumericalError: If a score is not finite.
        """

    def score_within_memory(self, prefixes: Sequence[Prefix], paths: Sequence[Path], progress: Progress) -> PathScores:
        """Return what :meth:`score` does, in smaller batches where memory does not suffice; no score depends on them.

        Raises:
            MemoryLimitError: If one sequence at a time is too much, or several processes share the ranking.
        """
        while True:
            try:
                return self.score(prefixes, paths, progress)
            except RuntimeError as error:
                if not ran_out(error):
                    raise
                if self.batch_size == 1 or distributed.world_size() > 1:
                    msg = (
                        f"A ranking of {self.batch_size} sequences at a time does not fit into memory; lower "
                        "`search_ranking_batch_size`, `max_enumerated_paths` or `hidden_size`."
                    )
                    raise MemoryLimitError(msg) from error
                self.batch_size = max(1, min(self.batch_size, len(self.group)) // 2)
            give_back_unused()
            _LOG.warning("out of memory: the ranking now takes %d sequences at a time.", self.batch_size)


@contextmanager
def evaluation_mode(*modules: nn.Module) -> Iterator[None]:
    """Put ``modules`` into eval mode, without gradients, and every part of them back into its own afterwards."""
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        for module in modules:
            module.eval()
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode
