from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.space import Architecture, SearchSpace


def rng_of(seed: int) -> random.Random:
    return random.Random(seed)


FOUR = ("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4")


@pytest.mark.parametrize(
    ("n_layers", "n_blocks", "expected"),
    [(16, 4, (4, 4, 4, 4)), (7, 3, (3, 2, 2)), (5, 5, (1,) * 5), (3, 1, (3,))],
)
def test_layers_are_cut_as_evenly_as_they_go(n_layers: int, n_blocks: int, expected: tuple[int, ...]) -> None:
    space = SearchSpace.build(FOUR, n_layers, n_blocks)
    assert space.layers_per_block == expected
    assert (space.n_layers, space.n_blocks) == (n_layers, n_blocks)


def test_listed_blocks_are_kept() -> None:
    assert SearchSpace.build(FOUR, 6, 4, [1, 5]).layers_per_block == (1, 5)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ((FOUR, 4, 5), "`n_blocks` must lie in 1..n_layers, but is 5 at n_layers=4"),
        ((FOUR, 4, 0), "`n_blocks`"),
        ((FOUR, 0, 4), "`n_layers` must be at least 1, but is 0"),
        ((FOUR, 4, 2, [1, 2]), r"\[1, 2\] adds up to 3 and n_layers is 4"),
        ((FOUR, 4, 2, [4, 0]), r"at least one layer.*\[4, 0\]"),
        (((), 4, 2), "at least one candidate operation"),
        ((("gru4rec", "gru4rec"), 4, 2), "must differ"),
        ((("grue",), 4, 2), "known families"),
    ],
)
def test_spaces_that_cannot_be_built_are_refused(arguments: tuple[object, ...], rule: str) -> None:
    with pytest.raises(ArchitectureError, match=rule):
        SearchSpace.build(*arguments)


def test_a_space_of_lists_is_that_of_tuples() -> None:
    space = SearchSpace(["skip", "gru"], [2, 1])  # type: ignore[arg-type]  # as users of notebooks write it
    assert space == SearchSpace(("skip", "gru"), (2, 1))
    assert str(space.architecture([(0, 1), (1,)])) == "skip,gru/gru"


def test_the_papers_block_has_256_paths_and_the_space_4_to_the_16() -> None:
    space = SearchSpace.build(FOUR, 16, 4)
    assert space.n_paths(0) == len(list(space.paths(0))) == 256
    assert space.n_architectures == 4**16
    assert space.size_text() == "4^16 (10^9.6)"
    assert SearchSpace.build(FOUR, 6, 2).size_text() == "4^6 = 4,096"


def test_paths_come_in_lexicographic_order() -> None:
    space = SearchSpace(FOUR[:3], (2,))
    paths = list(space.paths(0))
    assert paths == sorted(set(paths))
    assert paths[:4] == [(0, 0), (0, 1), (0, 2), (1, 0)]


@given(n_ops=st.integers(1, 5), n_layers=st.integers(1, 6), limit=st.integers(1, 40), seed=st.integers(0, 99))
def test_candidates_are_distinct_sorted_paths_of_the_block(n_ops: int, n_layers: int, limit: int, seed: int) -> None:
    space = SearchSpace(tuple(f"tcn_d{n}" for n in range(1, n_ops + 1)), (2, n_layers))
    paths = space.candidate_paths(1, limit, rng_of(seed))
    assert len(paths) == min(limit, n_ops**n_layers)
    assert paths == sorted(set(paths))
    assert all(len(path) == n_layers and set(path) <= set(range(n_ops)) for path in paths)
    assert paths == space.candidate_paths(1, limit, rng_of(seed))


def test_a_block_beyond_any_enumeration_is_sampled_uniformly() -> None:
    space = SearchSpace(tuple(f"tcn_d{n}" for n in range(1, 12)), (40,))
    paths = space.candidate_paths(0, 300, rng_of(0))
    counts = Counter(op for path in paths for op in path)
    expected = 300 * 40 / 11
    assert set(counts) == set(range(11))
    assert all(abs(count - expected) < 5 * expected**0.5 for count in counts.values())
    small = SearchSpace(FOUR[:2], (2,))
    drawn = (small.candidate_paths(0, 3, rng_of(seed)) for seed in range(40))
    assert {path for paths in drawn for path in paths} == set(small.paths(0))


def test_all_paths_are_sampled_and_of_four_an_operation_is_on_one_with_probability_68_percent() -> None:
    space, rng = SearchSpace(FOUR, (4,)), rng_of(0)
    n = 3000
    steps = [space.sample_paths(0, 4, rng) for _ in range(n)]
    used = sum(len({path[layer] for path in paths}) for paths in steps for layer in range(4))
    assert used / (n * 16) == pytest.approx(1 - 0.75**4, abs=0.01)
    assert {path for paths in steps for path in paths} == set(space.paths(0))


def test_an_architecture_is_one_path_per_block() -> None:
    space = SearchSpace(FOUR, (2, 1))
    assert str(space.architecture([(0, 2), (3,)])) == "transformer_h4,tcn_d1_2/tcn_d1_4"
    assert str(space.uniform("gru4rec")) == "gru4rec,gru4rec/gru4rec"
    with pytest.raises(ArchitectureError, match=r"\[1, 2\] do not fit blocks \[2, 1\]"):
        space.architecture([(0,), (1, 2)])


def test_a_random_architecture_depends_on_its_generator_alone() -> None:
    space = SearchSpace.build(FOUR, 16, 4)
    drawn = [space.random_architecture(rng_of(seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [len(block) for block in drawn[0].blocks] == [4, 4, 4, 4]


def test_more_than_ten_operations_keep_their_names() -> None:
    space = SearchSpace(tuple(f"tcn_d{n}" for n in range(1, 13)), (2,))
    architecture = space.architecture([(11, 1)])
    assert architecture == Architecture((("tcn_d12", "tcn_d2"),)) == Architecture.parse(str(architecture))
