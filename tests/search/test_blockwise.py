from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_nasr.errors import ArchitectureError, DataError
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.ops import LayerSettings
from recbole_nasr.progress import Progress
from recbole_nasr.rng import derive_seed
from recbole_nasr.search import BlockRanking, SearchProblem, SearchResult, SearchSequences, SearchSettings, search
from recbole_nasr.search.blockwise import BlockwiseSearch
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.search.selection import persons_of, standard_error
from recbole_nasr.space import SearchSpace

MakeSequences = Callable[..., SearchSequences]
FOUR = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
SETTINGS = SearchSettings(epochs=1, n_paths=2, batch_size=8, holdout_ratio=0.25, tie_standard_errors=0.0)


def run(
    sequences: SearchSequences,
    space: SearchSpace | None = None,
    settings: SearchSettings = SETTINGS,
    seed: int = 1,
    acceleration: Acceleration | None = None,
    **options: Any,
) -> SearchResult:
    problem = SearchProblem(
        sequences=sequences,
        space=space or SearchSpace(FOUR, (2, 1)),
        n_items=30,
        layer_settings=LayerSettings(hidden_size=8),
        settings=settings,
        seed=seed,
        acceleration=acceleration or Acceleration(),
    )
    return search(problem, **options)


def same(first: SearchResult, second: SearchResult) -> bool:
    return first.architecture == second.architecture and all(
        np.array_equal(a.scores, b.scores) and a.losses == b.losses
        for a, b in zip(first.blocks, second.blocks, strict=True)
    )


def test_every_path_of_every_block_is_scored_and_the_best_are_the_architecture(
    make_sequences: MakeSequences,
) -> None:
    result = run(make_sequences(24))
    assert [len(block.paths) for block in result.blocks] == [16, 4]
    assert result.architecture.blocks == tuple(block.paths[block.selected] for block in result.blocks)
    for block in result.blocks:
        assert block.selected == int(block.scores.argmin())
        assert block.ties == (block.selected,)
        assert block.scores.shape == block.standard_errors.shape == (len(block.paths),)
        assert (block.scores >= 0).all()
        assert (block.scores <= 4).all()
        assert block.n_sequences == 6
        assert not block.sampled
        assert len(block.losses) == 1
        assert 1 <= block.effective_rank <= 5


def test_the_same_seed_gives_the_same_result_to_the_last_bit_and_another_does_not(
    make_sequences: MakeSequences,
) -> None:
    sequences, sampled = make_sequences(24), replace(SETTINGS, max_enumerated_paths=5)
    torch.manual_seed(1)
    first = run(sequences, settings=sampled)
    torch.manual_seed(2)
    assert same(first, run(sequences, settings=sampled))
    assert not same(first, run(sequences, settings=sampled, seed=2))


OF_WHOLE = {"scope": "whole", "objective": "next_item"}
OF_BLOCKS = {
    "views/0",
    "ranking-views",
    "report-views",
    "candidates/0",
    "paths/1",
    "order/1",
    "views/1",
    "candidates/1",
}


@pytest.mark.parametrize(
    ("settings", "streams"),
    [
        ({}, OF_BLOCKS),
        (OF_WHOLE, {"start", "candidates/0", "candidates/1"}),
        ({**OF_WHOLE, "choice": "evolution", "evolution_networks": 4, "evolution_population": 2}, {"evolution"}),
    ],
    ids=["block by block", "whole", "evolution"],
)
def test_every_stream_of_random_numbers_has_a_name_of_its_own_and_the_seed_of_the_search(
    settings: dict[str, Any],
    streams: set[str],
    make_sequences: MakeSequences,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = set()
    for module in ("rng", *(f"search.{name}" for name in ("blockwise", "evolution", "run", "training", "whole"))):
        spy = lambda *given: found.add(given) or derive_seed(*given)  # noqa: E731 - as short as it is
        monkeypatch.setattr(f"recbole_nasr.{module}.derive_seed", spy)
    run(make_sequences(12), SearchSpace(FOUR[1:3], (1, 1)), replace(SETTINGS, **settings), seed=7)
    assert found == {(7, f"search/{name}") for name in {"holdout", "weights", "paths/0", "order/0", *streams}}


def test_the_global_random_state_is_left_as_it_was(make_sequences: MakeSequences) -> None:
    sequences, before = make_sequences(24), torch.get_rng_state()
    run(sequences)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_block_is_reported_as_soon_as_it_is_ranked(make_sequences: MakeSequences) -> None:
    reported: list[tuple[int, BlockRanking]] = []
    result = run(make_sequences(24), on_block=lambda index, ranking: reported.append((index, ranking)))
    assert [index for index, _ in reported] == [0, 1]
    assert tuple(ranking for _, ranking in reported) == result.blocks


def test_blocks_too_large_to_enumerate_are_ranked_on_a_sample(make_sequences: MakeSequences) -> None:
    settings = replace(SETTINGS, max_enumerated_paths=5)
    result = run(make_sequences(24), settings=settings)
    first, second = result.blocks
    assert (first.sampled, first.n_space_paths, len(set(first.paths))) == (True, 16, 5)
    indices = [tuple(FOUR.index(name) for name in path) for path in first.paths]
    assert indices == sorted(indices)
    assert (second.sampled, second.n_space_paths) == (False, 4)


def test_more_than_ten_operations_and_blocks_of_different_length_can_be_searched(
    make_sequences: MakeSequences,
) -> None:
    space = SearchSpace(tuple(f"tcn_d{n}" for n in range(1, 13)), (1, 2))
    result = run(make_sequences(12), space)
    assert [len(block.paths) for block in result.blocks] == [12, 144]
    assert [len(block) for block in result.architecture.blocks] == [1, 2]


@pytest.mark.parametrize("name", ["transformer_h2", "tcn_d1_2"])
def test_a_space_of_one_operation_is_found_at_once(name: str, make_sequences: MakeSequences) -> None:
    result = run(make_sequences(12), SearchSpace((name,), (2,)))
    assert result.architecture.blocks == ((name, name),)
    assert result.blocks[0].gap == 0


def test_of_tied_paths_the_best_is_taken_or_the_cheapest(make_sequences: MakeSequences) -> None:
    best, cheapest = (
        run(make_sequences(24), settings=replace(SETTINGS, tie_standard_errors=1e9, tie_break=rule)).blocks[0]
        for rule in ("score", "flops")
    )
    assert best.ties == cheapest.ties == tuple(range(16))
    assert best.selected == int(best.scores.argmin())
    # Over 10 items a convolution layer of width 8 costs less than a Transformer layer; d1_2 is listed first.
    assert cheapest.paths[cheapest.selected] == ("tcn_d1_2", "tcn_d1_2")


def test_the_ranking_batch_size_changes_no_result(make_sequences: MakeSequences) -> None:
    results = [run(make_sequences(26), settings=replace(SETTINGS, ranking_batch_size=size)) for size in (1, 3, 64)]
    assert len({result.architecture for result in results}) == 1
    for result in results[1:]:
        for block, other in zip(results[0].blocks, result.blocks, strict=True):
            np.testing.assert_allclose(block.scores, other.scores, atol=1e-6, rtol=0)


def test_every_block_is_ranked_on_the_same_stored_views_of_the_held_out_sequences(
    make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(supernet: Any, chosen: Any, views: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append([tensor.clone() for view in views for tensor in view])
        return rank_paths(supernet, chosen, views, *args, **kwargs)

    monkeypatch.setattr("recbole_nasr.search.contrastive.rank_paths", spy)
    run(make_sequences(24), settings=replace(SETTINGS, report_view_pairs=0))
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert not torch.equal(seen[0][0], seen[0][2])  # student and target see different views


def test_every_block_of_a_contrastive_search_has_its_evidence(make_sequences: MakeSequences) -> None:
    for block in run(make_sequences(24), settings=replace(SETTINGS, report_sequences=4, view_pairs=2)).blocks:
        assert block.metric == "squared distance to the path ensemble"
        assert block.view_scores.shape == (3, len(block.paths))
        centred = block.view_scores - block.view_scores.mean(axis=1, keepdims=True)
        variance = centred.var(axis=0, ddof=1).mean() * 4 / 6 / 2  # of a score, on 6 sequences and 2 pairs of views
        assert block.evidence.view_noise == pytest.approx(variance**0.5)
        assert {"share of tcn", "share of tcn_d1_2", "FLOPs", "parameters"} <= set(block.evidence.predictors)
        assert block.evidence.median_gap >= block.gap >= 0
        assert block.parameters[0] - block.parameters[-1] == 8 * len(block.paths[0])  # Eq. 2 against Eq. 3: one width
        assert (block.paired_errors[int(block.scores.argmin())], block.paired_errors.shape) == (0, block.scores.shape)


def test_a_small_data_set_is_trained_for_more_epochs_until_it_has_its_steps(make_sequences: MakeSequences) -> None:
    # 18 sequences to train on in batches of 8: 3 steps an epoch.
    assert [len(block.losses) for block in run(make_sequences(24), settings=replace(SETTINGS, min_steps=7)).blocks] == [
        3,
        3,
    ]


@pytest.mark.parametrize("objective", ["contrastive", "next_item"])
def test_a_beam_that_keeps_everything_finds_the_best_of_all_networks(
    objective: str, make_sequences: MakeSequences
) -> None:
    space, settings = SearchSpace(FOUR, (1, 1)), replace(SETTINGS, objective=objective, beam=4)
    problem = SearchProblem(
        sequences=make_sequences(24),
        space=space,
        n_items=30,
        layer_settings=LayerSettings(hidden_size=8),
        settings=settings,
        seed=1,
    )
    search_run = BlockwiseSearch(problem)
    first = search_run.next_block()
    kept = {choice.prefix for choice in search_run.choices}
    assert kept == {((op,),) for op in range(4)}
    search_run.next_block()
    prefixes, paths = [((op,),) for op in range(4)], [(op,) for op in range(4)]
    scores = search_run.state.objective.score(prefixes, paths, Progress()).values.mean(dim=2).numpy()
    for choice in search_run.choices:
        np.testing.assert_allclose(choice.rankings[-1].scores, scores[choice.prefix[0][0]], atol=1e-9)
    if objective == "contrastive":  # blocks add up
        scores = scores + first.scores[:, None]
    best = divmod(int(scores.argmin()), 4)
    assert search_run.choices[0].prefix == ((best[0],), (best[1],))
    totals = [scores[choice.prefix[0][0], choice.prefix[1][0]] for choice in search_run.choices]
    np.testing.assert_allclose(totals, np.sort(scores.flatten())[:4], atol=1e-9)
    kept_totals = [choice.total.mean() for choice in search_run.choices]
    np.testing.assert_allclose(kept_totals, totals if objective == "contrastive" else np.zeros(4), atol=1e-9)
    for choice in search_run.choices:
        assert [block.paths[block.selected] for block in choice.rankings] == [
            space.path_names(path) for path in choice.prefix
        ]


def test_sequences_that_all_look_alike_have_a_collapsed_target(make_sequences: MakeSequences) -> None:
    one = make_sequences(1)
    alike = SearchSequences(one.item_seq.expand(12, -1), one.item_seq_len.expand(12), torch.arange(12))
    ranking = run(alike, SearchSpace(FOUR[2:], (1,)), replace(SETTINGS, augmentation_ratio=1.0)).blocks[0]
    assert np.isfinite(ranking.scores).all()
    assert ranking.effective_rank == pytest.approx(1, abs=1e-3)
    assert ranking.collapsed


def test_too_little_data_and_operations_that_do_not_fit_are_refused(make_sequences: MakeSequences) -> None:
    with pytest.raises(DataError, match="use more data"):
        run(make_sequences(2))
    with pytest.raises(ArchitectureError, match="transformer_h3"):
        run(make_sequences(12), SearchSpace(("transformer_h3",), (1,)))


@pytest.mark.parametrize(("precision", "inside"), [("fp32", "highest"), ("tf32", "high"), ("bf16", "highest")])
def test_matrix_products_of_training_and_ranking_are_as_precise_as_asked_for(
    precision: str, inside: str, make_sequences: MakeSequences
) -> None:
    before, found = torch.get_float32_matmul_precision(), set()
    run(
        make_sequences(24),
        acceleration=Acceleration(precision),
        on_block=lambda *_: found.add(torch.get_float32_matmul_precision()),
    )
    assert found == {inside}
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("objective", ["next_item", "contrastive"])
def test_what_a_block_changes_is_known_sequence_by_sequence_where_scores_are_of_networks(
    objective: str, make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[Any] = []
    persons: list[Any] = []
    choose = BlockwiseSearch._choose

    def noted(self: BlockwiseSearch, paths: Any, scores: Any, losses: Any) -> Any:
        scored.append(scores.values[0].numpy())
        persons.append(persons_of(self.state.objective.group.numpy()))
        return choose(self, paths, scores, losses)

    monkeypatch.setattr(BlockwiseSearch, "_choose", noted)
    first, second = run(make_sequences(24), settings=replace(SETTINGS, objective=objective)).blocks
    assert first.change is None
    if objective == "contrastive":
        assert second.change is None
        return
    difference = scored[1][second.selected] - scored[0][first.selected]
    assert second.change == pytest.approx(difference.mean())
    assert second.change_standard_error == pytest.approx(float(standard_error(difference, persons[1])))
