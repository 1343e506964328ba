from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from recbole_nasr.errors import ConfigError, DataError
from recbole_nasr.statistics import difference_of_means, holm, mean_and_interval, metric_per_case, paired_comparison


def test_metrics_per_case_are_those_of_one_target() -> None:
    ranks = [1, 2, 3, 10, 11]
    assert metric_per_case(ranks, "ndcg@10") == pytest.approx([1, 1 / math.log2(3), 0.5, 1 / math.log2(11), 0])
    assert metric_per_case(ranks, "Recall@3").tolist() == [1, 1, 1, 0, 0]
    assert metric_per_case(ranks, "hit@10").tolist() == [1, 1, 1, 1, 0]
    assert metric_per_case(ranks, "mrr@10") == pytest.approx([1, 0.5, 1 / 3, 0.1, 0])


@pytest.mark.parametrize("name", ["ndcg", "ndcg@0", "precision@10", "ndcg@1.5"])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="ndcg@K"):
        metric_per_case([1], name)


def test_a_rank_below_one_is_refused() -> None:
    with pytest.raises(DataError, match="from 1"):
        metric_per_case([0, 1], "ndcg@10")


def test_means_are_compared_by_welchs_t_test() -> None:
    # Means 0.6 and 0.3, variances of the mean 0.02 / 2 and 0.01 / 3; degrees of freedom by Welch and Satterthwaite
    t, freedom = 0.3 / math.sqrt(0.01 + 0.01 / 3), (0.04 / 3) ** 2 / (0.01**2 + (0.01 / 3) ** 2 / 2)
    assert difference_of_means([0.5, 0.7], [0.2, 0.3, 0.4]) == pytest.approx(2 * stats.t.sf(t, freedom))


def test_a_single_number_or_none_that_varies_says_nothing_about_means() -> None:
    assert math.isnan(difference_of_means([0.5], [0.2, 0.3]))
    assert math.isnan(difference_of_means([0.5, 0.5], [0.2, 0.2]))


def test_holm_gives_the_textbook_values() -> None:
    # Holm (1979): p sorted .005 .01 .03 .04 times 4 3 2 1, made monotone: .02 .03 .06 .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.03]) == pytest.approx([0.03])
    assert holm([]).tolist() == []


def test_a_p_value_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        holm([0.1, float("nan")])


def test_the_signed_rank_test_of_six_equal_signs_has_the_exact_p_value() -> None:
    # six differences 1..6, all positive: of the 2^6 patterns of signs one on either side is as extreme
    found = paired_comparison([1, 2, 3, 4, 5, 6], [0] * 6)
    assert found.p_value == pytest.approx(2 / 64)
    assert found.mean_difference == pytest.approx(3.5)


def test_cases_without_difference_do_not_change_the_p_value() -> None:
    generator = np.random.default_rng(1)
    a, b = generator.random(200), generator.random(200)
    same = np.full(500, 0.25)
    with_ties = paired_comparison(np.concatenate([a, same]), np.concatenate([b, same])).p_value
    assert with_ties == pytest.approx(float(stats.wilcoxon(a, b, method="approx").pvalue))
    few = paired_comparison([1, 2, 3, 4, 5, 6, *[7] * 100], [0, 0, 0, 0, 0, 0, *[7] * 100]).p_value
    assert few == pytest.approx(2 / 64)  # as above: exact, however many cases are alike


@pytest.mark.parametrize("differences", [[1.0], [2, 2, -1, 1, 3], [-1, -1, -2, 5, 5, 1, 4]])
def test_of_few_cases_every_pattern_of_signs_is_tried_whether_or_not_differences_are_equal(
    differences: list[float],
) -> None:
    ranks = stats.rankdata(np.abs(differences))
    sums = np.array([ranks @ signs for signs in itertools.product((-1, 1), repeat=len(ranks))])
    found = ranks @ np.sign(differences)
    expected = 2 * min((sums <= found).mean(), (sums >= found).mean())
    assert paired_comparison(differences, [0] * len(differences)).p_value == pytest.approx(min(expected, 1))


def test_equal_models_differ_by_nothing_for_certain() -> None:
    found = paired_comparison([0.1 + 0.2, 0.0, 1.0], [0.3, 0.0, 1.0])  # the last bit is no difference
    assert (found.mean_difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_the_other_way_round_is_the_mirror_image() -> None:
    generator = np.random.default_rng(2)
    ranks = generator.integers(1, 60, (2, 300))
    a, b = (metric_per_case(row, "ndcg@20") for row in ranks)
    one, other = paired_comparison(a, b), paired_comparison(b, a)
    assert one.mean_difference == -other.mean_difference
    assert one.p_value == pytest.approx(other.p_value)
    assert one.side == -other.side != 0
    assert one.interval == pytest.approx((-other.interval[1], -other.interval[0]), abs=2e-3)


def test_neither_is_better_where_the_mean_and_the_signed_ranks_favour_different_sides() -> None:
    # 90 differences of -0.05 share the ranks 1 to 90, ten of 1 the ranks 91 to 100: 90 * 45.5 > 10 * 95.5
    a, b = [0.0] * 90 + [1.0] * 10, [0.05] * 90 + [0.0] * 10
    found = paired_comparison(a, b)
    assert found.mean_difference == pytest.approx(0.055)
    assert found.p_value < 1e-6
    assert (found.side, found.better(found.p_value)) == (-1, 0)
    found = paired_comparison(a[5:], b[5:])  # now the interval has 0 in it
    assert (found.side, found.better(0.001)) == (-1, 0)
    clear = paired_comparison([1.0] * 20, [0.0] * 20)
    assert (clear.better(clear.p_value), clear.better(0.05)) == (1, 0)
    assert paired_comparison([0.5], [0.5]).side == 0


def test_the_interval_of_a_share_is_that_of_the_binomial_distribution() -> None:
    hits = np.repeat([1.0, 0.0], [120, 280])
    mean, (low, high) = mean_and_interval(hits, seed=0)
    assert mean == pytest.approx(0.3)
    exact = stats.binom(400, 0.3).ppf([0.025, 0.975]) / 400
    assert (low, high) == pytest.approx(exact, abs=1 / 400)


def test_the_interval_is_that_of_a_bootstrap_of_single_cases() -> None:
    values = np.random.default_rng(3).normal(size=150)
    _, ours = mean_and_interval(values, seed=0)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", random_state=np.random.default_rng(0)
    ).confidence_interval
    assert ours == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_the_seed_alone_decides_the_interval() -> None:
    values = np.random.default_rng(4).random(80)
    assert mean_and_interval(values, seed=7) == mean_and_interval(values, seed=7)
    assert mean_and_interval(values, seed=7) != mean_and_interval(values, seed=8)


def test_the_interval_covers_the_true_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(5)
    covered = 0
    for seed in range(300):
        ranks = generator.integers(1, 41, 250)  # recall@10 is 1/4
        low, high = mean_and_interval(metric_per_case(ranks, "recall@10"), seed, n_bootstrap=1000)[1]
        covered += low <= 0.25 <= high
    assert 0.91 <= covered / 300 <= 0.99


@pytest.mark.parametrize(("a", "b"), [([], []), ([1, 2], [1]), ([1.0, math.nan], [0, 0])])
def test_cases_that_cannot_be_paired_are_refused(a: list[float], b: list[float]) -> None:
    with pytest.raises(DataError):
        paired_comparison(a, b)
