from __future__ import annotations

import numpy as np
import pytest

from benchmarks.data.generate import MOVIELENS_25M, activity


def test_a_shape_has_exactly_its_rows_or_is_refused() -> None:
    small, tiny = MOVIELENS_25M.scaled(0.001), MOVIELENS_25M.scaled(0.0001)
    counts = activity(small, small.items // 8, np.random.default_rng(0))
    assert (len(counts), counts.sum()) == (small.users, small.rows)
    assert small.least <= counts.min()
    assert counts.max() <= small.items // 8
    with pytest.raises(ValueError, match="take a larger --scale"):
        activity(tiny, tiny.items // 8, np.random.default_rng(0))
