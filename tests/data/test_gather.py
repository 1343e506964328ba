from __future__ import annotations

import torch

from recbole_nasr.data.gather import gather_windows


def test_windows_are_padded_with_zeros_on_the_right() -> None:
    got = gather_windows(torch.tensor([5, 6, 7, 8]), torch.tensor([0, 2]), torch.tensor([3, 1]), 4)
    assert got.tolist() == [[5, 6, 7, 0], [7, 0, 0, 0]]


def test_entries_keep_their_own_dimensions_and_dtype() -> None:
    column = torch.arange(8, dtype=torch.float32).reshape(4, 2) + 1
    got = gather_windows(column, torch.tensor([2]), torch.tensor([2]), 3)
    assert got.dtype == torch.float32
    assert got.tolist() == [[[5, 6], [7, 8], [0, 0]]]


def test_a_window_at_the_end_of_the_column_reads_nothing_beyond_it() -> None:
    got = gather_windows(torch.tensor([1, 2]), torch.tensor([1]), torch.tensor([1]), 5)
    assert got.tolist() == [[2, 0, 0, 0, 0]]


def test_no_windows_give_an_empty_table() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert gather_windows(torch.tensor([1]), none, none, 3).shape == (0, 3)
