"""Exact full ranking by counting: the rank of a target is one plus the items that score at least as high."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.register import metric_information
from torch import Tensor

from recbole_nasr import distributed
from recbole_nasr.errors import ConfigError, MemoryLimitError, NumericalError
from recbole_nasr.model.nasr import NASR
from recbole_nasr.nets.memory import give_back_unused, ran_out
from recbole_nasr.nets.padding import passes
from recbole_nasr.trainer.products import ranks_by_parts

MASKING_NEEDS_RANKS = (
    "`mask_history` works with full ranking and metrics that need ranks alone (Recall, NDCG, MRR, Hit, Precision, "
    "MAP), but metrics are {metrics}; change one of the two."
)
"""Why ranking among sampled items, or metrics of recommended items, cannot leave the history out."""

_LOG = logging.getLogger("recbole_nasr")


def count_ranks(scores: Tensor, targets: Tensor) -> Tensor:
    """Return the 1-based rank of each row's target; ties count against it.

    Args:
        scores: ``(B, V)``, column 0 (padding) ignored.
        targets: ``(B,)`` ids in ``1..V - 1``.

    Returns:
        ``(B,)`` int64, in ``1..V - 1``.

    Example:
        >>> count_ranks(torch.tensor([[9.0, 0.5, 0.7, 0.5]]), torch.tensor([1]))
        tensor([3])
    """
    own = scores.gather(1, targets.unsqueeze(1))
    return (scores[:, 1:] >= own).sum(dim=1)


def ranks_of_test(trainer: Any, test_data: Any) -> Tensor | None:
    """Return the rank of every test case, as :func:`full_ranks` does, after the test of a run.

    Args:
        trainer: What tested the model; ours keep the ranks they found.
        test_data: The loader of the test cases.

    Returns:
        The ranks; ``None`` for sampled evaluation, and for a model that scores single items.
    """
    if trainer.config["eval_args"]["mode"]["test"] != "full":
        return None
    kept: Tensor | None = getattr(trainer, "last_ranks", None)
    if kept is not None:
        return kept
    try:
        return full_ranks(trainer.model, test_data, device=trainer.config["device"])
    except NotImplementedError:  # by RecBole's DIN and DIEN, whose metrics RecBole computes item by item
        _LOG.info("%s scores single items only, so no ranks are kept", trainer.config["model"])
        return None


@torch.no_grad()
def full_ranks(model: Any, eval_data: Any, *, device: torch.device | str, mask_history: bool = False) -> Tensor:
    """Rank all items for every case of a leave-one-out loader, with RecBole's or our models.

    Our models score some items at a time, so that memory does not grow with the catalogue; RecBole's score all at once.
    Several processes share the batches, each whole: every case is ranked once, and in the batch that a single process
    would put it in, so that the ranks are the same to the last bit. All of them return all ranks.

    Args:
        model: Anything with RecBole's ``full_sort_predict``; put in eval mode.
        eval_data: A full-sort loader of sequential data.
        device: Where the model is.
        mask_history: Exclude the items of the history from the ranking. A target that is itself in the history
            is excluded with them and ranks last; keeping it alone would give it away.

    Returns:
        ``(N,)`` int64 ranks on the CPU, in the order of the cases.

    Raises:
        NumericalError: If a score is NaN or infinite.
        ConfigError: If ``mask_history`` is asked of a data set that does not know whole histories.
    """
    dataset = eval_data._dataset  # noqa: SLF001 - the loader's own iterator makes a Python list of every row number
    if mask_history and not hasattr(dataset, "earlier_items"):
        msg = "`mask_history` needs the data set class of this package; RecBole's keeps the last items only."
        raise ConfigError(msg)
    model.eval()
    number, n_processes = distributed.rank(), distributed.world_size()
    # RecBole's loader has divided its step by the number of processes.
    size = eval_data.step * n_processes
    ranks = torch.zeros(len(dataset), dtype=torch.int64, device=device)
    n_bad = torch.zeros(1, dtype=torch.int64, device=device)

    def rank(rows: slice) -> None:
        cases = eval_data.transform(dataset, dataset[rows]).to(device)
        seen = None
        if mask_history:
            seen = dataset.earlier_items(torch.arange(rows.start, rows.stop)).to(device)
        ranks[rows], bad = _ranks(model, cases, cases[dataset.iid_field], seen)
        n_bad.add_(bad)

    at_a_time = size
    for start in range(number * size, len(dataset), n_processes * size):
        at_a_time = _within_memory(rank, start, min(start + size, len(dataset)), at_a_time)
    if int(distributed.total(n_bad)):
        msg = f"Scores must be finite, but {type(model).__name__} gave NaN or infinite ones; lower `learning_rate`."
        raise NumericalError(msg)
    return distributed.total(ranks).cpu()


def _within_memory(work: Callable[[slice], None], start: int, stop: int, at_a_time: int) -> int:
    """Do ``work`` on the rows from ``start`` to ``stop``, fewer at a time where memory does not suffice.

    Returns:
        How many at a time from now on.

    Raises:
        MemoryLimitError: If one row at a time is too much.
    """
    while start < stop:
        end = min(start + at_a_time, stop)
        try:
            work(slice(start, end))
        except RuntimeError as error:
            if not ran_out(error):
                raise
            if end - start == 1:
                msg = "The evaluation of one case does not fit into memory; lower `hidden_size` or use fewer items."
                raise MemoryLimitError(msg) from error
            at_a_time = (end - start) // 2
        else:
            start = end
            continue
        give_back_unused()
        _LOG.warning("out of memory: the evaluation now takes %d cases at a time; ranks are the same.", at_a_time)
    return at_a_time


def _ranks(model: Any, cases: Any, targets: Tensor, seen: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the rank of each case's target, and whether a score was not finite; our models score items in parts."""
    if isinstance(model, NASR):
        hidden = _encoded(model, cases[model.ITEM_SEQ], cases[model.ITEM_SEQ_LEN])
        return ranks_by_parts(hidden, model.network.output, targets, seen=seen)
    scores = model.full_sort_predict(cases).view(len(targets), -1).float()
    bad = ~torch.isfinite(scores[:, 1:]).all()
    if seen is not None:
        scores.scatter_(1, seen, -torch.inf)
    return count_ranks(scores, targets), bad


def _encoded(model: NASR, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
    """Return the vector of each right-padded row of ``item_seq (B, L)``, as ``(B, D)``."""
    parts = [
        (rows, model(item_seq[rows, :width], item_seq_len[rows]))
        for rows, width in passes(item_seq_len, item_seq.size(1))
    ]
    encoded = parts[0][1].new_empty(item_seq.size(0), parts[0][1].size(1))
    for rows, hidden in parts:
        encoded[rows] = hidden
    return encoded


def ranks_suffice(metrics: Sequence[str], eval_data: Any) -> bool:
    """Return whether RecBole computes all ``metrics`` on the cases of ``eval_data`` from their ranks alone."""
    needed = {need for metric in metrics for need in metric_information[metric.lower()]}
    return needed <= {"rec.topk"} and isinstance(eval_data, FullSortEvalDataLoader)


def hit_matrix(ranks: Tensor, topk: Sequence[int]) -> Tensor:
    """Return RecBole's ``rec.topk`` of one-positive cases: ``(N, max(topk) + 1)`` hit flags and the count 1."""
    places = torch.arange(1, max(topk) + 1)
    hits = (ranks.unsqueeze(1) == places).int()
    return torch.cat([hits, torch.ones(len(ranks), 1, dtype=torch.int)], dim=1)
