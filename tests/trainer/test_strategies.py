from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recbole_nasr.errors import ConfigError
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import SearchSpace
from recbole_nasr.space.strata import function_of
from recbole_nasr.trainer.candidates import Trained
from recbole_nasr.trainer.strategies import Drawn, Predicted

SPACE = SearchSpace(("transformer_h2", "tcn_d1_2", "skip"), (2, 1))
TABLE = CostTable(SPACE.operations, np.array([[10.0, 3.0, 2.0], [7.0, 5.0, 4.0], [1.0, 9.0, 1.0]]), np.zeros(3), "cpu")


def predicting(limits: dict[str, float] | None = None, bigger: bool = True, **plan: Any) -> Predicted:
    settings = StrategySettings(**{"strategy": "predictor", "networks": 9, "verify_random": 2, **plan})
    return Predicted(settings, SPACE, TABLE, limits or {}, seed=0, bigger=bigger)


def train(candidate: Candidate, score: float) -> Trained:
    costs = {"parameters": 1.0, "flops": 1.0, "latency_ms": 1.0}
    return Trained(
        candidate=candidate,
        score=score,
        best_epoch=1,
        epochs=1,
        scores={1: score},
        stopped=False,
        seconds=1.0,
        costs=costs,
    )


def contest(strategy: Predicted, worth: Callable[[Candidate], float]) -> list[Trained]:
    """Train what ``strategy`` asks for, each with the score that ``worth`` says."""
    trained: list[Trained] = []
    for candidate in strategy.candidates(None, trained):
        trained.append(train(candidate, worth(candidate)))  # noqa: PERF401 - the strategy reads the list meanwhile
    return trained


def attention(candidate: Candidate) -> float:
    """More attention is better, most of all in the last layer."""
    layers = candidate.architecture.layers
    return 0.1 * layers.count("transformer_h2") + 0.05 * (layers[-1] == "transformer_h2") - 0.02 * layers.count("skip")


def test_the_pure_and_a_few_random_networks_come_first_then_what_they_predict() -> None:
    trained = contest(predicting(), lambda one: -attention(one))
    origins = [one.candidate.origins[0] for one in trained]
    assert origins == ["pure"] * 3 + ["random"] * 2 + ["predicted"] * 4
    assert "transformer_h2" not in trained[5].candidate.architecture.layers
    functions = [function_of(one.candidate.architecture) for one in trained]
    assert len(set(functions)) == len(functions)  # where `skip` stands alone makes no network new


def test_smaller_scores_are_sought_where_smaller_is_better() -> None:
    up = contest(predicting(), attention)
    down = contest(predicting(bigger=False), lambda one: -attention(one))
    assert [one.candidate for one in up] == [one.candidate for one in down]
    assert up[5].candidate.architecture.layers.count("transformer_h2") == 2  # the pure one has been trained


def test_what_is_asked_for_after_an_interruption_is_what_would_have_come() -> None:
    whole = contest(predicting(), attention)
    again = predicting().candidates(None, whole[:7])  # as the contest asks for the rest
    assert next(itertools.islice(again, 7, None)) == whole[7].candidate


def test_a_network_that_could_not_be_trained_says_nothing() -> None:
    trained = contest(predicting(), lambda one: math.nan if "random" in one.origins else attention(one))
    without = contest(predicting(verify_random=0, networks=7), attention)
    assert trained[5].candidate.architecture not in {one.candidate.architecture for one in trained[:5]}
    assert [one.candidate.origins for one in without][3:] == [("predicted",)] * 4
    assert all("random" in one.candidate.origins for one in contest(predicting(), lambda _: math.nan)[3:])


def test_a_budget_holds_for_predicted_networks_too() -> None:
    trained = contest(predicting({"parameters": 20.0}, networks=12), attention)
    assert {one.candidate.architecture.layers for one in trained} == {
        layers
        for layers in (one.candidate.architecture.layers for one in trained)
        if sum(dict(zip(SPACE.operations, (10, 7, 1), strict=True))[name] for name in layers) <= 20
    }
    assert predicting({"parameters": 20.0}).left_out == ("transformer_h2", "tcn_d1_2")


def test_a_budget_that_most_networks_exceed_leaves_predictions_all_the_same() -> None:
    # Ten for attention, seven for a convolution: what the scores prefer is out of reach.
    trained = contest(predicting({"parameters": 18.0}, networks=7), attention)
    # Six functions are within it: nothing, either alone, two convolutions, and one of each in either order.
    assert [one.candidate.origins[0] for one in trained] == ["pure"] + ["random"] * 2 + ["predicted"] * 3


def test_pure_networks_over_budget_do_not_count_before_the_first_prediction() -> None:
    assert contest(predicting({"parameters": 18.0}, networks=4), attention)[3].candidate.origins == ("predicted",)
    with pytest.raises(ConfigError, match=r"must be more than 3, the pure networks \(1\)"):
        contest(predicting({"parameters": 18.0}, networks=3), attention)


def test_the_dearest_pure_network_comes_first_by_which_the_cost_is_announced() -> None:
    pure = [one.candidate.architecture.layers[0] for one in contest(predicting(), attention)[:3]]
    assert pure == ["skip", "tcn_d1_2", "transformer_h2"]  # FLOPs 9, 5 and 3 a layer


def test_a_space_that_is_used_up_ends_it() -> None:
    trained = contest(predicting(networks=100), attention)
    assert len(trained) == 15  # 1 + 2 + 4 + 8 functions of up to three layers that do something
    assert predicting(networks=100).expected == 27


def test_with_a_time_the_number_of_networks_does_not_count() -> None:
    strategy = predicting(networks=1, seconds=5.0)
    assert strategy.expected is None
    assert len(contest(strategy, attention)) == 15


def test_random_search_trains_no_network_twice_in_another_place_of_its_empty_layers() -> None:
    drawn = Drawn(StrategySettings(strategy="random", networks=100), SPACE, TABLE, {}, seed=0).candidates(None, [])
    functions = [function_of(candidate.architecture) for candidate in drawn]
    assert len(functions) == len(set(functions)) == 15


def test_the_search_trains_what_it_predicts_and_takes_the_best(
    assemble: Callable[..., SimpleNamespace], toy: Path
) -> None:
    settings = {
        "search_preset": "predictor",
        "search_networks": 5,
        "search_verify_random": 1,
        "epochs": 1,
        "eval_step": 1,
    }
    run = assemble("NASRSearch", toy, **settings)
    valid = run.trainer.fit(run.train, run.valid)
    trained = run.trainer.verification.trained
    assert [one.candidate.origins[0] for one in trained] == ["pure"] * 3 + ["random", "predicted"]
    assert valid[0] == max(one.score for one in trained)
    assert run.trainer.search_result is None


def test_too_few_networks_for_a_prediction_are_refused_before_anything_is_trained(
    assemble: Callable[..., SimpleNamespace], toy: Path
) -> None:
    with pytest.raises(ConfigError, match=r"`search_networks` must be more than 7, the pure networks \(3\) and random"):
        assemble("NASRSearch", toy, search_preset="predictor", search_networks=7)
