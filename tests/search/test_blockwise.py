from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from recbole_nasr.errors import ArchitectureError, DataError
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import BlockRanking, SearchResult, SearchSequences, SearchSettings, search
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.space import SearchSpace

MakeSequences = Callable[..., SearchSequences]
FOUR = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
SETTINGS = SearchSettings(epochs=1, n_paths=2, batch_size=8, holdout_ratio=0.25, tie_standard_errors=0.0)


def run(
    sequences: SearchSequences,
    space: SearchSpace | None = None,
    settings: SearchSettings = SETTINGS,
    seed: int = 1,
    **options: Any,
) -> SearchResult:
    layers = LayerSettings(hidden_size=8)
    space = space or SearchSpace(FOUR, (2, 1))
    return search(sequences, space, n_items=30, layer_settings=layers, settings=settings, seed=seed, **options)


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
    sequences = make_sequences(24)
    torch.manual_seed(1)
    first = run(sequences)
    torch.manual_seed(2)
    assert same(first, run(sequences))
    assert not same(first, run(sequences, seed=2))


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
    assert same(result, run(make_sequences(24), settings=settings))


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

    monkeypatch.setattr("recbole_nasr.search.blockwise.rank_paths", spy)
    run(make_sequences(24))
    assert all(torch.equal(a, b) for a, b in zip(*seen, strict=True))
    assert not torch.equal(seen[0][0], seen[0][2])  # student and target see different views


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
