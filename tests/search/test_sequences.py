from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.errors import DataError
from recbole_nasr.search import SearchSequences, hold_out


def sequences_of(groups: list[int]) -> SearchSequences:
    n = len(groups)
    return SearchSequences(torch.arange(1, n + 1).unsqueeze(1), torch.ones(n).long(), torch.tensor(groups))


@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.floats(0.01, 0.5), st.integers(0, 9))
def test_every_person_is_on_one_side_and_every_sequence_on_exactly_one(
    groups: list[int], ratio: float, seed: int
) -> None:
    try:
        train, held = hold_out(sequences_of(groups), ratio, seed)
    except DataError:
        wanted, largest = max(2, math.ceil(ratio * len(groups))), max(map(groups.count, groups))
        assert len(groups) <= 2 * wanted or len(groups) - largest < 2
        return
    assert sorted([*train.item_seq.flatten().tolist(), *held.item_seq.flatten().tolist()]) == list(
        range(1, len(groups) + 1)
    )
    assert not set(train.group.tolist()) & set(held.group.tolist())
    assert min(len(train.group), len(held.group)) >= 2
    for side in (train, held):
        assert [groups[item - 1] for item in side.item_seq.flatten().tolist()] == side.group.tolist()


def test_the_share_is_kept_as_closely_as_whole_persons_allow() -> None:
    sequences = sequences_of([n // 3 for n in range(300)])
    assert len(hold_out(sequences, 0.05, 1)[1].group) == 15
    assert len(hold_out(sequences, 0.051, 1)[1].group) == 18


@pytest.mark.parametrize("seed", range(5))
def test_a_person_with_most_of_the_sequences_is_trained_on_if_others_are_enough(seed: int) -> None:
    groups = [0] * 80 + list(range(1, 21))
    assert len(hold_out(sequences_of(groups), 0.05, seed)[1].group) == 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("sizes", "held"),
    [([400, 10, 10], 20), ([1000, 20, 15, 10], 45), ([300] + [2] * 7, 14), ([1000, 500, 1], 501)],
    ids=str,
)
def test_a_person_with_most_of_the_sequences_is_trained_on_though_others_are_fewer_than_asked_for(
    sizes: list[int], held: int, seed: int
) -> None:
    groups = [person for person, size in enumerate(sizes) for _ in range(size)]
    assert len(hold_out(sequences_of(groups), 0.05, seed)[1].group) == held


def test_who_is_held_out_depends_on_the_seed_alone() -> None:
    sequences = sequences_of(list(range(100)))
    first, again, other = (hold_out(sequences, 0.1, seed)[1].group.tolist() for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize("groups", [[1] * 9, [1, 2, 3], [1]])
def test_too_few_persons_are_an_error(groups: list[int]) -> None:
    with pytest.raises(DataError, match=r"two sequences to train on and two of other persons.*; use more data\.$"):
        hold_out(sequences_of(groups), 0.05, 0)


def test_a_share_held_out_that_leaves_nothing_to_train_on_is_to_be_lowered() -> None:
    with pytest.raises(DataError, match=r"there are 100 of 100 persons at .*=0\.9999; lower it\.$"):
        hold_out(sequences_of(list(range(100))), 0.9999, 0)
    with pytest.raises(DataError, match=r"; lower it\.$"):
        hold_out(sequences_of([1, 2, 3, 4]), 0.8, 0)
