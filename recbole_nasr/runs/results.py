"""The result of one run, and the files it is saved in."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import pandas as pd
from recbole.evaluator import smaller_metrics

from recbole_nasr.documents import RUN_VERSION
from recbole_nasr.errors import DataError
from recbole_nasr.runs.candidates import Fronts, fronts, save_fronts, save_verification
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.space.architecture import Architecture
from recbole_nasr.unpacking import DAMAGE, bounded

if TYPE_CHECKING:
    from torch import Tensor

    from recbole_nasr.data.vocabulary import Vocabulary
    from recbole_nasr.search.costs import CostTable
    from recbole_nasr.search.result import BlockRanking, SearchResult
    from recbole_nasr.trainer.verification import Verification

RANKS_FILE = "ranks.csv.gz"
"""Sequence, target and rank of every test case."""

SCHEMA, RANKING_SCHEMA = "recbole-nasr/metrics", "recbole-nasr/ranking"

ITEMS_FILE = "items.csv.gz"
"""Number, original id and title of every item, so that a run can recommend without its data set."""


@dataclass(frozen=True)
class DataCounts:
    """Sizes of the data after all filters.

    Args:
        sequences: RecBole's users; for prepared data sets the windows.
        items: Items, without padding.
        actions: Interactions.
        train_rows: Rows of the training loader; what a row is depends on the model.
        valid_cases: Validation cases.
        test_cases: Test cases.
    """

    sequences: int
    items: int
    actions: int
    train_rows: int
    valid_cases: int
    test_cases: int


@dataclass(frozen=True)
class RunResult:
    """One model on one data set.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        folder: Where everything is kept.
        seed: RecBole's ``seed``.
        data: Sizes of the data.
        valid: Validation metrics of the best epoch, unrounded; empty without validation.
        test: Test metrics of that epoch, unrounded.
        epochs: Epochs trained.
        best_epoch: Epoch whose weights were tested, counted from 1; 0 without validation.
        seconds: Wall time of each stage.
        n_parameters: Trainable numbers in the tested network.
        step_seconds: Wall time of a training step, the median over epochs; without search, validation and test.
        preparation: How the data were prepared, as text, where this package did it.
        masks_history: Whether items of a sequence were left out of its ranking.
        ranked_among: The ``mode`` of RecBole's ``eval_args`` for the test: ``full`` for all items, or as ``uni100``.
        architecture: The network, where it is one of ours.
        search: How it was found, where it was searched.
        label: What it is called beside others, where the name of the model is not enough.
        costs: What the networks of the search space cost, where there was one.
        verification: The candidates that were trained before one was taken, if any were.
        latency_ms: Measured, of one recommendation at batch 1; 0 where there was no search space.
        device: The processor.
        valid_metric: The entry of ``valid`` that chose the epoch; empty in states of earlier versions.
    """

    model: str
    dataset: str
    folder: RunFolder
    seed: int
    data: DataCounts
    valid: dict[str, float]
    test: dict[str, float]
    epochs: int
    best_epoch: int
    seconds: dict[str, float]
    n_parameters: int
    step_seconds: float = 0.0
    preparation: str = ""
    masks_history: bool = False
    ranked_among: str = "full"
    architecture: Architecture | None = None
    search: SearchResult | None = None
    label: str = ""
    costs: CostTable | None = None
    verification: Verification | None = None
    latency_ms: float = 0.0
    device: str = ""
    valid_metric: str = ""

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.label or self.model

    @cached_property
    def fronts(self) -> Fronts:
        """The networks of the search that no other is both better and cheaper than."""
        if self.costs is None or self.architecture is None:
            return Fronts()
        return fronts(self.architecture, self.costs, self.search, self.verification)


def more_is_better(metric: str) -> bool:
    """Return whether a larger value of a metric such as ``ndcg@10`` is better, as RecBole has it."""
    return metric.partition("@")[0].lower() not in smaller_metrics


def save_result(result: RunResult) -> None:
    """Write ``metrics.json`` and, where there is one, the architecture and the ranking of every block."""
    folder = result.folder
    folder.write_json("metrics.json", metrics_content(result))
    if result.architecture is not None:
        result.architecture.save(folder.path / "architecture.json", {"model": result.model, "dataset": result.dataset})
    if result.search is not None:
        for number, block in enumerate(result.search.blocks, start=1):
            folder.write_csv(f"ranking/block-{number}.csv", ranking_header(block), ranking_rows(block))
        content = {"schema": RANKING_SCHEMA, "schema_version": RUN_VERSION}
        blocks = [block.summary() for block in result.search.blocks]
        folder.write_json("ranking/summary.json", {**content, "blocks": blocks})
    if result.verification is not None:
        save_verification(folder, result.verification)
    if result.costs is not None:
        save_fronts(folder, result.fronts, result.verification.trained if result.verification else ())


def metrics_content(result: RunResult) -> dict[str, Any]:
    """Return the content of ``metrics.json``."""
    return {
        "schema": SCHEMA,
        "schema_version": RUN_VERSION,
        "model": result.model,
        "dataset": result.dataset,
        "seed": result.seed,
        "valid": result.valid,
        "test": result.test,
        "epochs": result.epochs,
        "best_epoch": result.best_epoch,
        "n_parameters": result.n_parameters,
        "mask_history": result.masks_history,
        "data": asdict(result.data),
    }


def ranking_header(block: BlockRanking) -> tuple[str, ...]:
    """Return the names of the columns of :func:`ranking_rows`; one ``view_set_…`` for each set of views."""
    sets = (f"view_set_{number}" for number in range(1, len(block.view_scores) + 1))
    return ("path", "score", "standard_error", "selected", "tie", "paired_error", "flops", "parameters", *sets)


def ranking_rows(block: BlockRanking) -> Iterator[tuple[Any, ...]]:
    """Yield every ranked path with the columns of :func:`ranking_header`; ``selected`` and ``tie`` are 0 or 1."""
    tied = set(block.ties)
    for index, path in enumerate(block.paths):
        yield (
            ",".join(path),
            float(block.scores[index]),
            float(block.standard_errors[index]),
            int(index == block.selected),
            int(index in tied),
            float(block.paired_errors[index]),
            block.flops[index],
            block.parameters[index],
            *block.view_scores[:, index].tolist(),
        )


def save_ranks(folder: RunFolder, sequences: list[str], targets: list[str], ranks: Tensor) -> None:
    """Write ``ranks.csv.gz``: the rank of each test case, 1 being best, ties counted against it.

    Args:
        folder: The run folder.
        sequences: Name of the sequence of each case, as in the data.
        targets: Name of the target item of each case.
        ranks: ``(N,)``, int64.
    """
    rows = zip(sequences, targets, ranks.tolist(), strict=True)
    folder.write_csv(RANKS_FILE, ("sequence", "target", "rank"), rows)


def load_ranks(folder: Path, status: str = "unknown") -> pd.DataFrame:
    """Read what :func:`save_ranks` wrote: ``sequence``, ``target``, ``rank``; ordered by sequence and target.

    Args:
        folder: The run folder.
        status: That of the run, for the message.

    Raises:
        DataError: If it is missing or damaged.
    """
    return read_ranks(folder / RANKS_FILE, status)


def read_ranks(path: Path, status: str = "unknown") -> pd.DataFrame:
    """Read the file of :func:`load_ranks`, whatever it is called.

    Raises:
        DataError: If it is missing or damaged.
    """
    try:
        with gzip.open(path) as file:
            plain = bounded(file, str(path), path.stat().st_size)
            kinds = {"sequence": str, "target": str, "rank": np.int64}
            cases = pd.read_csv(plain, dtype=kinds, keep_default_na=False)
        if (cases["rank"] < 1).any():
            _refuse_rank(int(cases["rank"].min()))
        return cases.sort_values(["sequence", "target"], kind="stable", ignore_index=True)
    except FileNotFoundError:
        msg = (
            f"The ranks of the test cases of a run are in {path}, but there is no such file (status: {status}). A run "
            "leaves them when it has finished, unless `eval_args` ranks sampled items or the model scores single items."
        )
        raise DataError(msg) from None
    except (OSError, ValueError, KeyError, *DAMAGE) as error:
        msg = f"{path} must be the ranks of a finished run with full ranking (status: {status}), but: {error}"
        raise DataError(msg) from error


def _refuse_rank(rank: int) -> NoReturn:
    msg = f"ranks count from 1, but one is {rank}"
    raise ValueError(msg)


def save_items(folder: RunFolder, vocabulary: Vocabulary) -> None:
    """Write :data:`ITEMS_FILE`."""
    folder.write_csv(ITEMS_FILE, vocabulary.header(), vocabulary.rows())
