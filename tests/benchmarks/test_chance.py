from __future__ import annotations

import math

import pytest

from benchmarks.statistics.chance import over_networks, simulated, units


def run(row: str, architecture: str, value: float) -> dict[str, str]:
    return {"row": row, "architecture": architecture, "test_ndcg@20": str(value)}


FOUND = [run("Search", name, value) for name, value in (("a", 0.4), ("a", 0.6), ("b", 0.7), ("b", 0.7))]
PURE = [run("Pure", "c", value) for value in (0.2, 0.3, 0.4)]


def test_a_network_counts_once_and_the_trainings_of_a_single_one_each() -> None:
    assert units(FOUND) == pytest.approx([0.5, 0.7])
    assert units(PURE) == pytest.approx([0.2, 0.3, 0.4])


def test_rows_are_compared_by_welchs_t_test() -> None:
    # Means 0.6 and 0.3 with variances of the mean of 0.02 / 2 and 0.01 / 3; 1.5 degrees of freedom (Welch and
    # Satterthwaite: (0.01 + 0.01 / 3)^2 / (0.01^2 / 1 + (0.01 / 3)^2 / 2)).
    from scipy import stats

    t, freedom = 0.3 / math.sqrt(0.01 + 0.01 / 3), (0.04 / 3) ** 2 / (0.01**2 + (0.01 / 3) ** 2 / 2)
    difference, p_value = over_networks([*FOUND, *PURE], "Search")["Pure"]
    assert difference == pytest.approx(0.3)
    assert p_value == pytest.approx(2 * stats.t.sf(t, freedom))


def test_a_row_of_one_run_has_no_p_value() -> None:
    assert math.isnan(over_networks([*FOUND, run("One", "d", 0.5)], "Search")["One"][1])


def test_equal_models_are_seldom_clearly_different_though_the_test_alone_finds_them_so() -> None:
    found = simulated((10, 2, 3), n_pages=8)
    assert found["test alone"] > 0.3  # a mean over ten runs is seldom exactly 0, one over two often
    assert found["clear"] < 0.15
