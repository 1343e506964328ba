from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_nasr.data.chunks import cut_into_chunks


def spans(targets: list[int], first: list[int], max_length: int) -> list[tuple[int, int]]:
    start, length = cut_into_chunks(torch.tensor(targets), torch.tensor(first), max_length)
    return list(zip(start.tolist(), length.tolist(), strict=True))


def test_a_history_that_fits_is_one_chunk() -> None:
    assert spans([1, 2, 3], [0, 0, 0], max_length=3) == [(0, 3)]


def test_a_long_history_is_cut_from_its_end_so_that_the_last_chunk_is_full() -> None:
    assert spans([1, 2, 3, 4, 5], [0] * 5, max_length=2) == [(0, 1), (1, 2), (3, 2)]


def test_users_whose_targets_touch_are_not_joined() -> None:
    # The second user starts at position 3 and the split has left out nothing between position 2 and 4.
    assert spans([1, 2, 4, 5], [0, 0, 3, 3], max_length=9) == [(0, 2), (3, 2)]


def test_no_targets_give_no_chunks() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    start, length = cut_into_chunks(none, none, 5)
    assert len(start) == len(length) == 0


@settings(deadline=None)
@given(
    histories=st.lists(st.tuples(st.integers(1, 12), st.integers(0, 2)), min_size=1, max_size=8),
    max_length=st.integers(1, 6),
)
def test_every_target_is_in_exactly_one_chunk_of_its_own_user(
    histories: list[tuple[int, int]], max_length: int
) -> None:
    targets, first, owner, position = [], [], {}, 0
    for user, (size, held_out) in enumerate(histories):
        owner.update({position + offset: user for offset in range(size)})
        train = range(position + 1, position + max(size - held_out, 1))
        targets += train
        first += [position] * len(train)
        position += size
    if not targets:
        return
    covered = []
    chunks = spans(targets, first, max_length)
    for start, length in chunks:
        assert 1 <= length <= max_length
        assert len({owner[p] for p in range(start, start + length + 1)}) == 1
        covered += range(start + 1, start + length + 1)
    assert covered == targets
