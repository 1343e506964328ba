from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from recbole.trainer import Trainer

import recbole_nasr
from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.trainer.batches import SequenceBatches
from recbole_nasr.trainer.ranks import full_ranks

Assemble = Callable[..., SimpleNamespace]
ALL_TOPK = ["Recall", "NDCG", "MRR", "Hit", "Precision", "MAP"]


def test_evaluation_equals_recboles_own_to_the_last_bit(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, metrics=ALL_TOPK, topk=[1, 3, 10], valid_metric="NDCG@3", metric_decimal_place=16)
    run.trainer.fit(run.train, run.valid)
    ours = run.trainer.evaluate(run.test)
    theirs = Trainer.evaluate(run.trainer, run.test)
    assert list(ours.items()) == list(theirs.items())
    assert 0 < ours["ndcg@10"] < 1


def test_metrics_that_need_more_than_ranks_come_from_recbole(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, metrics=["NDCG", "ItemCoverage"])
    run.trainer.fit(run.train, run.valid)
    result = run.trainer.evaluate(run.test)
    assert 0 < result["itemcoverage@5"] <= 1
    assert run.trainer.last_ranks is None
    run.config["mask_history"] = True
    with pytest.raises(ConfigError, match=r"`mask_history` works with full ranking.*ItemCoverage"):
        run.trainer.evaluate(run.test)


def test_every_metric_is_a_number_that_can_be_written(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, metrics=["GAUC"], valid_metric="GAUC")  # of RecBole a NumPy float32
    run.trainer.fit(run.train, run.valid)
    assert 0 <= json.loads(json.dumps(run.trainer.evaluate(run.test)))["gauc"] <= 1
    assert isinstance(run.trainer.best_valid_score, float)


def test_the_history_can_be_masked(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, mask_history=True, topk=[3], valid_metric="NDCG@3")
    run.trainer.evaluate(run.test, load_best_model=False)
    assert run.trainer.last_ranks.max() <= 3  # 10 items, 7 of them seen before


def test_a_training_step_never_waits_for_the_device(assemble: Assemble, toy: Path, no_synchronisation: Any) -> None:
    run = assemble("NASR", toy)
    batches = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cpu")
    rows = torch.arange(6)
    with no_synchronisation:
        for _ in range(2):
            run.trainer.train_step(*batches.gather(rows))


def test_a_training_step_is_one_step_of_the_optimiser_with_clipped_gradients(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, learner="sgd", learning_rate=1.0, clip_grad_norm={"max_norm": 0.01})
    run.model.eval()
    batch = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cpu").gather(torch.arange(6))
    before = [parameter.clone() for parameter in run.model.parameters()]
    expected = run.model.network.loss(*batch)
    assert torch.equal(run.trainer.train_step(*batch), expected)
    moved = [new - old for new, old in zip(run.model.parameters(), before, strict=True)]
    norm = torch.cat([change.flatten() for change in moved]).norm().item()
    assert norm == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize(
    ("learner", "kind"), [("adam", "Adam"), ("AdamW", "AdamW"), ("sgd", "SGD"), ("adagrad", "Adagrad")]
)
def test_learners_are_recboles(learner: str, kind: str, assemble: Assemble, toy: Path) -> None:
    optimizer = assemble("NASR", toy, learner=learner, learning_rate=0.02, weight_decay=0.1).trainer.optimizer
    assert type(optimizer).__name__ == kind
    group = optimizer.param_groups[0]
    assert (group["lr"], group["weight_decay"]) == (0.02, 0.1)


def test_the_same_seed_gives_the_same_training_whatever_happened_before(assemble: Assemble, toy: Path) -> None:
    results = []
    for noise in (0, 5):
        run = assemble("NASR", toy, epochs=3)
        torch.rand(noise)
        results.append((run.trainer.fit(run.train, run.valid, saved=False), run.trainer.train_loss_dict))
    assert results[0] == results[1]
    other = assemble("NASR", toy, epochs=3, seed=7)
    other.trainer.fit(other.train, other.valid, saved=False)
    assert other.trainer.train_loss_dict != results[0][1]


def test_training_epochs_differ_in_order_and_dropout_and_do_not_touch_each_other(assemble: Assemble, toy: Path) -> None:
    whole, part = assemble("NASR", toy, epochs=3), assemble("NASR", toy, epochs=3)
    whole.trainer.fit(whole.train, whole.valid, saved=False)
    for epoch in range(3):
        part.trainer.evaluate(part.valid, load_best_model=False)  # one more evaluation shifts nothing
        loss = part.trainer._train_epoch(part.train, epoch, show_progress=epoch == 1)
        assert loss == whole.trainer.train_loss_dict[epoch]


def test_training_lowers_the_loss_in_either_scheme(assemble: Assemble, toy: Path) -> None:
    for scheme in ("autoregressive", "prefix"):
        run = assemble("NASR", toy, train_scheme=scheme, learning_rate=0.02, epochs=6)
        run.trainer.fit(run.train, run.valid, saved=False)
        losses = run.trainer.train_loss_dict
        assert losses[5] < 0.8 * losses[0]


def test_a_loss_that_is_not_finite_stops_training(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy)
    torch.nn.init.constant_(run.model.network.output.bias, torch.inf)
    with pytest.raises(
        NumericalError, match=r"training loss.*became (inf|nan) in epoch 1, batch 1 of the epoch; lower `learning_rate`"
    ):
        run.trainer.fit(run.train, run.valid, saved=False)


def kept_weights(run: SimpleNamespace) -> dict[str, torch.Tensor]:
    run.trainer.fit(run.train, run.valid)
    checkpoint = load_checkpoint(run.trainer.saved_model_file)
    return {"epoch": torch.tensor(checkpoint["epoch"]), **checkpoint["state_dict"]}


def test_test_labels_do_not_change_which_checkpoint_is_kept(
    assemble: Assemble, write_inter: Callable[..., Path]
) -> None:
    rng = np.random.default_rng(0)
    known = [(f"u{u}", f"i{rng.integers(9)}", float(t)) for u in range(9) for t in range(6)]
    known += [("all", f"i{item}", float(item)) for item in range(9)]  # every id is given before the labels
    runs = []
    for name, shift in (("first", 1), ("second", 4)):
        labels = [(f"u{u}", f"i{(u + shift) % 9}", 99.0) for u in range(9)]
        run = assemble("NASR", write_inter(known + labels, name), name, epochs=5, stopping_step=2)
        runs.append((kept_weights(run), run.trainer.best_valid_result, run.trainer.evaluate(run.test)))
    (kept, valid, test), (other_kept, other_valid, other_test) = runs
    assert valid == other_valid
    assert all(torch.equal(kept[key], other_kept[key]) for key in kept)
    assert test != other_test


def test_the_checkpoint_kept_is_the_best_on_validation(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASR", toy, epochs=6, learning_rate=0.02)
    seen: list[tuple[float, int]] = []
    run.trainer.fit(run.train, run.valid, callback_fn=lambda epoch, score: seen.append((score, -epoch)))
    checkpoint = load_checkpoint(run.trainer.saved_model_file)
    best = max(score for score, _ in seen)
    assert run.trainer.evaluate(run.valid)["ndcg@5"] == checkpoint["best_valid_score"] == best


def test_a_checkpoint_gives_the_same_metrics_in_a_fresh_process(assemble: Assemble, toy: Path) -> None:
    run = assemble("NASRSearch", toy)
    run.trainer.fit(run.train, run.valid)
    expected = run.trainer.evaluate(run.test)
    program = (
        "import sys, json, recbole_nasr\n"
        "from recbole.quick_start import load_data_and_model\n"
        "from recbole.utils import get_trainer\n"
        "path = sys.argv.pop()\n"
        "config, model, _, _, _, test = load_data_and_model(path)\n"
        "trainer = get_trainer(config['MODEL_TYPE'], config['model'])(config, model)\n"
        "result = trainer.evaluate(test, load_best_model=False)\n"
        "print(json.dumps([str(model.architecture), {key: float(result[key]) for key in result}]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, run.trainer.saved_model_file],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(recbole_nasr.__file__).parents[1])},
    )
    architecture, result = json.loads(done.stdout.splitlines()[-1])
    assert architecture == str(run.model.architecture)
    assert result == dict(expected)


class Popularity(torch.nn.Module):
    def __init__(self, run: SimpleNamespace) -> None:
        super().__init__()
        batches = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cpu")
        targets = batches.gather(torch.arange(len(batches)))[2].flatten()
        self.counts = torch.bincount(targets, minlength=run.model.n_items) + torch.rand(run.model.n_items)

    def full_sort_predict(self, interaction: Any) -> torch.Tensor:
        return self.counts.expand(len(interaction), -1).clone()


def recall_at_5(predictability: float, assemble: Assemble, write_inter: Callable[..., Path]) -> tuple[float, float]:
    """Train on walks that go from item i to i + 7 mod 40 with this probability, else anywhere."""
    rng, rows = np.random.default_rng(1), []
    for user in range(150):
        item = int(rng.integers(40))
        for step in range(12):
            rows.append((f"u{user}", f"i{item}", float(step)))
            item = (item + 7) % 40 if rng.random() < predictability else int(rng.integers(40))
    run = assemble(
        "NASR",
        write_inter(rows, f"walk{predictability}"),
        f"walk{predictability}",
        hidden_size=16,
        epochs=15,
        train_batch_size=32,
        learning_rate=0.01,
    )
    run.trainer.fit(run.train, run.valid)
    popularity = full_ranks(Popularity(run), run.test, device="cpu")
    return float(run.trainer.evaluate(run.test)["recall@5"]), float((popularity <= 5).float().mean())


def test_on_predictable_walks_the_network_beats_popularity_and_on_noise_it_does_not(
    assemble: Assemble, write_inter: Callable[..., Path]
) -> None:
    found, popular = recall_at_5(0.8, assemble, write_inter)
    assert found > 0.7  # at most 0.8 plus luck
    assert popular < 0.35
    found, popular = recall_at_5(0.0, assemble, write_inter)
    standard_error = (5 / 40 * 35 / 40 / 150) ** 0.5
    assert abs(found - 5 / 40) < 4 * standard_error
    assert found - popular < 4 * standard_error * 2**0.5


def test_a_step_is_the_same_in_one_pass_or_in_several(assemble: Assemble, toy: Path) -> None:
    weights, losses = [], []
    for rows in (100, 3):
        run = assemble("NASR", toy, hidden_dropout_prob=0.0)
        run.trainer.passes.rows = rows
        batches = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cpu")
        losses.append(run.trainer.train_step(*batches.gather(torch.arange(len(batches)))))
        weights.append(torch.cat([weight.grad.flatten() for weight in run.model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-4, atol=1e-7)
