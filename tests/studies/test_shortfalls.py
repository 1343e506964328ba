from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.shortfalls import REQUIREMENTS, shortfalls, unfinished_training
from recbole_nasr.studies.tables import FinishedRun

from .conftest import record_of


def run(label: str = "NASR", seed: int = 1, dataset: str = "toy", **facts: Any) -> FinishedRun:
    """A finished run without ranks."""
    model = "NASRSearch" if label == "NASR" else facts.pop("model", "NASR")
    point = facts.pop("point", {})
    if label == "Random":
        facts["settings"] = {"valid_metric": "NDCG@2", "architecture": "random"}
    return FinishedRun(label, dataset, point, record_of(Cell(label, model, dataset, {}, seed), **facts))


@pytest.fixture
def short(ask: Callable[..., StudyRequest]) -> Callable[..., dict[str, str]]:
    """Shortfalls of a study with the given runs."""

    def of(name: str, runs: list[FinishedRun], *words: str, compared: bool = True, trials: int = 0) -> dict[str, str]:
        return dict(shortfalls(ask(name, *words), runs, compared=compared, trials=trials))

    return of


def test_few_random_networks_and_few_searches_are_named(short: Callable[..., dict[str, str]]) -> None:
    found = short("table2", [run(), *(run("Random", seed) for seed in range(3))])
    assert found["E2"].startswith("3 random networks; ")
    assert found["E3"] == "1 search per row; each network found was trained once"


def test_three_trainings_of_what_five_searches_found_meet_the_demand(short: Callable[..., dict[str, str]]) -> None:
    searches = [run(seed=seed) for seed in range(5)]
    again = [FinishedRun("NASR", "toy", {}, record_of(Cell("NASR", "NASR", "toy", {}, seed))) for seed in range(9, 19)]
    assert "E3" not in short("table2", [*searches, *again])
    assert short("table2", [*searches, *again[:9]])["E3"] == "each network found was trained 2 times"


def test_ten_random_networks_and_the_best_of_them_meet_the_demand(short: Callable[..., dict[str, str]]) -> None:
    assert "E2" not in short("cost", [run(), *(run("Random", seed) for seed in range(10))])


@pytest.mark.parametrize(("trials", "found"), [(1, "1 trial"), (19, "19 trials"), (20, None)])
@pytest.mark.parametrize("asked", [5, 40])  # it counts what was tried, not what was asked for
def test_tuning_needs_twenty_trials(
    trials: int, found: str | None, asked: int, short: Callable[..., dict[str, str]]
) -> None:
    assert short("tune", [run()], f"--n_trials={asked}", trials=trials).get("E1") == found


TUNED = """
title: Tuned
paper: none
claim: none
runs:
    SASRec-1: {model: NASR, tuned: 24}
    GRU4Rec: {model: GRU4Rec, tuned: %s}
    NASR: {model: NASRSearch}
    Random: {model: NASR, settings: {architecture: random}}
"""


@pytest.mark.parametrize(("trials", "reason"), [(20, None), (19, "not tuned with as many: GRU4Rec (19 trials)")])
def test_baselines_are_tuned_where_the_study_says_so(
    trials: int, reason: str | None, short: Callable[..., dict[str, str]], tmp_path: Path
) -> None:
    file = tmp_path / "tuned.yaml"
    file.write_text(TUNED % trials)
    runs = [run("SASRec-1"), run("GRU4Rec", model="GRU4Rec"), run(), run("Random")]
    assert short(str(file), runs).get("E1") == reason


def test_seeds_and_paired_tests_are_both_asked_for(short: Callable[..., dict[str, str]]) -> None:
    seeds = [run("SASRec-1", seed) for seed in range(3)]
    assert "E6" not in short("depth", seeds)
    assert short("depth", seeds, compared=False)["E6"] == "no paired tests"
    assert short("depth", seeds[:1])["E6"] == "1 seed in some rows"


def test_what_the_claim_on_depth_lacks_is_named(short: Callable[..., dict[str, str]]) -> None:
    def at(n: int, *, gate: bool = True, layer: str = "transformer_h4") -> FinishedRun:
        settings = {"valid_metric": "NDCG@2", "linear_residual": gate}
        return run("SASRec-1", point={"n_layers": n}, settings=settings, architecture=layer)

    assert short("depth", [at(8), at(2)])["E13"] == "layers: 2, 8, gated alone, no convolutions"
    convolution = at(32, gate=False, layer="tcn_d1_2")
    assert short("depth", [convolution])["E13"] == "layers: 32, ungated alone, no attention"
    assert "E13" not in short("depth", [at(2), convolution])


def test_both_splits_and_four_data_sets_meet_the_demand(short: Callable[..., dict[str, str]]) -> None:
    both = [
        run(dataset=name, data={"actions": 10}, settings={"split_by": split, "mask_history": split == "time"})
        for name, split in zip("abcd", ["time", "leave_one_out"] * 2, strict=True)
    ]
    assert not {"E8", "E9"} & short("table2", both).keys()
    assert short("table2", both[:1])["E8"] == "time alone, history masked"
    assert short("table2", both[:1])["E9"] == "1 data set: a (10 actions)"


def test_ranks_that_are_gone_are_missed(short: Callable[..., dict[str, str]]) -> None:
    assert short("table2", [run()])["E14"] == "ranks of 1 run are not on this machine"


def test_a_run_that_was_best_at_its_last_allowed_epoch_was_not_trained_to_its_end() -> None:
    full = run(epochs=4, best_epoch=4, settings={"epochs": 4})
    stopped = run(epochs=4, best_epoch=4, settings={"epochs": 9})
    past = run(epochs=4, best_epoch=2, settings={"epochs": 4})
    assert unfinished_training([full, stopped, past]) == [full]
    seldom = run(epochs=5, best_epoch=4, settings={"epochs": 5, "eval_step": 2})  # validated after epochs 2 and 4
    earlier = run(epochs=5, best_epoch=2, settings={"epochs": 5, "eval_step": 2})
    assert unfinished_training([seldom, earlier]) == [seldom]
    once = run(epochs=5, best_epoch=5, settings={"epochs": 5, "eval_step": 9})  # validated after the last epoch alone
    assert unfinished_training([once]) == [once]


def test_requirements_are_numbered_without_gaps() -> None:
    assert list(REQUIREMENTS) == [f"E{number}" for number in range(1, 16)]
