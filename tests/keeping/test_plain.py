from __future__ import annotations

import numpy as np
import pytest
import torch

from recbole_nasr.keeping import packed, plain, random_state, rebuilt, set_random_state, unpacked

WRITTEN_BY_EVERY_TORCH = {torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64}
WRITTEN_BY_EVERY_TORCH |= {torch.float16, torch.float32, torch.float64}


@pytest.mark.parametrize(
    "name", ["bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)
@pytest.mark.parametrize("shape", [(), (0,), (6,), (2, 3)])
def test_an_array_of_any_numbers_comes_back_and_is_kept_in_a_type_that_torch_2_4_can_write(
    name: str, shape: tuple[int, ...]
) -> None:
    n = int(np.prod(shape))
    array = (np.arange(n, dtype="float64") * 40_000 % 2**16 + 2**15).astype(name).reshape(shape)
    assert plain(array)["__value__"].dtype in WRITTEN_BY_EVERY_TORCH
    found = rebuilt(unpacked(packed(array)))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert np.array_equal(found, array)


def test_all_random_generators_go_on_where_they_were_kept() -> None:
    kept = unpacked(packed(random_state()))
    expected = np.random.rand(3).tolist(), torch.rand(3).tolist()  # noqa: NPY002
    set_random_state(rebuilt(kept))
    assert (np.random.rand(3).tolist(), torch.rand(3).tolist()) == expected  # noqa: NPY002


def test_a_type_that_a_state_makes_up_is_not_looked_up() -> None:
    part = {"__kind__": "array", "__value__": torch.tensor([1, 2]), "dtype": "object"}
    assert rebuilt(part).dtype == np.int64
