from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from recbole_nasr.commands import cli
from recbole_nasr.errors import NewerFileError
from recbole_nasr.report.fidelity_page import verdict
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs import pipeline
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace
from recbole_nasr.space.strata import stratified_sample
from recbole_nasr.studies import signals
from recbole_nasr.studies.base import base_settings
from recbole_nasr.studies.fidelity import FidelityRunner, build_fidelity_plan
from recbole_nasr.studies.fidelity_signals import Signal, search_signals
from recbole_nasr.studies.fidelity_statistics import measures
from recbole_nasr.studies.fidelity_tables import FidelityTable, build_table
from recbole_nasr.studies.plan import Cell, identity
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.running import Runner
from recbole_nasr.studies.signals import SignalRecord, find_signal, find_signals

from .conftest import TOY, record_of

Study = Callable[..., int]
SAMPLE = stratified_sample(SearchSpace(("transformer_h4", "tcn_d1_2"), (1, 1)), 4)
"""pure T, a random one, alternating T C, …: all four networks of the space."""


def trained(number: int, seed: int, valid: float, test: float, curve: list[list[float]] | None = None) -> ResultRecord:
    layer = {"hidden_size": 8, "inner_ratio": 4, "kernel_size": 3, "hidden_dropout_prob": 0.1}
    settings = {**layer, "layer_norm_eps": 1e-8, "linear_residual": True, "MAX_ITEM_LIST_LENGTH": 5}
    return record_of(
        Cell("network", "NASR", "toy", {}, seed),
        architecture=str(SAMPLE[number].architecture),
        settings={**settings, "valid_metric": "NDCG@2", "epochs": 9},
        valid={"ndcg@2": valid},
        test={"ndcg@2": test},
        n_parameters=10 + number,
        curve=curve or [[1, 0.1], [2, valid]],
    )


def scored(seed: int, *scores: float) -> SignalRecord:
    names = [str(network.architecture) for network in SAMPLE[: len(scores)]]
    given = {"settings": {}, "metric": "loss", "seconds": 1.0, "device_name": "none", "environment": {}, "run": ""}
    return SignalRecord(
        key="k", seed=seed, signal="s", dataset="toy", scores=dict(zip(names, scores, strict=True)), **given
    )


@pytest.fixture
def table() -> FidelityTable:
    """Three networks with two seeds each, and one that lacks its second."""
    runs = [
        trained(0, 1, 0.1, 0.4, [[1, 0.3], [2, 0.1]]),
        trained(0, 2, 0.3, 0.2, [[1, 0.1], [2, 0.3]]),
        trained(1, 1, 0.4, 0.3, [[1, 0.2], [2, 0.4]]),
        trained(1, 2, 0.2, 0.3, [[1, 0.2], [2, 0.2]]),
        trained(2, 1, 0.6, 0.9, [[1, 0.1], [2, 0.6]]),
        trained(2, 2, 0.4, 0.5, [[1, 0.3], [2, 0.4]]),
        trained(3, 1, 0.9, 0.9),
    ]
    search = {"good": [scored(1, 3.0, 2.0, 1.0, 0.0)], "bad": [scored(1, 1.0, 2.0, 3.0, 4.0)], "absent": []}
    return build_table(SAMPLE, (1, 2), runs, search, (1, 2))


def of(table: FidelityTable, name: str, part: str) -> dict[str, float]:
    (found,) = (one for one in table.fidelity("ndcg@2") if (one.signal.name, one.part) == (name, part))
    return {statistic: measure.value for statistic, measure in found.measures.items()}


def signal(table: FidelityTable, name: str) -> Signal:
    return next(one for one in table.signals() if one.name == name)


def test_networks_without_a_training_from_every_seed_are_left_out(table: FidelityTable) -> None:
    assert [network.sampled for network in table.networks] == SAMPLE[:3]


def test_a_signal_is_held_against_the_mean_over_training_seeds(table: FidelityTable) -> None:
    assert table.truth("valid", "ndcg@2").tolist() == pytest.approx([0.2, 0.3, 0.5])
    assert of(table, "good", "valid")["tau"] == 1.0  # lower scores are better: 3 2 1 is the order of .2 .3 .5
    assert of(table, "bad", "valid")["tau"] == -1.0
    assert of(table, "bad", "valid")["regret"] == pytest.approx(0.3)
    assert table.random_regret("valid", "ndcg@2") == pytest.approx(0.5 - 1 / 3)


def test_of_a_metric_of_which_less_is_better_the_least_is_the_best(table: FidelityTable) -> None:
    popularity = {name: {"averagepopularity@2": 9.0 - name} for name in range(3)}  # the third network is the best
    networks = tuple(
        replace(
            network,
            runs={seed: replace(run, valid=popularity[n], test=popularity[n]) for seed, run in network.runs.items()},
        )
        for n, network in enumerate(table.networks)
    )
    table = replace(table, networks=networks)
    pairs = table.pairs(search_signals(table.networks, table.search)[0], "valid", "averagepopularity@2")
    found = measures(pairs, np.arange(3)[None])
    assert (found["tau"].value, found["regret"].value) == (1.0, 0.0)
    assert table.random_regret("valid", "averagepopularity@2") == pytest.approx(1.0)


def test_a_short_training_is_held_against_the_other_seeds_alone(table: FidelityTable) -> None:
    first = signal(table, "validation after 1 epoch")
    (one, against_two), (two, against_one) = table.pairs(first, "valid", "ndcg@2")
    assert (one.tolist(), against_two.tolist()) == ([0.3, 0.2, 0.1], [0.3, 0.2, 0.4])
    assert (two.tolist(), against_one.tolist()) == ([0.1, 0.2, 0.3], [0.1, 0.4, 0.6])
    assert of(table, "validation after 1 epoch", "valid")["tau"] == pytest.approx((-1 / 3 + 1) / 2)


def test_an_epoch_that_no_training_went_beyond_is_no_short_training(table: FidelityTable) -> None:
    assert "validation after 2 epochs" not in [one.name for one in table.signals()]


def test_the_ceilings_are_another_seed_and_the_same_trainings_validation(table: FidelityTable) -> None:
    # seeds 1 and 2 by validation: .1 .4 .6 and .3 .2 .4: two of three pairs in order, one not
    assert of(table, "another training, validation", "valid")["tau"] == pytest.approx(1 / 3)
    # means by validation .2 .3 .5, by test .3 .3 .7: two pairs in order and one tied in one
    assert of(table, "its own validation", "test")["tau"] == pytest.approx(2 / math.sqrt(6))


def test_trivial_rules_know_sizes_alone_and_a_signal_has_its_excess_over_them(table: FidelityTable) -> None:
    assert signal(table, "parameters").scores[0].tolist() == [10, 11, 12]
    names = [one.name for one in table.signals() if one.kind == "trivial"]
    assert names == ["parameters", "FLOPs", "share of tcn"]
    found = {(one.signal.name, one.part): one for one in table.fidelity("ndcg@2")}
    assert found["good", "valid"].excess is not None
    assert found["good", "valid"].excess.value == 0.0  # the parameters, too, are in the order of the truth
    assert found["parameters", "valid"].excess is None


def test_a_signal_of_single_trainings_is_held_against_the_rules_by_what_it_is_judged_by_itself() -> None:
    runs = [trained(n, s, 0.1 * ((n + s) % 4), 0.5) for n in range(4) for s in (1, 2)]
    table = build_table(SAMPLE, (1, 2), runs, {}, ())
    (ceiling,) = (one for one in table.fidelity("ndcg@2") if one.signal.kind == "ceiling" and one.part == "valid")
    trainings = [[0.1 * ((n + s) % 4) for n in range(4)] for s in (1, 2)]
    taus = [
        [stats.kendalltau(rule.scores[0], training).statistic for training in trainings]
        for rule in table.signals()
        if rule.kind == "trivial"
    ]
    assert ceiling.excess is not None
    assert ceiling.excess.value == pytest.approx(ceiling.measures["tau"].value - np.abs(np.mean(taus, axis=1)).max())


def test_the_verdict_names_what_is_better_than_the_rules_and_whether_trainings_agree(table: FidelityTable) -> None:
    said = verdict(table)
    assert "good ranks the networks best of the search signals: τ 1.00" in said
    assert "No search signal is better than the best trivial rule" in said  # the parameters are in the same order
    assert "Two trainings of the same networks do not agree" in said
    agreeing = [trained(n, s, 0.1 * (n + 1), 0.5) for n in range(4) for s in (1, 2)]
    alike = build_table(SAMPLE, (1, 2), agreeing, {"good": [scored(1, 4.0, 3.0, 2.0, 1.0)]}, ())
    assert "do not agree" not in verdict(alike)


def test_a_constant_signal_is_no_signal(table: FidelityTable) -> None:
    table.search["flat"] = [scored(1, 1.0, 1.0, 1.0)]
    assert "flat" not in [one.name for one in table.signals()]
    assert verdict(table).endswith("Not in the tables, as all networks have the same score: flat.")
    assert verdict(replace(table, search={"flat": table.search["flat"]}, _found={})).startswith("Not in the tables")


def test_a_signal_that_is_constant_with_one_seed_is_named(table: FidelityTable) -> None:
    table.search["half"] = [scored(1, 1.0, 1.0, 1.0), scored(2, 1.0, 2.0, 3.0)]
    assert verdict(table).endswith("Without τ, as all networks have the same score with a seed: half (seed 1).")


def test_a_record_of_a_signal_serves_any_networks_it_has_scored(tmp_path: Path) -> None:
    record = scored(1, 1.0, 2.0, 3.0)
    names = list(record.scores)
    path = record.save(tmp_path)
    assert find_signal("k", 1, [tmp_path], names[:2]) == record
    assert find_signal("k", 1, [tmp_path], [*names, "tcn_d1_2/tcn_d1_2,tcn_d1_2"]) is None
    assert find_signal("k", 2, [tmp_path], names) is None
    path.write_text(path.read_text()[:-9])
    assert find_signal("k", 1, [tmp_path], names) is None


@pytest.mark.parametrize("scores", [5, ["tcn_d1_2"], {"tcn_d1_2": "low"}], ids=str)
def test_a_record_of_a_signal_whose_scores_are_none_is_not_used(scores: Any, tmp_path: Path) -> None:
    scored_wrongly = replace(scored(1, 1.0), scores=scores)
    scored_wrongly.save(tmp_path)
    assert find_signals("k", 1, [tmp_path]) == []


def test_a_record_of_a_signal_from_a_newer_version_is_refused_as_other_records_are(tmp_path: Path) -> None:
    path = scored(1, 1.0).save(tmp_path)
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(NewerFileError, match="upgrade"):
        find_signals("k", 1, [tmp_path])


SMALL = (
    "--n_layers=2",
    "--n_blocks=2",
    "--n_architectures=2",
    "--candidate_ops=['transformer_h4', 'tcn_d1_2']",
    "--search_epochs=1",
    "--search_min_steps=0",
    "--search_holdout_ratio=0.3",
    "--seeds=[7, 8]",
    "--search_seeds=[1]",
)


def test_the_study_end_to_end_stopped_resumed_and_taken_over_from_its_records(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    assert study("fidelity", *SMALL, "--n_trials=6") == cli.OK
    folder, records = Path("runs/toy/fidelity"), Path("runs/toy/runs")
    assert "Too few networks" in capsys.readouterr().out  # five signals come first, then one training
    assert len(list(records.glob("signal-*.json"))) == 5
    assert study("fidelity", *SMALL) == cli.OK
    assert len(list(records.glob("NASR-*.json"))) == 4
    rows = list(csv.DictReader((folder / "fidelity.csv").open()))
    assert {row["networks"] for row in rows} == {"2"}
    scored_signals = {row["signal"] for row in csv.DictReader((folder / "signals.csv").open())}
    assert {"contrastive paper", "next item whole", "untrained supernet", "parameters"} <= scored_signals
    assert {row["signal"] for row in rows if row["statistic"] == "tau"} == scored_signals
    networks = list(csv.DictReader((folder / "networks.csv").open()))
    for network in networks:  # what the table says is what the runs have left
        own = [json.loads(path.read_text()) for path in records.glob("NASR-*.json")]
        valid = [one["valid"]["ndcg@5"] for one in own if one["architecture"] == network["architecture"]]
        assert float(network["valid_ndcg@5"]) == pytest.approx(np.mean(valid))
        assert all(len(one["curve"]) == one["epochs"] for one in own)
    page = (folder / "report.md").read_text()
    assert "This is a look" in page
    assert "each trained alone with 2 seeds; every search signal from 1 seed. Trainings took" in page
    early = sum(one["best_epoch"] == one["epochs"] == one["settings"]["epochs"] for one in own)
    assert (f"; {early} of 4 used up their epochs" in page) == (early > 0)
    assert "## Against test ndcg@5" in page
    assert "16 sequences, 10 items, 128 actions" in page
    assert "`hidden_size=8`" in page
    assert "network=" not in page  # whichever network it is, the settings are those of all
    assert (folder / "figure.svg").stat().st_size > 0
    trainings = [row["row"] for row in csv.DictReader((folder / "runs.csv").open())]
    assert trainings == ["network"] * 4
    # A search of another study with the same settings has a training of its own, which is none of these.
    (scored,) = (path for path in records.glob("signal-*.json") if "next item whole" in path.read_text())
    own = json.loads(next(records.glob("NASR-*.json")).read_text())
    key = json.loads(scored.read_text())["key"]
    (records / f"NASRSearch-{key}-1.json").write_text(json.dumps({**own, "key": key, "seed": 1, "model": "NASRSearch"}))
    assert study("fidelity", *SMALL) == cli.OK
    assert [row["row"] for row in csv.DictReader((folder / "runs.csv").open())] == trainings
    monkeypatch.setattr(pipeline, "_run", None)  # from here on nothing may be trained
    monkeypatch.setattr(signals, "score_architectures", None)
    monkeypatch.setattr("recbole_nasr.report.fidelity_report.save_fidelity_figure", lambda *_: [])
    before = (folder / "fidelity.csv").read_text()
    records.rename("kept")
    assert study("fidelity", *SMALL, "--run_name=again", "--results=kept") == cli.OK
    assert Path("runs/toy/fidelity-again/fidelity.csv").read_text() == before


def test_a_larger_sample_asks_the_signals_of_all_its_networks(
    study: Study, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    monkeypatch.setattr("recbole_nasr.report.fidelity_report.save_fidelity_figure", lambda *_: [])
    own = tmp_path / "look.yaml"
    own.write_text(
        "{title: t, paper: p, claim: c, figure: {kind: fidelity}, search_seeds: [1], n_architectures: 2, runs: "
        "{network: {model: NASR}, next item: {model: NASRSearch, settings: {search_preset: next_item}}}}"
    )
    words = [word for word in SMALL if "n_architectures" not in word]
    for n in (2, 4):
        assert study(str(own), *words, f"--n_architectures={n}") == cli.OK
        with Path("runs/toy/look/signals.csv").open() as file:
            rows = [row["network"] for row in csv.DictReader(file) if row["signal"] == "next item"]
        assert len(rows) == len(set(rows)) == n


class Beginnings:
    """Follows a run: where it began each time."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def begins(self, state: str) -> None:
        self.states.append(state)

    def __call__(self, epoch: int, score: float) -> None: ...


def score(began: Beginnings, runs: str, *more: str) -> SignalRecord:
    """Train the supernet of a signal, and score the sample by it."""
    words = [*TOY, *SMALL, "--search_batch_size=4", f"--runs_dir={runs}", "--checkpoint_interval=0", *more]
    asked = build_study_request(parse_line(["--study=fidelity", *words]))
    plan = build_fidelity_plan(asked, {"toy": base_settings(asked, "toy")})
    runner = FidelityRunner(Runner(asked, [], lambda _: None), plan.sample)
    record, taken_over = runner(next(cell for cell in plan.cells if cell.label == "contrastive paper"), "", began)
    assert isinstance(record, SignalRecord)
    assert not taken_over
    return record


def interrupt(monkeypatch: pytest.MonkeyPatch, *at: int) -> None:
    """Stop the training of supernets at these steps."""
    step, n_steps = BlockTrainer.step, itertools.count(1)

    def stopped(self: BlockTrainer, *batch: Any) -> Any:
        if next(n_steps) in at:
            raise KeyboardInterrupt
        return step(self, *batch)

    monkeypatch.setattr(BlockTrainer, "step", stopped)


@pytest.mark.usefixtures("crowd")
def test_the_supernet_of_a_signal_that_was_stopped_goes_on_and_gives_the_same_scores_to_the_last_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began = Beginnings()
    expected = score(began, "whole")
    interrupt(monkeypatch, 2, 4)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            score(began, "killed")
    found = score(began, "killed")
    assert (found.key, found.seed, found.scores) == (expected.key, expected.seed, expected.scores)
    assert len(set(expected.scores.values())) == 2
    assert [bool(state) for state in began.states] == [False, False, True, True]
    (folder,) = Path("killed/toy").glob("*-NASRSearch-*")
    assert not (folder / "resume").exists()
    assert json.loads((folder / "run.json").read_text())["interruptions"] == 2


@pytest.mark.usefixtures("crowd")
def test_fresh_leaves_an_unfinished_run_of_a_study_and_begins_it_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    began = Beginnings()
    interrupt(monkeypatch, 2)
    with pytest.raises(KeyboardInterrupt):
        score(began, "runs")
    score(began, "runs", "--fresh")
    assert began.states == ["", ""]
    assert len([*Path("runs/toy").glob("*-NASRSearch-*")]) == 2


def test_a_larger_sample_goes_on_with_the_same_study(ask: Callable[..., StudyRequest]) -> None:
    small, large = ask("fidelity", "--n_architectures=4"), ask("fidelity", "--n_architectures=8")
    assert (small.name, identity(small)) == (large.name, identity(large))
    assert ask("fidelity").n_architectures == 24
    assert ask("fidelity", "--quick").n_architectures == 4


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--study=table2", "--n_architectures=3"], "for studies of signals, such as fidelity"),
        (["--study=fidelity", "--n_architectures=0"], "`--n_architectures` must be an integer of at least 1"),
        (["--study=fidelity", "--search_seeds=[1, 1]"], "`--search_seeds` must be different integers"),
        (["--study=fidelity", "--n_layers=1", "--n_blocks=1"], "between 1 and the 4 different networks"),
        (["--study=fidelity", "--architecture=sasrec-1"], "sets or varies"),
        (["--study=fidelity", "--search_preset=paper"], "sets or varies"),
        (["--study=fidelity", "--max_enumerated_paths=3"], "block 1 has 256"),
    ],
)
def test_bad_input_is_refused_before_anything_runs(
    toy: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, "--dataset=toy", "--data_path=data", "--device=cpu", "--topk=[2]"]) == cli.USER_ERROR
    shown = capsys.readouterr()
    assert part in shown.err
    assert shown.err.count("\n") == 1
    assert not list(Path().glob("runs/toy/*-*"))
