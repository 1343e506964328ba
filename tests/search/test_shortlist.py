from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchProblem, SearchResult, SearchSequences, SearchSettings, search
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.shortlist import Candidate, merged, shortlist, whole_networks
from recbole_nasr.space import Architecture, SearchSpace

from .conftest import N_ITEMS

SPACE = SearchSpace(("transformer_h2", "tcn_d1_2"), (2, 1))


@pytest.fixture(scope="module")
def found() -> SearchResult:
    """A search of which the scores and ties are then replaced by chosen ones."""
    return _search(1)


def _search(beam: int) -> SearchResult:
    import torch

    rng = torch.Generator().manual_seed(0)
    sequences = SearchSequences(
        torch.randint(1, N_ITEMS, (12, 6), generator=rng), torch.full((12,), 6), torch.arange(12) // 2
    )
    settings = SearchSettings(epochs=1, batch_size=4, holdout_ratio=0.3, beam=beam)
    layer_settings = LayerSettings(hidden_size=8)
    problem = SearchProblem(
        sequences=sequences, space=SPACE, n_items=N_ITEMS, layer_settings=layer_settings, settings=settings, seed=3
    )
    return search(problem)


@pytest.fixture
def scored(found: SearchResult) -> Callable[..., SearchResult]:
    def make(first: list[float], second: list[float], ties: tuple[tuple[int, ...], ...] = ((0,), (0,))) -> SearchResult:
        blocks = tuple(
            replace(block, scores=np.array(scores), selected=int(np.argmin(scores)), ties=tied)
            for block, scores, tied in zip(found.blocks, (first, second), ties, strict=True)
        )
        paths = [block.paths[block.selected] for block in blocks]
        return SearchResult(Architecture(tuple(paths)), blocks)

    return make


def test_whole_networks_come_in_the_order_of_their_added_scores(scored: Callable[..., SearchResult]) -> None:
    blocks = scored([0.5, 0.1, 0.2, 0.9], [0.3, 0.45]).blocks
    listed = list(whole_networks(blocks, SPACE, Budget(2, 3)))
    sums = {
        (a, b): blocks[0].scores[a] - 0.1 + blocks[1].scores[b] - 0.3 for a, b in itertools.product(range(4), range(2))
    }
    assert {indices: pytest.approx(score) for score, indices in listed} == sums
    assert [score for score, _ in listed] == sorted(score for score, _ in listed)


def test_the_shortlist_has_the_choice_the_next_by_score_and_members_of_the_tie(
    scored: Callable[..., SearchResult],
) -> None:
    result = scored([0.1, 0.2, 0.3, 0.9], [0.5, 0.45], ties=((0, 1, 3), (0, 1)))
    flops = (2, 1, 9, 3), (1, 2)
    result = replace(result, blocks=tuple(replace(b, flops=of) for b, of in zip(result.blocks, flops, strict=True)))
    proposed = shortlist(result, SPACE, Budget(2, 3), n_best=3, n_tied=2, seed=1)
    assert [candidate.origins[0] for candidate in proposed] == ["search", *["next by score"] * 2, *["tied"] * 2]
    assert proposed[0].architecture == result.architecture
    names = [str(candidate.architecture) for candidate in proposed]
    assert names[:4] == [
        "transformer_h2,transformer_h2/tcn_d1_2",
        "transformer_h2,transformer_h2/transformer_h2",  # + 0.05
        "transformer_h2,tcn_d1_2/tcn_d1_2",  # + 0.1
        "transformer_h2,tcn_d1_2/transformer_h2",  # the fewest FLOPs of the tie
    ]
    assert len(set(names)) == 5
    again, *others = (shortlist(result, SPACE, Budget(2, 3), n_best=3, n_tied=2, seed=seed) for seed in range(1, 9))
    assert again == proposed
    assert {str(other[4].architecture) for other in others} == {  # the rest of the tie
        "tcn_d1_2,tcn_d1_2/tcn_d1_2",
        "tcn_d1_2,tcn_d1_2/transformer_h2",
    }


def test_a_small_space_is_proposed_whole_and_no_network_twice(scored: Callable[..., SearchResult]) -> None:
    result = scored([0.1, 0.2, 0.3, 0.9], [0.5, 0.45])
    proposed = shortlist(result, SPACE, Budget(2, 3), n_best=100, n_tied=3, seed=1)
    assert len(proposed) == len({candidate.architecture for candidate in proposed}) == 8


def test_of_a_tie_all_networks_are_proposed_if_so_many_are_asked_for(
    scored: Callable[..., SearchResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.search.shortlist.TRIES", 30)
    draws = itertools.cycle([*[(0, 0)] * 29, (0, 1), *[(0, 1)] * 29, (1, 0), (0, 0)])
    monkeypatch.setattr("recbole_nasr.search.shortlist._tied", lambda *_: draws)
    result = scored([0.1, 0.1, 0.3, 0.9], [0.5, 0.5], ties=((0, 1), (0, 1)))
    proposed = shortlist(result, SPACE, Budget(2, 3), n_best=1, n_tied=9, seed=1)
    assert [candidate.origins[0] for candidate in proposed] == ["search", "tied", "tied"]  # then 30 in vain


def test_no_network_over_budget_is_proposed(scored: Callable[..., SearchResult]) -> None:
    table = CostTable(SPACE.operations, np.array([[5.0, 0, 0], [1.0, 0, 0]]), np.zeros(3), "cpu")
    budget = Budget(2, 3, table, {"parameters": 7})
    result = scored([0.3, 0.2, 0.25, 0.1], [0.5, 0.45], ties=((0, 1, 2, 3), (0, 1)))
    proposed = shortlist(result, SPACE, budget, n_best=100, n_tied=9, seed=1)
    assert len(proposed) == 4  # at most one transformer in three layers
    assert all(budget.fits(SPACE.path_of(candidate.architecture.layers)) for candidate in proposed)


def test_what_a_beam_kept_open_is_proposed_after_the_choice() -> None:
    result = _search(beam=3)
    proposed = shortlist(result, SPACE, Budget(2, 3), n_best=3, n_tied=0, seed=1)
    assert [candidate.origins for candidate in proposed] == [("search",), ("beam",), ("beam",)]
    assert tuple(candidate.architecture for candidate in proposed) == (result.architecture, *result.kept)


def test_networks_that_compute_the_same_are_one_candidate() -> None:
    first, second = (Architecture.parse(text) for text in ("skip,tcn_d1_2/skip", "tcn_d1_2,skip/skip"))
    assert merged([Candidate(first, ("search",)), Candidate(second, ("tied",))]) == [
        Candidate(first, ("search", "tied"))
    ]


def test_no_two_that_compute_the_same_are_proposed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.SPACE", SearchSpace(("skip", "tcn_d1_2"), (2, 1)))
    found = _search(1)
    proposed = shortlist(found, SPACE, Budget(2, 3), n_best=100, n_tied=9, seed=1)
    assert len(proposed) == 4  # none, one, two or three convolutions


def test_a_network_with_several_origins_is_one_candidate() -> None:
    a, b = (Architecture.parse(text) for text in ("tcn_d1_2", "tcn_d1_4"))
    given: list[Any] = [Candidate(a, ("search",)), Candidate(b, ("tied",)), Candidate(a, ("hand-made",))]
    assert merged(given) == [Candidate(a, ("search", "hand-made")), Candidate(b, ("tied",))]


def test_what_a_beam_kept_open_is_proposed_once_where_it_computes_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(f"{__name__}.SPACE", SearchSpace(("skip", "tcn_d1_2"), (2, 1)))
    texts = ("skip,tcn_d1_2/skip", "tcn_d1_2,skip/skip", "tcn_d1_2,tcn_d1_2/skip")
    choice, copy, other = (Architecture.parse(text) for text in texts)
    result = replace(_search(1), architecture=choice, kept=(copy, other))
    proposed = shortlist(result, SPACE, Budget(2, 3), n_best=2, n_tied=0, seed=1)
    assert [candidate.architecture for candidate in proposed] == [choice, other]
