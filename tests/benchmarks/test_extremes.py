"""Every numeric key is given every extreme value; benchmarks/reliability/extremes.py runs what is not refused."""

from __future__ import annotations

import itertools
import math
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import other_keys
from benchmarks.reliability.extremes import (
    LONGEST_LINE,
    MEANT,
    VALUES,
    cases,
    checked_values,
    line_of,
    numeric_keys,
    outcome,
    write_data,
)
from recbole_nasr.configuration.page import FILES
from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.model.settings import search_settings, strategy_settings
from recbole_nasr.model.strategy_keys import unread_keys
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.studies.definition import StudyDefinition
from recbole_nasr.trainer.retraining import NASRTrainer


@pytest.fixture(autouse=True)
def data(tmp_path: Path) -> Iterator[None]:
    write_data(tmp_path)
    assert Path.cwd() == tmp_path
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    yield
    if devices is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = devices


def test_the_numeric_keys_are_found_in_the_files_of_every_group() -> None:
    names = set(numeric_keys())
    assert len(FILES) == 5
    assert {"hidden_size", "topk", "clip_grad_norm", "search_n_paths", "max_latency_ms", "time_quantiles"} <= names
    assert {"window_length", "max_end_gap", "evolution_population", "layers_per_block", "search_time"} <= names
    assert not {"learner", "metrics", "mask_history", "search_preset", "load_col"} & names


def test_every_numeric_key_is_tried_in_a_search_that_reads_it_and_all_else_on_its_line() -> None:
    defaults = {**load_yaml("properties/model", "NASR"), **load_yaml("properties/model", "NASRSearch")}
    for key in numeric_keys():
        line = line_of(key, defaults.get(key, 8))
        preset = load_yaml("properties/search", line.get("search_preset", defaults["search_preset"]))
        # A budget, so that nothing depends on the space.
        config = {"train_batch_size": 8, **defaults, **preset, **line, "max_flops": 1.0}
        unread = unread_keys(strategy_settings(config), search_settings(config))
        assert not unread.keys() & line.keys(), key


def test_every_extreme_value_of_every_numeric_key_is_refused_in_one_line_or_can_be_run() -> None:
    came: Counter[str] = Counter()
    with checked_values() as refused:
        for key, value in cases():
            said = refused(key, value)
            assert "\n" not in said
            assert len(said) < LONGEST_LINE
            came["refused" if said else "passed"] += 1
            if value in ("many", [], {}, 2**63, 10**400, -(2**63), math.inf) or isinstance(value, bool):
                assert said, f"{key}={value!r} cannot mean anything"
            if value == 10**18 and key in MEANT - {"search_time"}:
                assert said, f"{key}={value!r} would never end"
    assert came["refused"] + came["passed"] > 20 * len(VALUES)
    assert came["passed"] > 100


@pytest.mark.parametrize("model", other_keys.MODELS)
def test_every_extreme_value_of_a_key_of_recboles_models_is_refused_in_one_line_or_can_be_run(model: str) -> None:
    came: Counter[str] = Counter()
    with other_keys.checked_values_of(model) as refused:
        for key in other_keys.model_keys(model):
            for value in VALUES:
                said = refused(key, value)
                assert "\n" not in said
                assert len(said) < LONGEST_LINE
                came["refused" if said else "passed"] += 1
                if value in ("many", {}, 2**63, 10**400, math.inf) or isinstance(value, bool):
                    assert said, f"{model}.{key}={value!r} cannot mean anything"
    assert came["refused"] > came["passed"] > 0


@pytest.mark.parametrize(("name", "refused"), other_keys.study_keys(), ids=[key for key, _ in other_keys.study_keys()])
def test_every_extreme_value_of_a_key_of_studies_is_refused_in_one_line_or_is_a_count(name: str, refused: Any) -> None:
    passed = []
    for value in VALUES:
        said = refused(value)
        assert "\n" not in said
        assert len(said) < LONGEST_LINE
        passed += [] if said else [value]
    numbers = [one for value in passed for one in (value if isinstance(value, list) else [value])]
    assert all(type(one) is int and 0 <= one < 2**31 for one in numbers) or "time" in name
    if "architectures" in name or "min_seeds" in name:
        assert max(numbers) <= 10_000


def test_numbers_of_the_study_files_that_are_shipped_are_in_range() -> None:
    for name in available("properties/study"):
        StudyDefinition.load(name)
        StudyDefinition.load(name, quick=True)


@pytest.mark.parametrize("key", ["epochs", "search_epochs", "search_min_steps"])
def test_a_run_that_would_take_ages_begins_to_work_at_once_and_stops_when_it_is_told_to(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, name = (NASRTrainer, "_train_epoch") if key == "epochs" else (BlockTrainer, "step")
    work, calls = getattr(owner, name), itertools.count(1)

    def stopped(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return work(*args, **kwargs)

    monkeypatch.setattr(owner, name, stopped)
    line = {**line_of(key, 2**31 - 1), **({"stopping_step": 99} if key == "epochs" else {})}
    assert outcome(line, 0) == "interrupted"


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
