from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

Assemble = Callable[..., SimpleNamespace]


def cases(run: SimpleNamespace) -> Any:
    dataset = run.test._dataset
    return dataset[slice(0, len(dataset))]


def test_full_ranking_scores_every_item_and_never_padding(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy)
    scores = run.model.eval().full_sort_predict(cases(run))
    assert scores.shape == (12, 11)
    assert torch.equal(scores[:, 0], torch.full((12,), -torch.inf))
    assert torch.isfinite(scores[:, 1:]).all()


def test_predict_gives_the_score_of_the_rows_own_item(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy)
    batch = cases(run)
    scores = run.model.eval().full_sort_predict(batch)
    expected = scores[torch.arange(12), batch["item_id"]]
    torch.testing.assert_close(run.model.predict(batch), expected)
    batch["item_id"][0] = 0
    assert run.model.predict(batch)[0] == -torch.inf


def test_a_case_with_sampled_items_is_one_history_to_the_network(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy)
    model, batch = run.model.eval(), cases(run)
    rows = torch.arange(12).repeat_interleave(torch.tensor([3, 1, 2, 1, 1, 4, 1, 1, 1, 1, 1, 1]))
    sampled = batch[rows]
    sampled["item_id"] = torch.arange(len(rows)) % 10 + 1
    expected = model.full_sort_predict(sampled).gather(1, sampled["item_id"].unsqueeze(1)).squeeze(1)
    seen: list[int] = []
    encode_last = model.network.encode_last
    monkeypatch.setattr(
        model.network, "encode_last", lambda seq, length: seen.append(len(seq)) or encode_last(seq, length)
    )
    torch.testing.assert_close(model.predict(sampled), expected)
    assert seen == [12]


@pytest.mark.parametrize("tied", [False, True])
def test_to_score_one_item_of_a_row_those_of_no_other_are_computed(
    tied: bool, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASR", toy, tie_embeddings=tied)
    model, batch = run.model.eval(), cases(run)
    expected = model.full_sort_predict(batch).gather(1, batch["item_id"].unsqueeze(1)).squeeze(1)
    monkeypatch.setattr(model.network.output, "forward", None)  # a large catalogue would take gigabytes
    torch.testing.assert_close(model.predict(batch), expected)


def test_the_representation_is_what_the_output_layer_scores(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy)
    batch, model = cases(run), run.model.eval()
    hidden = model(batch["item_id_list"], batch["item_length"])
    assert hidden.shape == (12, 8)
    torch.testing.assert_close(model.network.output(hidden), model.full_sort_predict(batch)[:, 1:])


def both_schemes(assemble: Assemble, toy: Path) -> tuple[Any, Any, Any]:
    """A model in eval mode, the rows of all its sequences, and those of all their prefixes."""
    sequences, prefixes = assemble("NASR", toy), assemble("NASR", toy, train_scheme="prefix")
    single = prefixes.train._dataset[slice(0, len(prefixes.train._dataset))]
    return sequences.model.eval(), sequences.train._dataset[slice(0, 12)], single


def test_without_positions_the_loss_of_a_sequence_is_the_mean_of_the_losses_of_its_prefixes(
    assemble: Assemble, toy: Path
) -> None:
    model, rows, single = both_schemes(assemble, toy)
    assert rows["item_id_target_list"].shape[0] == 12
    assert len(single) == 12 * 5
    # Positions count back from the last item, so a prefix stands elsewhere than inside its sequence.
    with torch.no_grad():
        model.network.embedding.positions.weight.zero_()
    torch.testing.assert_close(model.calculate_loss(rows), model.calculate_loss(single))


def test_the_last_target_of_a_sequence_has_the_loss_of_the_whole_prefix_before_it(
    assemble: Assemble, toy: Path
) -> None:
    model, rows, single = both_schemes(assemble, toy)
    with torch.no_grad():
        model.network.embedding.positions.weight.normal_()
    targets, last = rows["item_id_target_list"], (rows["item_length"] - 1).unsqueeze(1)
    rows.interaction["item_id_target_list"] = torch.zeros_like(targets).scatter(1, last, targets.gather(1, last))
    whole = single[single["item_length"] == single["item_length"].max()]
    assert len(whole) == 12
    torch.testing.assert_close(model.calculate_loss(rows), model.calculate_loss(whole))


def test_weights_depend_on_seed_and_architecture_alone(assemble: Assemble, toy: Path) -> None:
    first = assemble("NASR", toy).model
    torch.manual_seed(99)
    before = torch.get_rng_state()
    again = first.build_network(first.architecture)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.network.parameters(), again.parameters(), strict=True))
    other = assemble("NASR", toy, seed=1).model
    assert not torch.equal(first.network.output.weight, other.network.output.weight)


def test_settings_reach_the_network(assemble: Assemble, toy: Path) -> None:
    model = assemble(
        "NASR",
        toy,
        architecture="tcn_d1_2",
        kernel_size=2,
        hidden_dropout_prob=0.4,
        linear_residual=False,
        final_norm=False,
    ).model
    block = model.network.layers[0].blocks[0]
    assert (block.first.kernel_size, block.residual.dropout_prob, block.residual.scale) == (2, 0.4, None)
    assert isinstance(model.network.norm, torch.nn.Identity)
    assert str(model.architecture) == "tcn_d1_2"


@pytest.mark.parametrize("preset", ["sasrec-1", "nextitnet-2", "gru4rec", "random"])
def test_every_preset_trains_and_ranks(preset: str, assemble: Assemble, toy: Path) -> None:
    changes = {"candidate_ops": ["transformer_h2", "tcn_d1_2"]} if preset == "random" else {}
    run = assemble("NASR", toy, architecture=preset, n_layers=2, hidden_size=8, epochs=1, **changes)
    run.trainer.fit(run.train, run.valid)
    assert 0 <= run.trainer.evaluate(run.test)["recall@5"] <= 1
