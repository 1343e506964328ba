from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.results import DataCounts, RunResult
from recbole_nasr.search.evidence import Evidence
from recbole_nasr.search.result import BlockRanking, SearchResult
from recbole_nasr.space import Architecture

PATHS = (("transformer_h4",), ("tcn_d1_2",), ("tcn_d1_4",))
EVIDENCE = Evidence(
    spread=0.3,
    median_gap=0.25,
    median_gap_standard_error=0.05,
    p_second=0.01,
    p_median=None,
    tau_halves=0.75,
    tau_views=0.6,
    view_noise=0.02,
    predictors={"FLOPs": 0.5, "share of tcn": -0.625},
)


def ranking(scores: list[float], selected: int, ties: tuple[int, ...], n_space_paths: int = 3) -> BlockRanking:
    return BlockRanking(
        metric="distance",
        paths=PATHS,
        flops=(300, 200, 100),
        parameters=(30, 20, 10),
        scores=np.array(scores),
        standard_errors=np.full(3, 0.01),
        paired_errors=np.array([0.0, 0.02, 0.03]),
        view_scores=np.array([scores, [0.1, 0.2, 0.3]]),
        evidence=EVIDENCE,
        selected=selected,
        ties=ties,
        gap=0.25,
        gap_standard_error=0.0625,
        n_sequences=179,
        n_space_paths=n_space_paths,
        effective_rank=41.5,
        hidden_size=64,
        losses=(1.0, 0.5),
    )


@pytest.fixture
def search() -> SearchResult:
    clear = ranking([0.5, 0.25, 1.0], selected=1, ties=(1,))
    tied = ranking([0.5, 0.5, 1.0], selected=0, ties=(0, 1), n_space_paths=300)
    return SearchResult(Architecture.parse("tcn_d1_2/transformer_h4"), (clear, tied))


@pytest.fixture
def make_result(tmp_path: Path) -> Callable[..., RunResult]:
    def make(model: str = "NASR", ndcg: float = 0.125, **changes: Any) -> RunResult:
        values: dict[str, Any] = {
            "model": model,
            "dataset": "ml",
            "folder": RunFolder.create(tmp_path / "runs", "ml", model),
            "seed": 2020,
            "data": DataCounts(10, 20, 90, 70, 10, 10),
            "valid": {"ndcg@20": 0.2},
            "test": {"ndcg@20": ndcg, "recall@20": 0.5},
            "epochs": 12,
            "best_epoch": 7,
            "seconds": {"data": 1.0, "training": 34.5, "test": 0.25},
            "n_parameters": 1234567,
        }
        return RunResult(**{**values, **changes})

    return make
