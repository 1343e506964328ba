from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from recbole_nasr.studies.fidelity_statistics import (
    between_seeds,
    excess,
    interval,
    measures,
    regret,
    resamples,
    rho,
    tau,
    tau_of_samples,
    top_tau,
)


def row(*values: float) -> np.ndarray:
    return np.array([values], dtype=float)


def test_tau_counts_pairs_in_order_and_corrects_for_ties() -> None:
    assert tau(row(1, 2, 3, 4), row(1, 2, 4, 3))[0] == pytest.approx((5 - 1) / 6)
    # 1 1 2 against 1 2 3: two pairs in order, one tied in the first alone, so 2 / sqrt(2 * 3)
    assert tau(row(1, 1, 2), row(1, 2, 3))[0] == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(tau(row(1, 1, 1), row(1, 2, 3))[0])


def test_rho_is_the_correlation_of_mean_ranks() -> None:
    # differences of ranks 0 0 1 -1: 1 - 6 * 2 / (4 * 15)
    assert rho(row(1, 2, 3, 4), row(1, 2, 4, 3))[0] == pytest.approx(0.8)
    assert math.isnan(rho(row(5, 5, 5), row(1, 2, 3))[0])


def test_both_agree_with_scipy_on_rows_with_ties() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(5, size=(20, 12)).astype(float), rng.integers(6, size=(20, 12)).astype(float)
    for number in range(20):
        assert tau(x, y)[number] == pytest.approx(stats.kendalltau(x[number], y[number]).statistic)
        assert rho(x, y)[number] == pytest.approx(stats.spearmanr(x[number], y[number]).statistic)


def test_tau_of_samples_is_to_the_last_bit_that_of_the_rows_they_draw() -> None:
    drawn = np.random.default_rng(3)
    signal, truth = drawn.integers(6, size=11).astype(float), drawn.normal(size=11)
    rows = resamples(11, 200)
    rows[0] = 4  # one network alone has no order
    found = tau_of_samples(signal, truth, rows)
    np.testing.assert_array_equal(found, tau(signal[rows], truth[rows]))
    assert math.isnan(found[0])
    assert not np.isnan(found[1:]).all()


def test_the_top_quarter_is_that_of_the_truth() -> None:
    truth = row(*range(12))  # the best three are the last
    assert top_tau(row(*[9.0] * 9, 1, 2, 3), truth)[0] == 1.0
    assert top_tau(row(*[0.0] * 9, 3, 2, 1), truth)[0] == -1.0
    # the pairs 1<3, 1<2 in order, 3>2 not
    assert top_tau(row(*[0.0] * 9, 1, 3, 2), truth)[0] == pytest.approx(1 / 3)


def test_regret_is_what_the_pick_lacks_of_the_best_and_a_tie_is_shared() -> None:
    truth = row(0.1, 0.5, 0.3)
    assert regret(row(1, 2, 3), truth)[0] == pytest.approx(0.2)
    assert regret(row(0, 3, 1), truth)[0] == 0.0
    assert regret(row(2, 1, 2), truth)[0] == pytest.approx(0.5 - (0.1 + 0.3) / 2)


def test_measures_are_means_over_seeds_with_intervals_over_networks() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    found = measures([(truth, truth), (np.array([1.0, 2.0, 4.0, 3.0]), truth)], resamples(4, 200))
    assert found["tau"].value == pytest.approx((1 + 2 / 3) / 2)
    assert found["regret"].value == pytest.approx((0 + 1) / 2)
    assert -1 <= found["tau"].low < found["tau"].value < found["tau"].high <= 1


def test_an_interval_leaves_out_resamples_without_an_answer() -> None:
    assert interval(np.array([np.nan, *np.linspace(0, 1, 101)])) == pytest.approx((0.025, 0.975))
    assert all(math.isnan(end) for end in interval(np.array([np.nan, np.nan])))


def test_a_bootstrap_interval_shrinks_with_more_networks() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for n in (10, 90):
        truth = rng.normal(size=n)
        found = measures([(truth + rng.normal(size=n), truth)], resamples(n, 500))["tau"]
        widths.append(found.high - found.low)
    assert widths[1] < widths[0] / 2


def test_the_excess_is_over_the_best_rule_whichever_way_round() -> None:
    truth = np.array([1.0, 2.0, 3.0, 4.0])
    rules = {"more": [(-truth, truth)], "nothing": [(np.ones(4), truth)]}  # a tau of -1 and none
    found = excess([(np.array([1.0, 2.0, 4.0, 3.0]), truth)], rules, resamples(4, 50))
    assert found.value == pytest.approx(2 / 3 - 1)
    assert found.high <= 0


def test_seeds_of_a_signal_are_compared_pair_by_pair() -> None:
    scores = {1: np.array([1.0, 2.0, 3.0]), 2: np.array([1.0, 2.0, 3.0]), 3: np.array([3.0, 2.0, 1.0])}
    assert between_seeds(scores) == pytest.approx((1 - 1 - 1) / 3)
    assert math.isnan(between_seeds({1: scores[1]}))
