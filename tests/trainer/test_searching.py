from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from recbole.quick_start import quick_start, run_recbole

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.errors import DataError
from recbole_nasr.trainer import retraining, searching
from recbole_nasr.trainer.searching import NASRSearchTrainer

Assemble = Callable[..., SimpleNamespace]


def test_search_then_training_equals_training_the_network_found(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy)
    valid = run.trainer.fit(run.train, run.valid)
    found = run.trainer.search_result.architecture
    assert run.model.architecture == found
    assert run.config["architecture"] == found.to_nested()
    given = assemble("NASR", toy, architecture=found.to_nested())
    assert given.trainer.fit(given.train, given.valid) == valid
    assert given.trainer.train_loss_dict == run.trainer.train_loss_dict
    assert given.trainer.evaluate(given.test) == run.trainer.evaluate(run.test)


def test_the_optimiser_holds_the_parameters_of_the_network_found(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy, epochs=1)
    run.trainer.fit(run.train, run.valid, saved=False)
    held = {id(parameter) for group in run.trainer.optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in run.model.parameters()}


def test_the_same_seed_finds_the_same_network(assemble: Assemble, toy: Path) -> None:
    results = []
    for noise in (0, 3):
        run = assemble("NASRSearch", toy, epochs=0)
        torch.rand(noise)
        run.trainer.fit(run.train, run.valid, saved=False)
        results.append(run.trainer.search_result)
    assert results[0].architecture == results[1].architecture
    assert all((a.scores == b.scores).all() for a, b in zip(results[0].blocks, results[1].blocks, strict=True))


def test_the_search_gets_the_configured_space_and_no_item_of_validation_or_test(
    assemble: Assemble, write_inter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def spy(problem: Any, *args: Any) -> Any:
        calls.append(problem)
        return search(problem, *args)

    search = searching.search
    monkeypatch.setattr(searching, "search", spy)
    rows = [(f"u{u}", f"{u}-{t}", float(t)) for u in range(8) for t in range(6)]
    run = assemble("NASRSearch", write_inter(rows), epochs=0, final_norm=False, tie_embeddings=True)
    run.trainer.fit(run.train, run.valid, saved=False)
    [problem] = calls
    items = problem.sequences.item_seq
    tokens = run.train._dataset.id2token("item_id", items[items > 0].tolist())
    assert set(map(str, tokens)) == {f"{u}-{t}" for u in range(8) for t in range(4)}
    assert problem.space.operations == ("transformer_h2", "transformer_h4", "tcn_d1_2")
    assert problem.space.layers_per_block == (2, 1)
    assert (problem.n_items, problem.seed) == (49, run.config["seed"])
    assert (problem.final_norm, problem.tie_embeddings) == (False, True)


def test_a_given_architecture_is_trained_without_a_search(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy, architecture="tcn_d1_2", n_layers=1, n_blocks=1, epochs=1)
    run.trainer.fit(run.train, run.valid, saved=False)
    assert run.trainer.search_result is None
    assert str(run.model.architecture) == "tcn_d1_2"


def test_a_checkpoint_carries_the_architecture_and_training_goes_on_from_it(assemble: Assemble, toy: Path) -> None:
    whole = assemble("NASRSearch", toy, epochs=4, stopping_step=100)
    whole.trainer.fit(whole.train, whole.valid, saved=False)
    first = assemble("NASRSearch", toy, epochs=2, eval_step=0)  # saves every epoch
    first.trainer.fit(first.train, first.valid)
    path = first.trainer.saved_model_file
    assert load_checkpoint(path)["config"]["architecture"] == first.model.architecture.to_nested()
    second = assemble("NASRSearch", toy, epochs=4, stopping_step=100)
    second.trainer.resume_checkpoint(path)
    second.trainer.fit(second.train, second.valid)
    assert second.trainer.search_result is None
    assert second.model.architecture == whole.model.architecture
    assert list(second.trainer.train_loss_dict) == [2, 3]
    for epoch in (2, 3):
        assert second.trainer.train_loss_dict[epoch] == whole.trainer.train_loss_dict[epoch]


def test_a_checkpoint_is_evaluated_by_a_trainer_that_has_not_searched(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy, epochs=2)
    run.trainer.fit(run.train, run.valid)
    fresh = assemble("NASRSearch", toy)
    found = fresh.trainer.evaluate(fresh.test, model_file=run.trainer.saved_model_file)
    assert found == run.trainer.evaluate(run.test)
    assert fresh.model.architecture == run.model.architecture


def test_a_trainer_that_has_searched_reads_the_checkpoint_of_its_best_epoch_once(
    assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = assemble("NASRSearch", toy, epochs=1)
    run.trainer.fit(run.train, run.valid)
    read: list[Any] = []
    for module in (searching, retraining):
        monkeypatch.setattr(module, "load_checkpoint", lambda *args: read.append(args) or load_checkpoint(*args))
    run.trainer.evaluate(run.test)
    assert len(read) == 1


def test_every_block_is_logged_with_its_uncertainty(
    assemble: Assemble, toy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = assemble("NASRSearch", toy, epochs=0, max_enumerated_paths=4)
    with caplog.at_level(logging.INFO):
        run.trainer.fit(run.train, run.valid, saved=False)
    lines = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Block ")]
    assert len(lines) == 2
    assert "of 4 paths tied (a sample of 9)" in lines[0]
    assert "a sample" not in lines[1]


def test_too_little_data_to_search_is_said(assemble: Assemble, write_inter: Callable[..., Path]) -> None:
    rows = [("u", f"i{step}", float(step)) for step in range(9)]
    run = assemble("NASRSearch", write_inter(rows))
    with pytest.raises(DataError, match="two of other persons"):
        run.trainer.fit(run.train, run.valid)


@pytest.mark.parametrize("model", ["NASR", "NASRSearch"])
def test_recboles_run_touches_the_test_part_only_at_the_end(
    model: str, assemble: Assemble, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = assemble(model, toy).config.final_config_dict
    keys = ("hidden_size", "candidate_ops", "n_layers", "n_blocks", "train_batch_size", "topk", "valid_metric")
    sealed, reads = [True], []
    prepare, fit = quick_start.data_preparation, NASRSearchTrainer.__mro__[1].fit

    def prepare_sealed(config: Any, dataset: Any) -> Any:
        train, valid, test = prepare(config, dataset)

        class Sealed(type(test._dataset)):
            def __getitem__(self, *args: Any) -> Any:
                assert not sealed[0], "the test part was read before training ended"
                reads.append(1)
                return super().__getitem__(*args)

        test._dataset.__class__ = Sealed
        return train, valid, test

    def fit_then_open(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = fit(self, *args, **kwargs)
        sealed[0] = False
        return result

    monkeypatch.setattr(quick_start, "data_preparation", prepare_sealed)
    monkeypatch.setattr(NASRSearchTrainer.__mro__[1], "fit", fit_then_open)
    chosen = {"architecture": "tcn_d1_2"} if model == "NASR" else {"search_holdout_ratio": 0.3}
    result = run_recbole(
        model=model,
        dataset="toy",
        config_dict={
            **{key: settings[key] for key in keys},
            **chosen,
            "data_path": str(toy),
            "epochs": 2,
            "gpu_id": "",
            "show_progress": False,
        },
    )
    assert reads
    assert set(result["test_result"]) == {"ndcg@1", "ndcg@5", "recall@1", "recall@5"}
