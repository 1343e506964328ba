from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.nets.supernet import SupernetBlock
from recbole_nasr.ops import LayerSettings
from recbole_nasr.progress import Progress
from recbole_nasr.search import (
    SearchProblem,
    SearchSequences,
    SearchSettings,
    next_item_scores,
    ranking,
    score_architectures,
    search,
)
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.objective import Prefix
from recbole_nasr.search.path_scores import PathScores
from recbole_nasr.search.state import SearchState
from recbole_nasr.space import Architecture, Path, SearchSpace

from .conftest import N_ITEMS

SPACE = SearchSpace(("transformer_h2", "tcn_d1_2"), (2, 1))
SETTINGS = SearchSettings(epochs=1, batch_size=8, holdout_ratio=0.3)
NETWORKS = [
    Architecture.parse(text)
    for text in ("tcn_d1_2,tcn_d1_2/transformer_h2", "transformer_h2,tcn_d1_2/tcn_d1_2", "tcn_d1_2,tcn_d1_2/tcn_d1_2")
]


@pytest.fixture
def problem(make_sequences: Callable[..., SearchSequences]) -> Callable[..., SearchProblem]:
    def build(**settings: object) -> SearchProblem:
        return SearchProblem(
            sequences=make_sequences(20),
            space=SPACE,
            n_items=N_ITEMS,
            layer_settings=LayerSettings(hidden_size=8),
            settings=replace(SETTINGS, **settings),
            seed=5,
        )

    return build


@pytest.mark.parametrize("settings", [{}, {"objective": "next_item"}, {"beam": 2, "n_paths": 2}])
def test_a_block_wise_score_is_the_sum_of_what_the_search_gave_the_paths(
    problem: Callable[..., SearchProblem], settings: dict[str, object]
) -> None:
    ranked = search(problem(**settings)).blocks
    by_path = [dict(zip(block.paths, block.scores.tolist(), strict=True)) for block in ranked]
    given = score_architectures(problem(**settings), NETWORKS)
    assert given.metric == ranked[0].metric
    for network, score in zip(NETWORKS, given.scores, strict=True):
        assert score == sum(scores[path] for scores, path in zip(by_path, network.blocks, strict=True))


def test_a_whole_score_is_the_networks_own_loss_under_the_shared_weights(
    problem: Callable[..., SearchProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = problem(objective="next_item", scope="whole")
    kept: list[SearchState] = []
    begin = SearchState.begin
    monkeypatch.setattr(SearchState, "begin", lambda *given: kept.append(begin(*given)) or kept[-1])
    given = score_architectures(asked, [*NETWORKS, NETWORKS[0]])
    assert given.scores[3] == given.scores[0]
    inputs, length, targets = kept[0].objective.examples
    net = kept[0].supernet.eval()
    for network, score in zip(NETWORKS, given.scores[:3], strict=True):
        path = tuple(SPACE.operations.index(name) for name in network.layers)
        with torch.no_grad():
            losses = net.head.cross_entropy(net.blocks[0](net.prefix(inputs, length, ()), path), targets)
        assert score == pytest.approx(float((losses.sum(dim=1) / length).double().mean()), rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"objective": "next_item", "scope": "whole"}])
def test_an_untrained_supernet_tells_networks_apart_and_repeats_itself(
    problem: Callable[..., SearchProblem], settings: dict[str, object]
) -> None:
    networks = [*NETWORKS, Architecture.parse("tcn_d1_2,transformer_h2/tcn_d1_2")]
    first = score_architectures(problem(**settings), networks, trained=False)
    assert len(set(first.scores)) == 4  # with λ = 0, as networks start, the second and the last would be equal
    assert score_architectures(problem(**settings), networks, trained=False) == first
    assert score_architectures(problem(**settings), networks).scores != first.scores


def test_an_untrained_block_is_ranked_behind_the_best_path_before_it(
    problem: Callable[..., SearchProblem], monkeypatch: pytest.MonkeyPatch
) -> None:
    behind, best, score = [], [], Contrastive.score

    def spy(self: Contrastive, prefixes: Sequence[Prefix], paths: Sequence[Path], progress: Progress) -> PathScores:
        found = score(self, prefixes, paths, progress)
        behind.append(prefixes)
        best.append(paths[int(found.values[0].mean(dim=1).argmin())])
        return found

    monkeypatch.setattr(Contrastive, "score", spy)
    score_architectures(replace(problem(), seed=7), NETWORKS, trained=False)
    assert behind == [[()], [(best[0],)]]
    assert best[0] != (0, 0)


def test_the_global_random_state_is_left_alone(problem: Callable[..., SearchProblem]) -> None:
    before = torch.get_rng_state()
    score_architectures(problem(), NETWORKS)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_that_cannot_be_scored_are_refused(problem: Callable[..., SearchProblem]) -> None:
    with pytest.raises(ArchitectureError, match=r"blocks of \[2, 1\] layers"):
        score_architectures(problem(), [Architecture.parse("tcn_d1_2/tcn_d1_2,tcn_d1_2")])
    with pytest.raises(ArchitectureError, match="transformer_h2, tcn_d1_2"):
        score_architectures(problem(), [Architecture.parse("tcn_d1_4,tcn_d1_2/tcn_d1_2")])
    with pytest.raises(ArchitectureError, match="block 1 has 4 and `max_enumerated_paths` is 3"):
        score_architectures(problem(max_enumerated_paths=3), NETWORKS)


@pytest.mark.parametrize("settings", [{}, {"objective": "next_item", "scope": "whole"}])
@pytest.mark.parametrize("trained", [True, False])
def test_a_scoring_that_does_not_fit_into_memory_takes_smaller_batches(
    problem: Callable[..., SearchProblem],
    settings: dict[str, object],
    trained: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = score_architectures(problem(**settings), NETWORKS, trained=trained)
    run_paths = ranking.run_paths

    def limited(block: SupernetBlock, hidden: Tensor, paths: Sequence[Path]) -> Iterator[tuple[int, Tensor]]:
        if hidden.size(0) > 2:
            raise torch.cuda.OutOfMemoryError
        return run_paths(block, hidden, paths)

    monkeypatch.setattr(ranking, "run_paths", limited)
    monkeypatch.setattr(next_item_scores, "run_paths", limited)
    found = score_architectures(problem(**settings), NETWORKS, trained=trained)
    assert found.scores == pytest.approx(expected.scores, abs=1e-6)
