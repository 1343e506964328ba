"""``tie_embeddings`` through everything that a run does."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recbole.data.transform import construct_transform
from recbole.quick_start import quick_start

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.model.settings import tied_embeddings
from recbole_nasr.nets import TiedOutput
from recbole_nasr.search.costs import n_parameters
from recbole_nasr.trainer.ranks import full_ranks

Assemble = Callable[..., SimpleNamespace]

TABLE = 10 * 8
"""Numbers in the softmax layer of ten items and width 8, but for its bias."""


def test_a_checkpoint_from_before_the_key_has_a_softmax_layer_of_its_own() -> None:
    assert not tied_embeddings({"tie_embeddings": None})
    assert tied_embeddings({"tie_embeddings": True})


def test_without_positions_the_loss_of_a_sequence_is_the_mean_of_the_losses_of_its_prefixes(
    assemble: Assemble, toy: Path
) -> None:
    sequences, prefixes = (
        assemble("NASR", toy, tie_embeddings=True, train_scheme=scheme) for scheme in ("autoregressive", "prefix")
    )
    model = sequences.model.eval()
    rows, single = (run.train._dataset[slice(0, len(run.train._dataset))] for run in (sequences, prefixes))
    with torch.no_grad():  # positions count back from the last item, so a prefix stands elsewhere than in its sequence
        model.network.embedding.positions.weight.zero_()
    torch.testing.assert_close(model.calculate_loss(rows), model.calculate_loss(single))


def test_recbole_counts_the_flops_of_a_tied_layer_as_those_of_its_own(assemble: Assemble, toy: Path) -> None:
    found = []
    for tied in (False, True):
        run = assemble("NASR", toy, tie_embeddings=tied)
        transform = construct_transform(run.config)
        found.append(quick_start.get_flops(run.model, run.train._dataset, "cpu", logging.getLogger("tied"), transform))
    assert found[0] == found[1] > TABLE


def test_a_checkpoint_has_the_table_once_and_ranks_as_the_network_did(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, tie_embeddings=True, epochs=4)
    run.trainer.fit(run.train, run.valid)
    run.trainer.evaluate(run.test)
    expected = run.trainer.last_ranks
    saved = load_checkpoint(run.trainer.saved_model_file)
    assert [name for name, value in saved["state_dict"].items() if value.shape == (11, 8)] == [
        "network.embedding.items.weight"
    ]
    assert "network.output.weight" not in saved["state_dict"]
    other = assemble("NASR", toy, tie_embeddings=True, seed=5)
    other.model.load_state_dict(saved["state_dict"])
    assert torch.equal(full_ranks(other.model, other.test, device="cpu"), expected)


def test_the_table_is_averaged_once_and_the_average_is_what_scores(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, tie_embeddings=True, epochs=3)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert len(run.trainer._average.parameters) == len(list(run.model.parameters()))
    network = run.model.network
    averaged = network.output.weight.detach().clone()
    assert torch.equal(averaged, network.embedding.items.weight[1:])
    run.trainer._average.take_back()
    assert not torch.equal(network.output.weight, averaged)


def test_a_search_by_views_is_the_same_and_its_network_is_tied(assemble: Assemble, toy: Path) -> None:
    apart, tied = (
        assemble("NASRSearch", toy, epochs=1, search_objective="contrastive", tie_embeddings=switch)
        for switch in (False, True)
    )
    for run in (apart, tied):
        run.trainer.fit(run.train, run.valid, saved=False)
    for one, other in zip(apart.trainer.search_result.blocks, tied.trainer.search_result.blocks, strict=True):
        assert np.array_equal(one.scores, other.scores)
    assert isinstance(tied.model.network.output, TiedOutput)
    assert n_parameters(apart.model) - n_parameters(tied.model) == TABLE
    expected = tied.trainer.costs.of(tied.model.architecture.layers)
    assert expected["parameters"] == n_parameters(tied.model.network)


@pytest.mark.parametrize("preset", ["sasrec-1", "nextitnet-2", "gru4rec"])
def test_presets_learn_with_a_tied_layer(preset: str, assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, architecture=preset, n_layers=2, tie_embeddings=True, epochs=8, learning_rate=0.02)
    run.trainer.fit(run.train, run.valid, saved=False)
    losses = list(run.trainer.train_loss_dict.values())
    assert losses[-1] < 0.7 * losses[0]
    assert run.trainer.evaluate(run.test, load_best_model=False)["recall@5"] > 0.5
