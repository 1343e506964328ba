from __future__ import annotations

import random
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recbole_nasr.errors import ConfigError
from recbole_nasr.ops import LayerSettings
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, evolution, search
from recbole_nasr.search.budget import Budget
from recbole_nasr.search.evolution import mutated, regularised_evolution
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.path_scores import PathScores, effective_rank
from recbole_nasr.space import SearchSpace

from .conftest import N_ITEMS


def test_a_mutation_changes_one_layer() -> None:
    budget, rng = Budget(3, 4), random.Random(0)
    for _ in range(20):
        assert sum(a != b for a, b in zip(mutated((0, 1, 2, 0), budget, rng), (0, 1, 2, 0), strict=True)) == 1


def test_with_a_single_operation_there_is_nothing_to_mutate() -> None:
    assert mutated((0, 0), Budget(1, 2), random.Random(0)) == (0, 0)


def test_evolution_finds_a_far_better_network_than_as_many_random_ones() -> None:
    budget = Budget(4, 12)

    def score(network: tuple[int, ...]) -> float:
        return float(sum(network))  # the best is 0, the mean network 18

    sizes = {"population": 20, "tournament": 5, "networks": 300}
    evolved = min(map(score, regularised_evolution(score, budget, random.Random(0), **sizes)))
    rng = random.Random(0)
    assert evolved <= 2 < min(score(budget.draw(rng)) for _ in range(300))


def test_every_network_is_scored_once_and_no_more_are_drawn_than_asked_for() -> None:
    asked: list[tuple[int, ...]] = []

    def score(network: tuple[int, ...]) -> float:
        asked.append(network)
        return 0.0

    found = regularised_evolution(score, Budget(2, 2), random.Random(0), population=3, tournament=2, networks=40)
    assert found == asked
    assert len(asked) == len(set(asked)) <= 4


def test_its_progress_counts_repeated_networks_too(monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[object] = []
    monkeypatch.setattr(Progress, "advance", lambda _, n=1, **info: counted.extend([info["best"]] * n))
    sizes = {"population": 3, "tournament": 2, "networks": 40}
    regularised_evolution(sum, Budget(2, 2), random.Random(0), progress=Progress(), **sizes)
    assert len(counted) == 40
    assert counted == sorted(counted, reverse=True)
    assert counted[-1] == "0.0000"


@pytest.mark.parametrize(("tournament", "ages"), [(1, {1, 2, 3, 4}), (2, {2, 3, 4}), (4, {4}), (9, {4})])
def test_a_parent_is_the_best_of_a_tournament_and_the_oldest_dies_however_good_it_is(
    tournament: int, ages: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    born: list[tuple[int, ...]] = []
    found = []

    def spy(parent: tuple[int, ...], *given: Any) -> tuple[int, ...]:
        found.append(len(born) - born.index(parent))
        return mutated(parent, *given)

    monkeypatch.setattr(evolution, "mutated", spy)
    # Every network is worse than those before it, so that the best of four alive was born four steps ago.
    sizes = {"population": 4, "tournament": tournament, "networks": 60}
    regularised_evolution(lambda one: born.append(one) or float(len(born)), Budget(50, 200), random.Random(1), **sizes)
    assert len(set(born)) == 60
    assert (len(found), set(found)) == (56, ages)


@pytest.fixture
def problem(make_sequences: Callable[..., SearchSequences]) -> SearchProblem:
    settings = SearchSettings(
        objective="next_item",
        scope="whole",
        choice="evolution",
        epochs=1,
        batch_size=4,
        holdout_ratio=0.3,
        evolution_networks=12,
        evolution_population=4,
        evolution_tournament=2,
    )
    return SearchProblem(
        sequences=make_sequences(),
        space=SearchSpace(("transformer_h2", "tcn_d1_2"), (2, 1)),
        n_items=N_ITEMS,
        layer_settings=LayerSettings(hidden_size=8),
        settings=settings,
        seed=3,
    )


def test_evolution_on_a_supernet_ranks_whole_networks(problem: SearchProblem) -> None:
    found, again = search(problem), search(problem)
    (ranking,) = found.blocks
    assert found.architecture.layers == ranking.paths[int(ranking.scores.argmin())]
    assert [len(block) for block in found.architecture.blocks] == [2, 1]
    assert 1 < len(ranking.paths) <= 8 == ranking.n_space_paths
    assert (ranking.scores == again.blocks[0].scores).all()


def test_evolution_keeps_the_mean_representation_and_not_that_of_each_network(
    problem: SearchProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[Tensor]] = []
    copies: list[Tensor] = []
    alive: list[int] = []
    score = NextItem.score

    def watched(self: NextItem, *given: Any) -> PathScores:
        alive.append(sum(one() is not None for one in made))
        found = score(self, *given)
        made.append(weakref.ref(found.representation))
        copies.append(found.representation.clone())
        return found

    monkeypatch.setattr(NextItem, "score", watched)
    (ranking,) = search(problem).blocks
    assert len(made) == len(ranking.paths) > 2
    assert max(alive) <= 1
    mean = torch.stack(copies).mean(dim=0)
    assert ranking.effective_rank == pytest.approx(effective_rank(mean), rel=1e-5)


def test_scores_that_depend_on_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="--search_preset=evolution"):
        SearchSettings(choice="evolution")
