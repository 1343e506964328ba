from __future__ import annotations

from benchmarks.statistics.chance import simulated


def test_equal_models_are_seldom_clearly_different_though_the_test_alone_finds_them_so() -> None:
    found = simulated((10, 2, 3), n_pages=8)
    assert found["test alone"] > 0.3  # a mean over ten runs is seldom exactly 0, one over two often
    assert found["clear"] < 0.15
