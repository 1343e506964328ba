"""An estimate of the most memory that a search and a training will need, announced before they begin."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from recbole_nasr.errors import MemoryLimitError
from recbole_nasr.nets.footprint import FLOAT, network_weights, rows_in_network
from recbole_nasr.nets.memory import device_memory, size_text
from recbole_nasr.nets.softmax import rows_at_a_time
from recbole_nasr.ops import LayerSettings
from recbole_nasr.space import Architecture
from recbole_nasr.trainer.products import items_at_a_time

LARGE = 1 << 30
"""Bytes; a need below this, and below a quarter of what is free, is not announced."""

_MOMENTS = {"adam": 2, "adamw": 2, "sparse_adam": 2, "adagrad": 1, "rmsprop": 1, "sgd": 0}
"""Numbers that an optimiser of RecBole's keeps for each weight."""

ALLOCATOR = {"cpu": 1.25, "cuda": 1.1}
"""What an allocator takes for what is alive: it keeps freed blocks that the next tensors do not fit into."""

LOGIT_COPIES = 3
"""Of logits computed at once: they, their logarithmic softmax, and its gradient."""

PART_COPIES = 1.75
"""Of logits in parts: their one place; and in bf16 half a copy, or on a CPU at times the last step's place."""

_SCORE_COPIES = 2  # scores, and what is compared with them

_LOG = logging.getLogger("recbole_nasr")


@dataclass(frozen=True)
class MemoryNeed:
    """Bytes at the most expensive moment of a piece of work.

    Args:
        work: What it is for, such as ``training``.
        weights: Weights, gradients, optimiser, averages: what no smaller batch makes less.
        activations: What layers keep for the gradient of the rows that pass at a time.
        logits: Scores of items for those rows.
        least: Activations and logits if one row passes at a time.
        lower: Keys that make it less.
    """

    work: str
    weights: int
    activations: int
    logits: int
    least: int
    lower: str

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.activations + self.logits

    def __str__(self) -> str:
        parts = {"weights and optimiser": self.weights, "activations": self.activations, "logits": self.logits}
        named = ", ".join(f"{name} {size_text(n_bytes)}" for name, n_bytes in parts.items())
        return f"memory: the {self.work} needs about {size_text(self.total)} ({named})"


@dataclass(frozen=True)
class Shape:
    """What a batch looks like.

    Args:
        length: Items of the longest sequence.
        n_items: Item ids in use.
        device: Where it is computed.
    """

    length: int
    n_items: int
    device: torch.device

    @property
    def name(self) -> str:
        """Name of the device."""
        return str(self.device)


def training_need(
    architecture: Architecture,
    settings: LayerSettings,
    shape: Shape,
    *,
    rows: int,
    targets_per_row: int,
    eval_rows: int,
    learner: str = "adam",
    averaged: bool = True,
    tied: bool = False,
) -> MemoryNeed:
    """Return what training a network will need, its evaluations included.

    Args:
        architecture: The network.
        settings: Width and so on.
        shape: Of the batches.
        rows: Sequences that pass at a time.
        targets_per_row: Positions of a sequence that are scored.
        eval_rows: Sequences of an evaluation.
        learner: RecBole's name of the optimiser.
        averaged: Whether a running average of the weights is kept.
        tied: Whether the softmax layer is the item embedding.
    """
    weights = network_weights(architecture.layers, settings, shape.n_items, shape.length, tied=tied)
    weights *= 2 + _MOMENTS.get(learner.lower(), 2) + 2 * averaged
    check_weights("training", weights, shape.device)
    row = rows_in_network(architecture, settings, shape.length, shape.name)
    ends = 6 * shape.length * settings.hidden_size * FLOAT  # embedding, last norm, their gradients

    def activations(n_rows: int) -> int:
        return int(n_rows * (row.held + row.working + ends))

    scores = _SCORE_COPIES * eval_rows * min(shape.n_items, items_at_a_time(eval_rows, shape.device)) * FLOAT
    evaluation = int(eval_rows * (6 * row.working + ends))
    share = ALLOCATOR.get(shape.device.type, 1.0)
    return MemoryNeed(
        "training",
        weights,
        int(share * max(activations(rows), evaluation)),
        int(share * max(_logits(rows * targets_per_row, shape), scores)),
        activations(1) + _logits(targets_per_row, shape),
        "`train_batch_size`, `hidden_size`, `n_layers` or `MAX_ITEM_LIST_LENGTH`",
    )


def _logits(n_rows: int, shape: Shape) -> int:
    most = rows_at_a_time(shape.n_items, shape.device)
    copies = n_rows * LOGIT_COPIES if n_rows <= most else most * PART_COPIES
    return int(copies * shape.n_items * FLOAT)


def announce(need: MemoryNeed, device: torch.device) -> None:
    """Log a large need, warn if it is more than is free, and refuse what can never fit.

    Args:
        need: The estimate.
        device: Where.

    Raises:
        MemoryLimitError: If the weights and a single row need more than the device has.
    """
    free, all_of_it = device_memory(device)
    least = need.weights + need.least
    if least > all_of_it:
        msg = (
            f"The {need.work} needs at least {size_text(least)}, but {device} has {size_text(all_of_it)}; lower "
            f"{need.lower}."
        )
        raise MemoryLimitError(msg)
    if need.total > free:
        _LOG.warning(
            "%s, but only %s are free on %s; lower %s if it runs out.", need, size_text(free), device, need.lower
        )
    elif need.total > min(LARGE, free // 4):
        _LOG.info("%s; %s are free on %s", need, size_text(free), device)


def check_weights(work: str, weights: int, device: torch.device) -> None:
    """Refuse weights that exceed the memory, before anything is built to measure the rest."""
    _, all_of_it = device_memory(device)
    if weights > all_of_it:
        msg = (
            f"Weights and optimiser of the {work} take {size_text(weights)}, but {device} has {size_text(all_of_it)}; "
            "lower `hidden_size`, `inner_ratio`, `n_layers` or `MAX_ITEM_LIST_LENGTH`."
        )
        raise MemoryLimitError(msg)
