from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_nasr.commands import cli
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.studies.engine import Engine
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.queue import TrialQueue
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.storage import open_study

TOY = (
    "--dataset=toy",
    "--data_path=data",
    "--device=cpu",
    "--epochs=2",
    "--hidden_size=8",
    "--train_batch_size=32",
    "--MAX_ITEM_LIST_LENGTH=8",
    "--metrics=['NDCG']",
    "--topk=[2, 5]",
    "--eval_step=1",
)


@pytest.fixture
def crowd(write_inter: Callable[..., Path]) -> Path:
    """The data_path of ``toy`` with 16 users: from 14 cases on SciPy tests ranks with ties without permuting them."""
    return write_inter((f"u{user}", f"i{(user + step) % 10}", float(step)) for user in range(16) for step in range(8))


@pytest.fixture
def study(crowd: Path) -> Callable[..., int]:
    """Run ``--study=NAME`` on the toy data in small settings; return the exit code."""

    def run(name: str, *words: str) -> int:
        return cli.main([f"--study={name}", *TOY, *words])

    return run


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., StudyRequest]:
    """Read the words of a study without running anything."""
    return lambda name, *words: build_study_request(parse_line([f"--study={name}", "--dataset=toy", *words]))


def record_of(cell: Cell, score: float = 0.5, **facts: Any) -> ResultRecord:
    """A record as a run of ``cell`` would leave it."""
    given: dict[str, Any] = {
        "key": "k",
        "settings": {"valid_metric": "NDCG@2"},
        "architecture": "",
        "data": {},
        "valid": {"ndcg@2": score},
        "test": {"ndcg@2": score},
        "epochs": 1,
        "best_epoch": 1,
        "n_parameters": 1,
        "seconds": {},
        "step_seconds": 0.0,
        "device_name": "none",
        "environment": {},
        "run": "",
    }
    return ResultRecord(seed=cell.seed, model=cell.model, dataset=cell.dataset, **{**given, **facts})


class Worker:
    """Stands for the training in tests of the queue: notes what it was asked to run."""

    def __init__(self, *, fails: str = "") -> None:
        self.ran: list[str] = []
        self.fails = fails

    def __call__(
        self, cell: Cell, architecture: str, on_validation: Callable[[int, float], None]
    ) -> tuple[ResultRecord, bool]:
        self.ran.append(cell.key)
        if cell.label == self.fails:
            msg = "no room"
            raise MemoryError(msg)
        return record_of(cell, architecture=architecture or f"found by {cell.key}"), False


@pytest.fixture
def cells() -> list[Cell]:
    return [Cell(label, "NASR", "toy", {}, seed) for seed in (1, 2) for label in ("SASRec-1", "Random")]


@pytest.fixture
def engine(ask: Callable[..., StudyRequest], cells: list[Cell]) -> Callable[..., Engine]:
    """An engine over ``cells`` of the study table2, with a worker that trains nothing."""

    def build(worker: Worker, *words: str, of: list[Cell] | None = None) -> Engine:
        given = any(word.startswith("--storage=") for word in words)
        asked = ask("table2", *words, *([] if given else ["--storage=study.log"]))  # a journal file opens fastest
        return Engine(TrialQueue(asked, open_study(asked), cells if of is None else of), worker)

    return build
