from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from recbole_nasr.search.evidence import (
    agreement,
    kendall_tau,
    paired_p,
    tau_of_halves,
    trivial_predictors,
    view_agreement,
)


def test_kendalls_tau_is_unknown_where_nothing_varies() -> None:
    assert kendall_tau(np.array([1, 2, 3]), np.array([10, 30, 20])) == pytest.approx(1 / 3)
    assert kendall_tau(np.array([1, 2]), np.array([5, 5])) is None
    assert kendall_tau(np.array([1]), np.array([5])) is None


def test_the_p_value_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=20), rng.normal(size=20) + 0.3
    difference = second - first
    error = difference.std(ddof=1) / np.sqrt(20)
    assert paired_p(difference.mean(), error, 20) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert paired_p(0.0, 0.0, 20) is None


def test_halves_are_of_persons_not_of_sequences() -> None:
    values = np.array([[1.0, 1.0, 9.0, 9.0], [2.0, 2.0, 8.0, 8.0], [3.0, 3.0, 7.0, 7.0]])
    assert tau_of_halves(values, np.array([4, 4, 8, 8])) == pytest.approx(-1)  # two persons, who disagree
    assert tau_of_halves(values, np.array([4, 8, 4, 8])) is None  # either half's scores are 5, 5, 5
    values[:, 2:] = [[1.0, 5.0], [2.0, 7.0], [3.0, 5.5]]
    assert tau_of_halves(values, np.array([4, 4, 8, 8])) == pytest.approx(1 / 3)  # sums 2, 4, 6 against 6, 9, 8.5
    assert tau_of_halves(values, np.array([4, 4, 4, 4])) is None


def test_the_noise_of_two_view_sets_is_the_spread_of_their_differences_over_root_2() -> None:
    views = np.array([[1.0, 2.0, 3.0, 4.0], [11.2, 11.9, 13.1, 13.8]])
    tau, noise = view_agreement(views, scale=0.5)
    difference = views[1] - views[0]
    expected = np.sqrt(((difference - difference.mean()) ** 2).mean() / 2)
    assert tau == pytest.approx(1)
    assert noise == pytest.approx(0.5 * expected)
    assert view_agreement(views[:1], 1.0) == (None, None)
    assert view_agreement(np.ones((2, 3)), 1.0) == (None, 0.0)


def test_a_ranking_by_a_share_is_found_out() -> None:
    paths = [("tcn_d1", "tcn_d2"), ("tcn_d1", "hstu_h4"), ("hstu_h4", "hstu_h4"), ("hstu_h4", "tcn_d2")]
    predictors = trivial_predictors(paths, [4, 3, 1, 3], [7, 7, 7, 7])
    assert predictors.keys() == {
        *(f"share of {of}" for of in ("hstu_h4", "tcn", "tcn_d1", "tcn_d2")),
        "FLOPs",
        "parameters",
    }
    assert predictors["share of tcn"].tolist() == [2, 1, 0, 1]
    assert predictors["share of tcn_d2"].tolist() == [1, 0, 0, 1]
    assert predictors["share of hstu_h4"].tolist() == [0, 1, 2, 1]
    found = agreement(np.array([0.1, 0.2, 0.3, 0.2]), predictors)  # lower is better
    assert found["share of tcn"] == found["FLOPs"] == pytest.approx(1)
    assert found["share of hstu_h4"] == pytest.approx(-1)
    assert "parameters" not in found  # constant
