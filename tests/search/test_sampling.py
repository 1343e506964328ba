from __future__ import annotations

import random
from collections import Counter

import pytest

from recbole_nasr.search.sampling import PathSampler, most_places
from recbole_nasr.space import SearchSpace

SPACE = SearchSpace(("tcn_d1", "tcn_d2", "tcn_d3", "tcn_d4"), (2, 3))


def sampler(sampling: str, seed: int = 0) -> PathSampler:
    return PathSampler(SPACE, 1, sampling, random.Random(seed))


@pytest.mark.parametrize("n", [1, 3, 4, 5, 8])
def test_fair_paths_use_every_operation_of_every_layer_equally_often_in_every_round(n: int) -> None:
    fair = sampler("fair")
    paths = [path for _ in range(12) for path in fair.draw(n)]
    assert len(paths) == 12 * n
    for start in range(0, len(paths), 4):
        for layer in range(3):
            assert sorted(path[layer] for path in paths[start : start + 4]) == [0, 1, 2, 3][: len(paths) - start]


def test_fair_paths_still_combine_operations_freely() -> None:
    pairs = Counter(path[:2] for path in sampler("fair").draw(1600))
    assert len(pairs) == 16
    assert min(pairs.values()) > 60  # 100 expected


def test_uniform_paths_are_those_of_the_space() -> None:
    uniform, rng = sampler("uniform"), random.Random(0)
    assert [uniform.draw(4) for _ in range(3)] == [SPACE.sample_paths(1, 4, rng) for _ in range(3)]
    assert sampler("fair").draw(9) != sampler("fair", seed=1).draw(9)


@pytest.mark.parametrize("sampling", ["fair", "uniform"])
@pytest.mark.parametrize("n_paths", range(1, 10))
def test_an_operation_gets_at_most_the_places_that_are_counted_on_and_sometimes_all_of_them(
    sampling: str, n_paths: int
) -> None:
    draws = sampler(sampling).draw(n_paths * 4000)
    steps = [draws[start : start + n_paths] for start in range(0, len(draws), n_paths)]
    most = max(max(Counter(layer).values()) for step in steps for layer in zip(*step, strict=True))
    counted = most_places(4, n_paths, sampling)
    assert most <= counted
    assert most == counted or (sampling == "uniform" and n_paths > 6)  # nine of nine alike in one of 65,000 layers
