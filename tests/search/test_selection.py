from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.search.selection import Matrix, Selection, persons_of, select_path, standard_error

PATHS = list(product(range(2), repeat=2))  # 00, 01, 10, 11


def choose(
    distances: Matrix, paths: list[tuple[int, ...]], flops: list[int], tolerance: float, tie_break: str = "flops"
) -> Selection:
    person = np.arange(distances.shape[1])
    return select_path(distances, person, paths, flops, tie_standard_errors=tolerance, tie_break=tie_break)


def test_without_tolerance_the_winner_is_the_brute_force_minimum() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        distances = rng.uniform(0, 4, (4, 5))
        found = choose(distances, PATHS, [1, 1, 1, 1], 0.0)
        means = [sum(row) / 5 for row in distances.tolist()]
        assert found.selected == min(range(4), key=means.__getitem__)
        assert found.ties == (found.selected,)
        assert found.gap == pytest.approx(sorted(means)[1] - min(means))


def test_an_exact_tie_goes_to_the_fewest_flops_then_to_lexicographic_order() -> None:
    distances = np.array([[3.0, 3.0], [1.0, 2.0], [1.0, 2.0], [1.0, 2.0]])
    assert choose(distances, PATHS, [1, 5, 5, 5], 0.0).selected == 1
    assert [choose(distances, PATHS, [1, 5, 5, 4], 0.0, rule).selected for rule in ("flops", "score")] == [3, 3]
    assert choose(distances, PATHS, [1, 5, 5, 5], 0.0).ties == (1, 2, 3)


@given(st.permutations(range(4)), st.sampled_from([0.0, 2.0]))
def test_the_order_in_which_paths_are_listed_changes_nothing(order: list[int], tolerance: float) -> None:
    distances = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.1, 2.0, 3.1], [3.0, 2.0, 1.0]])
    flops = [2, 2, 1, 2]
    expected = choose(distances, PATHS, flops, tolerance)
    found = choose(distances[order], [PATHS[i] for i in order], [flops[i] for i in order], tolerance)
    assert order[found.selected] == expected.selected
    assert {order[i] for i in found.ties} == set(expected.ties)
    assert found.gap == expected.gap


def test_a_tie_is_measured_in_paired_standard_errors() -> None:
    # Differences of path 01 to the best: 0, 0.2, 0.1, 0.1 -> mean 0.1, sd 0.08165, paired error 0.040825:
    # the excess of 0.1 is 2.449 of them. The scores themselves have standard errors of 0.65 and more.
    distances = np.array([[0.0, 1.0, 2.0, 3.0], [0.0, 1.2, 2.1, 3.1], [4.0] * 4, [4.0] * 4])
    tight = choose(distances, PATHS, [9, 1, 1, 1], 2.4)
    loose = choose(distances, PATHS, [9, 1, 1, 1], 2.5)
    assert (tight.selected, tight.ties) == (0, (0,))
    assert (loose.selected, loose.ties) == (1, (0, 1))
    by_score = choose(distances, PATHS, [9, 1, 1, 1], 2.5, "score")
    assert (by_score.selected, by_score.ties) == (0, (0, 1))
    assert tight.gap == pytest.approx(0.1)
    assert tight.gap_standard_error == pytest.approx((0.02 / 3) ** 0.5 / 2)
    assert tight.standard_errors[0] == pytest.approx((5 / 3) ** 0.5 / 2)
    assert tight.scores.tolist() == pytest.approx([1.5, 1.6, 4.0, 4.0])


def test_a_path_that_is_worse_on_every_sequence_alike_is_no_tie() -> None:
    distances = np.array([[1.0, 2.0, 3.0], [1.25, 2.25, 3.25]])
    assert choose(distances, PATHS[:2], [2, 1], 1000.0).ties == (0,)


def test_a_single_path_wins_with_no_gap() -> None:
    found = choose(np.array([[1.0, 2.0]]), [(0,)], [1], 2.0)
    assert (found.selected, found.ties, found.gap, found.gap_standard_error) == (0, (0,), 0.0, 0.0)


def test_with_a_sequence_each_the_standard_error_is_the_usual_one() -> None:
    values = np.random.default_rng(0).normal(size=(3, 20))
    expected = values.std(axis=1, ddof=1) / np.sqrt(20)
    assert standard_error(values, np.arange(20)) == pytest.approx(expected)


def test_more_sequences_of_the_same_persons_that_say_the_same_make_nothing_more_certain() -> None:
    values = np.random.default_rng(0).normal(size=(3, 20))
    twice, person = np.concatenate([values, values], axis=1), np.tile(np.arange(20), 2)
    assert standard_error(twice, person) == pytest.approx(standard_error(values, np.arange(20)))


def test_the_error_over_persons_by_hand() -> None:
    values = np.array([1.0, 2.0, 6.0])  # mean 3; persons deviate by -3 and 3 in sum
    assert standard_error(values, np.array([0, 0, 1])) == pytest.approx(np.sqrt((9 + 9) * 2 / 1) / 3)


def test_persons_are_numbered_and_one_person_alone_is_taken_for_as_many_as_there_are_sequences() -> None:
    assert persons_of(np.array([7, 3, 7])).tolist() == [1, 0, 1]
    assert persons_of(np.array([7, 7, 7])).tolist() == [0, 1, 2]
