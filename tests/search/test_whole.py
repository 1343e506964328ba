from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recbole_nasr.ops import LayerSettings
from recbole_nasr.progress import Progress
from recbole_nasr.search import (
    BlockRanking,
    SearchProblem,
    SearchResult,
    SearchSequences,
    SearchSettings,
    search,
    whole,
)
from recbole_nasr.search.whole import WholeSearch
from recbole_nasr.space import SearchSpace

SPACE = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1))


@pytest.fixture
def make_problem(make_sequences: Callable[..., SearchSequences]) -> Callable[..., SearchProblem]:
    def make(**settings: Any) -> SearchProblem:
        given = {"objective": "next_item", "scope": "whole", "epochs": 1, "batch_size": 8, "holdout_ratio": 0.25}
        return SearchProblem(
            sequences=make_sequences(24),
            space=SPACE,
            n_items=30,
            layer_settings=LayerSettings(hidden_size=8),
            settings=SearchSettings(**{**given, **settings}),
            seed=3,
        )

    return make


@pytest.mark.parametrize("objective", ["next_item", "contrastive"])
def test_every_path_of_every_block_is_ranked_and_the_chosen_are_the_architecture(
    objective: str, make_problem: Callable[..., SearchProblem]
) -> None:
    reported: list[tuple[int, BlockRanking]] = []
    problem = make_problem(objective=objective)
    result = search(problem, lambda index, ranking: reported.append((index, ranking)))
    assert [len(block.paths) for block in result.blocks] == [16, 4]
    assert [(index, id(ranking)) for index, ranking in reported] == [
        (index, id(block)) for index, block in enumerate(result.blocks)
    ]
    assert result.architecture.blocks == tuple(block.paths[block.selected] for block in result.blocks)


def test_no_other_path_of_any_one_block_scores_better_in_the_network_found(
    make_problem: Callable[..., SearchProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    run = WholeSearch(make_problem(sweeps=20))
    result = run.run()
    names = [name for block in result.architecture.blocks for name in block]
    found = tuple(SPACE.operations.index(name) for name in names)
    every = sorted({(*path, found[2]) for path in SPACE.paths(0)} | {(*found[:2], *path) for path in SPACE.paths(1)})
    scores = run.state.objective.score([()], every, Progress()).values[0].mean(dim=1)
    assert every[int(scores.argmin())] == found
    assert result.blocks[0].scores.min() == pytest.approx(result.blocks[1].scores.min())
    monkeypatch.setattr(whole, "START_NETWORKS", 64)  # all
    networks = list(run.one_block.paths(0))
    scores = run.state.objective.score([()], networks, Progress()).values[0].mean(dim=1)
    assert run._start() == networks[int(scores.argmin())] != networks[0]


def test_the_same_seed_gives_the_same_result_to_the_last_bit(make_problem: Callable[..., SearchProblem]) -> None:
    first, second = (search(make_problem(sweeps=1)) for _ in range(2))
    assert first.architecture == second.architecture
    assert all((a.scores == b.scores).all() for a, b in zip(first.blocks, second.blocks, strict=True))


def test_the_supernet_is_trained_once_and_every_block_tells_its_losses(
    make_problem: Callable[..., SearchProblem],
) -> None:
    first, second = search(make_problem(epochs=3)).blocks
    assert len(first.losses) == 3
    assert first.losses == second.losses
    assert first.metric == "cross-entropy of the next item"


def test_blocks_too_large_to_enumerate_are_sampled_with_the_present_path_among_them(
    make_problem: Callable[..., SearchProblem],
) -> None:
    first, second = search(make_problem(max_enumerated_paths=3)).blocks
    assert 3 <= len(first.paths) <= 4
    assert first.sampled
    assert 3 <= len(second.paths) <= 4


def test_a_block_whose_surroundings_are_as_they_were_keeps_its_ranking_and_nothing_else_changes(
    make_problem: Callable[..., SearchProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    def searched(seed: int) -> tuple[SearchResult, int]:
        torch.manual_seed(seed)
        run = WholeSearch(make_problem(sweeps=20))
        score, networks = run.state.objective.score, []

        def counted(prefixes: Any, paths: Any, progress: Progress) -> Any:
            networks.extend(paths)
            return score(prefixes, paths, progress)

        run.state.objective.score = counted
        return run.run(), len(networks)

    seeds = range(3)  # which of them come to a block that need not be ranked again depends on rounding
    runs = [searched(seed) for seed in seeds]
    monkeypatch.setattr(WholeSearch, "_stands", lambda *_: False)
    plain = [searched(seed) for seed in seeds]
    assert sum(n_scored for _, n_scored in runs) < sum(n_scored for _, n_scored in plain)
    for (found, _), (expected, _) in zip(runs, plain, strict=True):
        assert found.architecture == expected.architecture
        for one, other in zip(found.blocks, expected.blocks, strict=True):
            assert one.paths == other.paths
            assert one.ties == other.ties
            assert one.scores.tolist() == other.scores.tolist()
            assert one.summary() == other.summary()


def test_a_ranking_stands_for_the_same_paths_in_the_same_surroundings(
    make_problem: Callable[..., SearchProblem],
) -> None:
    run = WholeSearch(make_problem(max_enumerated_paths=3))
    candidates = {path: run._candidates((*path, 0), 0) for path in SPACE.paths(0)}
    (one, other, *_), (outside, *_) = (
        [path for path, ranked in candidates.items() if len(ranked) == n] for n in (3, 4)
    )
    run.network = (*one, 0)
    found = []
    for before in ((*one, 0), (*other, 0), (*one, 1), (*outside, 0)):
        run.ranked_in = {0: before}
        found.append(run._stands(0))
    assert found == [True, True, False, False]
    assert not run._stands(1)
