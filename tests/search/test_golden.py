"""Preset `paper` finds what it found when these numbers were written down, before any other objective existed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, search
from recbole_nasr.space import SearchSpace

LOSSES = ((1.9358716011047363, 1.8022027015686035), (1.721910834312439, 1.77656888961792))
FIRST = (
    *(1.9439823230107625, 1.9448663592338562, 1.9449490904808044, 1.9442864259084065),
    *(1.9382530649503071, 1.9391579230626423, 1.9401311477025350, 1.9394740859667460),
    *(1.9464056293169658, 1.9473295410474140, 1.9431120554606120, 1.9746586481730144),
    *(1.8911624352137248, 1.8924043783158350, 1.9239505728085835, 1.9224439064661663),
)
SECOND = (1.8753731661305745, 1.8756644328435261, 1.8776438633600872, 1.8785989880561829)


def test_the_search_of_the_paper_gives_the_scores_it_always_gave(
    make_sequences: Callable[..., SearchSequences],
) -> None:
    problem = SearchProblem(
        sequences=make_sequences(24),
        space=SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1)),
        n_items=30,
        layer_settings=LayerSettings(hidden_size=8),
        settings=SearchSettings(batch_size=8, holdout_ratio=0.25),
        seed=2020,
    )
    result = search(problem)
    assert str(result.architecture) == "tcn_d1_4,transformer_h2/transformer_h2"
    # On one machine every bit is the same; the tolerances are for other processors, which add up in another order.
    first, second = result.blocks
    np.testing.assert_allclose(first.scores, FIRST, atol=1e-4, rtol=0)
    np.testing.assert_allclose(second.scores, SECOND, atol=1e-3, rtol=0)
    assert first.losses == pytest.approx(LOSSES[0], abs=1e-4)
    assert second.losses == pytest.approx(LOSSES[1], abs=1e-3)
    assert first.ties == (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14)
    assert first.effective_rank == pytest.approx(4.48135, abs=1e-2)
