from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from recbole_nasr.search import BlockRanking
from recbole_nasr.search.evidence import Evidence

EVIDENCE = Evidence(
    spread=0.05,
    median_gap=0.1,
    median_gap_standard_error=0.2,
    p_second=0.6,
    p_median=None,
    tau_halves=None,
    tau_views=0.3,
    view_noise=0.01,
    predictors={"FLOPs": -0.9, "parameters": 0.5},
)


def ranking(n_space_paths: int) -> BlockRanking:
    return BlockRanking(
        paths=(("tcn_d1",), ("gru4rec",)),
        metric="distance",
        flops=(2, 1),
        parameters=(4, 3),
        scores=np.array([0.3, 0.2]),
        standard_errors=np.array([0.1, 0.1]),
        paired_errors=np.array([0.2, 0.0]),
        view_scores=np.zeros((0, 2)),
        evidence=EVIDENCE,
        selected=0,
        ties=(0, 1),
        gap=0.1,
        gap_standard_error=0.2,
        n_sequences=5,
        n_space_paths=n_space_paths,
        effective_rank=3.5,
        hidden_size=8,
        losses=(1.0, 0.5),
    )


def test_the_summary_tells_the_selected_from_the_best_and_is_json() -> None:
    summary = json.loads(json.dumps(ranking(2).summary()))
    assert (summary["selected"], summary["selected_score"]) == (["tcn_d1"], 0.3)
    assert (summary["best"], summary["best_score"], summary["worst_score"]) == (["gru4rec"], 0.2, 0.3)
    assert (summary["n_tied"], summary["sampled"], summary["losses"]) == (2, False, [1.0, 0.5])
    assert (summary["tau_views"], summary["p_median"], summary["predictors"]["FLOPs"]) == (0.3, None, -0.9)


def test_the_best_score_is_that_of_the_best_path_within_the_budget() -> None:
    limited = replace(ranking(2), over_budget=(1,))  # it alone has 0.2
    assert limited.numbers()["best_score"] == limited.summary()["best_score"] == 0.3


def test_of_equal_best_scores_the_best_is_the_one_that_was_chosen() -> None:
    equal = replace(ranking(2), scores=np.array([0.2, 0.2]))
    assert [replace(equal, selected=index).best for index in (0, 1)] == [0, 1]
    assert replace(ranking(2), scores=np.array([0.3, 0.2, 0.2])).best == 1  # and the first, if another was chosen


def test_the_strongest_trivial_rule_may_agree_or_disagree() -> None:
    assert EVIDENCE.strongest_predictor() == ("FLOPs", -0.9)


def test_less_than_a_twelfth_of_the_directions_is_a_collapse_and_so_is_one_alone() -> None:
    cases = [(5.3, 64), (5.4, 64), (1.05, 4), (1.15, 4)]
    many = replace(ranking(2), n_sequences=100)
    found = [replace(many, effective_rank=rank, hidden_size=width).collapsed for rank, width in cases]
    assert found == [True, False, True, False]


def test_a_collapse_is_one_of_the_directions_that_so_few_sequences_can_have() -> None:
    # N sequences differ in N - 1 directions at most, and two of them always in one.
    cases = [(4.0, 6), (1.05, 6), (2.3, 30), (2.5, 30), (1.05, 3), (1.0, 2)]
    wide = replace(ranking(2), hidden_size=64)
    found = [replace(wide, effective_rank=rank, n_sequences=n).collapsed for rank, n in cases]
    assert found == [False, True, True, False, True, False]


def test_a_ranking_of_fewer_paths_than_the_space_has_is_a_sample() -> None:
    assert [ranking(n).sampled for n in (2, 3)] == [False, True]
