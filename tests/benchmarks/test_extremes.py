"""Every numeric key is given every extreme value; benchmarks/reliability/extremes.py runs what is not refused."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability.extremes import (
    LONGEST_LINE,
    VALUES,
    cases,
    checked_values,
    line_of,
    numeric_keys,
    outcome,
    write_data,
)
from recbole_nasr.configuration_page import FILES


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> Iterator[None]:
    write_data(tmp_path)
    assert Path.cwd() == tmp_path
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices


def test_the_numeric_keys_are_found_in_the_files_of_every_group() -> None:
    names = {key.name for key in numeric_keys()}
    assert len(FILES) == 5
    assert {"hidden_size", "topk", "clip_grad_norm", "search_n_paths", "max_latency_ms", "time_quantiles"} <= names
    assert {"window_length", "max_end_gap", "evolution_population", "layers_per_block", "search_time"} <= names
    assert not {"learner", "metrics", "mask_history", "search_preset", "load_col"} & names


def test_every_extreme_value_of_every_numeric_key_is_refused_in_one_line_or_can_be_run() -> None:
    came: Counter[str] = Counter()
    with checked_values() as refused:
        for key, value in cases():
            said = refused(key.name, value)
            assert "\n" not in said
            assert len(said) < LONGEST_LINE
            came["refused" if said else "passed"] += 1
            if value in ("many", [], {}, 2**63, 10**400, -(2**63), math.inf) or isinstance(value, bool):
                assert said, f"{key.name}={value!r} cannot mean anything"
    assert came["refused"] + came["passed"] > 20 * len(VALUES)
    assert came["passed"] > 100


RUN = {
    "batches larger than the data": ("train_batch_size", 2**31 - 1),
    "a width of one": ("hidden_size", 1),
}


@pytest.mark.parametrize(("key", "value"), RUN.values(), ids=RUN.keys())
def test_what_passes_runs_to_its_end_with_finite_metrics(key: str, value: Any) -> None:
    assert outcome(line_of(key, value), 0) == "ended"


def test_a_rate_that_makes_numbers_infinite_ends_the_run_in_one_line() -> None:
    came = outcome(line_of("learning_rate", 1e308), 0)
    assert came.startswith("stopped: error: ")
    assert "finite" in came
