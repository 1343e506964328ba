"""An exported file beside the network it was made from: the same results, and how long each takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
import torch

from recbole_nasr.alignment import aligned
from recbole_nasr.errors import NumericalError
from recbole_nasr.machine import device_name
from recbole_nasr.serving.network import Runner, random_histories

BATCHES = (1, 32, 1024)
"""Sizes whose latency is measured."""

TOLERANCE = 1e-4
"""Largest difference of a score between file and network, relative to the largest score if that is above 1."""

_PARITY_ROWS = 256
_ROUNDS = 5
_SECONDS_PER_ROUND = 0.1


@dataclass(frozen=True)
class Parity:
    """How far a file is from its network.

    Args:
        n_rows: Histories compared.
        n_same: Of them, those with the same items in the same order.
        largest: Largest difference of a score.
        scale: Largest score, at least 1.
    """

    n_rows: int
    n_same: int
    largest: float
    scale: float

    @property
    def holds(self) -> bool:
        """Whether no score differs by more than :data:`TOLERANCE`."""
        return self.largest <= TOLERANCE * self.scale  # not so if it is nan

    def text(self) -> str:
        """Return one line."""
        return (
            f"parity: {self.n_rows} random histories, the same items in {self.n_same}, "
            f"largest difference of a score {self.largest:.1e}"
        )


def measure_parity(eager: Runner, exported: Runner, max_length: int, n_items: int) -> Parity:
    """Compare network and file on random histories of all lengths, in a batch, and the first alone."""
    item_seq, item_seq_len = random_histories(max(_PARITY_ROWS, max_length), max_length, n_items)
    ids, scores = eager(item_seq, item_seq_len)
    largest, n_same = 0.0, 0
    for rows in (slice(None), slice(0, 1)):
        other_ids, other_scores = exported(item_seq[rows], item_seq_len[rows])
        with np.errstate(invalid="ignore"):  # -inf - -inf, where nothing is left to recommend
            difference = np.where(scores[rows] == other_scores, 0.0, np.abs(scores[rows] - other_scores))
        largest = float(np.maximum(largest, difference.max()))  # keeps nan
        n_same += int((ids[rows] == other_ids).all(axis=1).sum())
    scale = max(1.0, float(np.abs(scores[np.isfinite(scores)]).max(initial=0.0)))
    return Parity(len(item_seq) + 1, n_same, largest, scale)


def checked_parity(eager: Runner, exported: Runner, max_length: int, n_items: int) -> Parity:
    """Return :func:`measure_parity`.

    Raises:
        NumericalError: If a score differs by more than :data:`TOLERANCE`.
    """
    parity = measure_parity(eager, exported, max_length, n_items)
    if not parity.holds:
        msg = f"The exported file must give the scores of the network, but {parity.text()}; nothing was kept."
        raise NumericalError(msg)
    return parity


@dataclass(frozen=True)
class Latency:
    """Milliseconds of one call.

    Args:
        batch: Histories of the call.
        eager: Of the network in PyTorch.
        exported: Of the file.
    """

    batch: int
    eager: float
    exported: float

    @property
    def ratio(self) -> float:
        """How many times as fast the file is."""
        return self.eager / self.exported


def measure_latency(eager: Runner, exported: Runner, max_length: int, n_items: int) -> list[Latency]:
    """Return the median over rounds for each of :data:`BATCHES`; both sides take turns, and have the same threads."""
    found = []
    for size in BATCHES:
        batch = random_histories(size, max_length, n_items)
        for run in (eager, exported):
            run(*batch)
        rounds = [[_milliseconds(run, *batch) for run in (eager, exported)] for _ in range(_ROUNDS)]
        found.append(Latency(size, *(median(times) for times in zip(*rounds, strict=True))))
    return found


def _milliseconds(run: Runner, item_seq: np.ndarray, item_seq_len: np.ndarray) -> float:
    """Call ``run`` for as long as a round lasts, and return the mean of a call."""
    n_calls, start, seconds = 0, time.perf_counter(), 0.0
    while not n_calls or seconds < _SECONDS_PER_ROUND:
        run(item_seq, item_seq_len)
        n_calls, seconds = n_calls + 1, time.perf_counter() - start
    return 1000 * seconds / n_calls


def latency_text(measured: Sequence[Latency], file: str, max_length: int, n_items: int) -> str:
    """Return :func:`measure_latency` as a table.

    Args:
        measured: The rows.
        file: Name of the file.
        max_length: Places of a sequence.
        n_items: Items, with padding.
    """
    rows = [["batch", "PyTorch, ms", f"{file}, ms", "times as fast", "histories/s"]]
    for one in measured:
        per_second = f"{1000 * one.batch / one.exported:,.0f}"
        rows.append([f"{one.batch:,}", f"{one.eager:.2f}", f"{one.exported:.2f}", f"{one.ratio:.2f}", per_second])
    machine = f"{device_name(torch.device('cpu'))}, threads of each: {torch.get_num_threads()}"
    title = f"latency on {machine}; sequences of {max_length}, {n_items - 1:,} items"
    return f"{title}\n{aligned(rows, left=())}"
