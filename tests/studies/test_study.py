from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from filelock import FileLock, Timeout

from recbole_nasr.commands import cli
from recbole_nasr.configuration.files import read_settings
from recbole_nasr.errors import ConfigError
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs import pipeline
from recbole_nasr.space import Architecture
from recbole_nasr.studies.base import base_settings
from recbole_nasr.studies.definition import StudyDefinition
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.running import Draw, tuned_space
from recbole_nasr.studies.storage import open_study
from recbole_nasr.studies.tables import FinishedRun
from recbole_nasr.studies.tuned import best_settings, next_commands

from .conftest import record_of

Study = Callable[..., int]


def rows(name: str) -> list[dict[str, str]]:
    with Path(f"runs/toy/{name}/runs.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_study_end_to_end_and_resumed(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)  # drawn in tests of its own
    words = ("--n_layers=1", "--n_blocks=1", "--search_epochs=1", "--seeds=[7]", "--quick")
    assert study("cost", *words) == cli.OK
    table = rows("cost-quick")
    assert [row["row"] for row in table].count("Random") == 3
    assert len(table) == 5
    for row in table:  # what the table says is what each run has written
        metrics = json.loads((Path(row["run"]) / "metrics.json").read_text())
        assert float(row["test_ndcg@5"]) == metrics["test"]["ndcg@5"]
        assert float(row["valid_ndcg@5"]) == metrics["valid"]["ndcg@5"]
        assert int(row["parameters"]) == metrics["n_parameters"]
        run = json.loads((Path(row["run"]) / "run.json").read_text())
        assert float(row["step_seconds"]) == run["step_seconds"] > 0
    assert len({row["architecture"] for row in table if row["row"] == "Random"}) > 1
    page = Path("runs/toy/cost-quick/report.md").read_text()
    assert "## Differences" in page
    assert "training one random network" in page
    assert Path("runs/toy/cost-quick/figure.svg").stat().st_size > 0
    monkeypatch.setattr(pipeline, "_run", None)  # from here on nothing may be trained
    assert study("cost", *words) == cli.OK
    assert rows("cost-quick") == table
    assert study("cost", *words, "--run_name=again") == cli.OK  # finished runs of any study are taken over
    assert {row["reused"] for row in rows("cost-again-quick")} == {"1"}
    assert [row["test_ndcg@5"] for row in rows("cost-again-quick")] == [row["test_ndcg@5"] for row in table]
    assert "Test results" in capsys.readouterr().out


def test_records_in_another_folder_are_taken_over(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    words = ("--space={'hidden_dropout_prob': [0.1]}", "--n_trials=1", "--n_layers=1", "--pruner=none")
    assert study("tune", *words) == cli.OK
    Path("runs/toy/runs").rename("kept")
    monkeypatch.setattr(pipeline, "_run", None)
    assert study("tune", *words, "--run_name=later", "--results=kept") == cli.OK
    assert [row["reused"] for row in rows("tune-later")] == ["1"]


def test_tuning_prunes_on_validation_scores_alone(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    locked = []

    def plots(*_: object) -> list[str]:
        with pytest.raises(Timeout), FileLock("runs/toy/tune/study.lock", timeout=0):
            pass
        locked.append(True)
        return []

    monkeypatch.setattr("recbole_nasr.commands.study.save_optuna_plots", plots)
    monkeypatch.setattr(
        "recbole_nasr.studies.storage._pruner", lambda _: optuna.pruners.ThresholdPruner(lower=2.0, n_warmup_steps=0)
    )
    words = ("--space={'learning_rate': {'low': 0.01, 'high': 0.02, 'log': True}}", "--n_layers=1", "--n_trials=2")
    assert study("tune", *words) == cli.OK
    study_file = "sqlite:///runs/toy/tune/study.db"
    (name,) = optuna.get_all_study_names(study_file)
    found = optuna.load_study(study_name=name, storage=study_file)
    assert [trial.state.name for trial in found.trials] == ["PRUNED", "PRUNED"]
    for trial, folder in zip(found.trials, sorted(Path("runs/toy").glob("*-NASR-tune-*")), strict=True):
        logged = [line for line in (folder / "run.log").read_text().splitlines() if "epoch " in line and "best" in line]
        scores = [float(line.split("ndcg@5 ")[1].split()[0]) for line in logged]
        assert [round(value, 4) for value in trial.intermediate_values.values()] == scores  # as validation gave them
        assert list(trial.intermediate_values) == [0]  # of two epochs the second was not trained
        assert json.loads((folder / "run.json").read_text())["status"] == "stopped early"
        assert not (folder / "metrics.json").exists()  # and the test cases were never read
        assert not (folder / "ranks.csv.gz").exists()
    page = Path("runs/toy/tune/report.md").read_text()
    assert "2 trials: 2 stopped early. Validation is the best score up to the epoch a trial came to.\n" in page
    best = max(found.trials[1].intermediate_values.values())
    rate = found.trials[1].params["learning_rate"]
    assert f"| 1 | {rate:.4g} | 1 | {best:.4f} | stopped early |" in page
    assert locked == [True]  # while it writes the page, no other process writes an older one over it


def test_what_was_tuned_is_trained_and_searched_by_the_commands_that_are_shown(
    study: Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    monkeypatch.setattr("recbole_nasr.commands.study.save_optuna_plots", lambda *_: [])
    space = "--space={'hidden_dropout_prob': {'low': 0.1, 'high': 0.4}, 'n_layers': [5]}"
    assert study("tune", space, "--n_trials=2", "--architecture=nextitnet-1", "--pruner=none") == cli.OK
    screen = capsys.readouterr().out
    shown = [line.split()[2:] for line in screen.splitlines() if line.startswith("  python run_nasr.py ")]
    assert [words[0] for words in shown] == ["--model=NASR", "--model=NASRSearch"]
    assert cli.main(shown[0]) == cli.OK
    assert cli.main([*shown[1], "--search_epochs=1"]) == cli.OK
    trained, searched = (
        read_settings(next(Path("runs/toy").glob(f"*[0-9]-{model}")) / "settings.yaml")
        for model in ("NASR", "NASRSearch")
    )
    (best,) = rows("tune")
    for settings in (trained, searched):
        assert settings["hidden_dropout_prob"] == float(best["hidden_dropout_prob"])  # unrounded
        assert (settings["hidden_size"], settings["n_layers"], settings["epochs"]) == (8, 5, 2)
    assert trained["architecture"] == "nextitnet-1"
    assert searched["n_blocks"] == 2  # of at most four layers, as in the paper


@pytest.mark.parametrize(("given", "shown"), [("nextitnet-1", "nextitnet-1"), ("random", "tcn_d1_2,tcn_d1_4")])
def test_an_architecture_that_was_drawn_is_that_of_the_command_to_train_it(
    given: str, shown: str, ask: Callable[..., StudyRequest]
) -> None:
    asked = ask("tune", "--space={'architecture': ['sasrec-1', 'nextitnet-1', 'random']}")
    draw = Draw(asked, {"n_blocks": 1}, asked.definition.space)
    settings = {"architecture": given, "n_layers": 2}
    record = record_of(Cell("NASR", "NASR", "toy", {}, 1), settings=settings, architecture="tcn_d1_2,tcn_d1_4")
    best = FinishedRun("NASR", "toy", {"architecture": given}, record)
    assert "architecture" not in best_settings(draw, best)
    words = next_commands(draw, best, ["run_nasr.py"])["train it with another seed"].split()
    assert f"--architecture={shown}" in words


def test_the_commands_after_tune_write_where_a_configuration_file_says(ask: Callable[..., StudyRequest]) -> None:
    Path("here.yaml").write_text("runs_dir: out\ndevice: cpu\n")
    asked = ask("tune", "--config_files=here.yaml")
    record = record_of(Cell("NASR", "NASR", "toy", {}, 1), settings={"n_layers": 2})
    commands = next_commands(Draw(asked, {}, {}), FinishedRun("NASR", "toy", {}, record), ["run_nasr.py"])
    assert all({"--runs_dir=out", "--device=cpu"} <= set(line.split()) for line in commands.values())


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--study=tabel2"], "Did you mean 'table2'?"),
        (["--study=transfer"], "--target=lastfm"),
        (["--study=transfer", "--target=toy"], "another data set"),
        (["--study=table2", "--target=toy"], "for studies that transfer, such as transfer, not for table2"),
        (["--study=table2", "--model=NASR"], "for --study=tune"),
        (["--study=table2", "--seed=1"], "--seeds=[1]"),
        (["--study=depth", "--n_layers=2"], "sets or varies"),
        (["--study=table2", "--n_trails=2"], "Did you mean 'n_trials'?"),
        (["--study=table2", "--seeds=[1, 1]"], "different integers"),
        (["--study=table2", "--n_trials=0"], "at least 1"),
        (["--study=table2", "--time_budget=soon"], "30m"),
        (["--study=tune", "--pruner=medium"], "Did you mean 'median'?"),
        (["--study=tune", "--space={'learning_rat': [1]}"], "Did you mean 'learning_rate'?"),
        (["--study=tune", "--space={'learning_rate': 1}"], "a list of values"),
        (["--study=tune", "--space={'learning_rate': []}"], "a list of values"),
        (["--study=tune", "--space={'n_layers': {'low': 1, 'high': 4, 'step': 2}}"], "a list of values"),
        (["--study=tune", "--space={'hidden_size': {'low': 64, 'high': 8}}"], "low <= high"),
        (["--study=tune", "--space={'hidden_size': {'low': '8', 'high': 64}}"], "needs numbers"),
        (["--study=tune", "--space={'learning_rate': {'low': 0, 'high': 1, 'log': true}}"], "above 0"),
        (["--study=tune", "--space=3"], "must be a table"),
        (["--study=tune", "--seeds=[1, 2]"], "tune runs every trial with one seed"),
        (["--study=tune", "--metrics=['GiniIndex']"], "of which more is better"),
        (["--study=tune", "--eval_step=0"], "`eval_step` must be at least 1, but is 0"),
        (["--study=table2", "--results=nowhere"], "no folder nowhere"),
        (["--study=table2", "--retry_failed=no"], "`retry_failed` must be True or False, but is 'no'"),
        (["--study=table2", "--storage=nodb://x"], "cannot be used"),
        (["--study=table2", "--prepare"], "`--prepare` is for a data set, not for --study=table2"),
        (["--study=table2", "--config_files=quick.yaml"], "`quick` of a study is given on the command line, --quick"),
        (["--model=NASR", "--seeds=[1]"], "It is for --study."),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    toy: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("quick.yaml").write_text("quick: true\n")
    assert cli.main([*words, "--dataset=toy", "--data_path=data", "--device=cpu"]) == cli.USER_ERROR
    shown = capsys.readouterr()
    assert part in shown.err
    assert shown.err.count("\n") == 1
    assert not list(Path().glob("runs/toy/*-*"))


def test_a_key_of_the_preparation_is_for_the_data_set_that_is_prepared_here(toy: Path) -> None:
    words = ["--study=transfer", "--dataset=ml", "--target=toy", "--data_path=data", "--window_length=20"]
    asked = build_study_request(parse_line(words))
    assert base_settings(asked, "ml")["NASR"]["window_length"] == 20
    assert base_settings(asked, "toy")["NASR"].get("window_length") is None


def test_a_key_of_one_data_set_is_for_that_one_and_a_key_of_neither_is_refused(toy: Path) -> None:
    def release(dataset: str, target: str, *words: str) -> list[dict[str, Any]]:
        line = ["--study=transfer", f"--dataset={dataset}", f"--target={target}", "--data_path=data", *words]
        asked = build_study_request(parse_line(line))
        return [base_settings(asked, name)["NASR"] for name in (dataset, target)]

    ml, lastfm = release("ml", "lastfm", "--ml_release=1m", "--lastfm_item=id", "--time_unit=s")
    assert [ml.get(key) for key in ("ml_release", "lastfm_item", "time_unit")] == ["1m", None, "s"]
    assert [lastfm.get(key) for key in ("ml_release", "lastfm_item", "time_unit")] == [None, "id", None]
    toy_first, prepared = release("toy", "ml", "--encoding=latin-1")
    assert (toy_first["encoding"], prepared.get("encoding")) == ("latin-1", None)
    with pytest.raises(ConfigError, match="ml_release is about MovieLens"):
        release("lastfm", "toy", "--ml_release=1m")
    with pytest.raises(ConfigError, match="`encoding` is for RecBole files"):
        release("lastfm", "ml", "--encoding=latin-1")


def test_a_source_is_for_the_data_set_that_is_no_published_one() -> None:
    Path("log.csv").write_text("user,item,time\n" + "".join(f"u{n % 9},i{n % 7},{n}\n" for n in range(90)))
    words = ["--study=transfer", "--dataset=ml", "--data_path=data", "--source=log.csv"]
    asked = build_study_request(parse_line([*words, "--target=mine"]))
    assert "source" not in base_settings(asked, "ml")["NASR"]
    assert base_settings(asked, "mine")["NASR"]["source"] == "log.csv"
    asked = build_study_request(parse_line([*words, "--target=lastfm"]))
    with pytest.raises(ConfigError, match=r"`source` is the file of one data set, but is 'log.csv' for ml and lastfm;"):
        base_settings(asked, "ml")


def test_what_only_a_search_reads_may_stand_in_a_file_of_settings_as_for_a_single_run(toy: Path) -> None:
    Path("search.yaml").write_text("search_epochs: 3\nhidden_size: 16\n")
    words = ["--study=depth", "--dataset=toy", "--data_path=data", "--config_files=search.yaml"]
    assert base_settings(build_study_request(parse_line(words)), "toy")["NASR"]["hidden_size"] == 16


def test_a_seed_in_a_file_of_settings_is_left_out_with_a_line_that_says_so(
    ask: Callable[..., StudyRequest], caplog: pytest.LogCaptureFixture
) -> None:
    Path("run.yaml").write_text("seed: 7\nNASR.seed: 8\nepochs: 3\n")  # as the settings.yaml of a run may have it
    with caplog.at_level("INFO", "recbole_nasr"):
        asked = ask("table2", "--config_files=run.yaml", "--seeds=[1,2]")
    assert asked.request.settings == {"epochs": 3}
    assert asked.seeds == (1, 2)
    assert caplog.messages == [
        f"`{line}` in run.yaml is left out: a study has `seeds`, here [1, 2]" for line in ("seed: 7", "NASR.seed: 8")
    ]
    with pytest.raises(ConfigError, match=r"use --seeds=\[5\] instead of `seed`"):
        ask("table2", "--config_files=run.yaml", "--seed=5")


def test_a_process_may_use_another_gpu_or_find_the_data_elsewhere(ask: Callable[..., StudyRequest]) -> None:
    storage = "--storage=study.log"
    first = ("--epochs=2", "--device=cuda", "--gpu_id=0", "--source=events.csv", "--data_path=data")
    open_study(ask("table2", *first, storage))
    open_study(ask("table2", "--epochs=2", "--gpu_id=1", "--SASRec.gpu_id=2", "--data_path=/shared/data", storage))
    open_study(ask("table2", "--epochs=2", storage))
    with pytest.raises(ConfigError, match=r"other settings \(--epochs: then 2, now 3\)"):
        open_study(ask("table2", "--epochs=3", "--gpu_id=1", storage))


@pytest.mark.parametrize(
    "changed", [{"architecture_of": "Random"}, {"architecture_of": ""}, {"untrained": True}], ids=str
)
def test_a_study_refuses_rows_that_take_their_network_or_score_from_elsewhere(
    ask: Callable[..., StudyRequest], changed: dict[str, Any]
) -> None:
    asked = ask("transfer", "--target=other", "--storage=study.log")
    rows_now = tuple(replace(run, **changed) if run.architecture_of else run for run in asked.definition.runs)
    study = open_study(asked)
    with pytest.raises(ConfigError, match=r"started under other settings \(architecture_of and untrained: then "):
        open_study(replace(asked, definition=replace(asked.definition, runs=rows_now)))
    older = {key: value for key, value in study.user_attrs["settings"].items() if "architecture_of" not in key}
    study.set_user_attr("settings", older)
    open_study(asked)


def test_a_study_begun_before_places_were_left_out_of_its_settings_goes_on(ask: Callable[..., StudyRequest]) -> None:
    study = open_study(ask("table2", "--epochs=2", "--storage=study.log"))
    known = study.user_attrs["settings"]
    study.set_user_attr("settings", {**known, "--source": "events.csv", "--SASRec.gpu_id": 0})
    open_study(ask("table2", "--epochs=2", "--source=elsewhere/events.csv", "--storage=study.log"))


def test_a_study_refuses_data_that_have_changed(
    study: Study, crowd: Path, write_inter: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--n_layers=1", "--pruner=none", "--space={'hidden_dropout_prob': [0.1]}")
    assert study("tune", *words, "--n_trials=1") == cli.OK
    before = rows("tune")
    (crowd / "toy").rename("earlier")
    write_inter((f"u{user}", f"i{(user + step) % 9}", float(step)) for user in range(16) for step in range(8))
    capsys.readouterr()
    assert study("tune", *words, "--n_trials=2") == cli.USER_ERROR
    shown = capsys.readouterr()
    assert "The study tune on toy was started on other data (toy: then " in shown.err
    assert "--run_name=NAME" in shown.err
    assert shown.err.count("\n") == 1
    assert rows("tune") == before


def test_a_study_refuses_another_network_under_the_name_of_its_file(
    study: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.json"
    words = ("--n_trials=1", "--pruner=none", f"--architecture={file}", "--space={'learning_rate': [0.001]}")
    Architecture.parse("tcn_d1_2").save(file)
    assert study("tune", *words) == 0
    Architecture.parse("transformer_h2").save(file)
    assert study("tune", *words) == 2
    assert f"on other data (architecture {file}: then " in capsys.readouterr().err


def test_tuning_draws_no_value_that_its_model_refuses(toy: Path) -> None:
    def space(*words: str) -> dict[str, Any]:
        line = ["--study=tune", "--dataset=toy", "--data_path=data", "--device=cpu", *words]
        asked = build_study_request(parse_line(line))
        (run,) = asked.definition.runs
        return tuned_space(asked, base_settings(asked, "toy")[run.model])

    assert space()["n_layers"] == [1, 2, 4, 8, 16]  # a given network has no blocks
    assert space("--model=NASRSearch")["n_layers"] == [4, 8, 16]  # no block without a layer
    assert space("--model=NASRSearch", "--n_blocks=2")["n_layers"] == [2, 4, 8, 16]
    own = space("--model=NASRSearch", "--space={'n_layers': [1, 4]}")
    assert own == {"n_layers": [1, 4]}  # what was asked for by name fails with its reason
    assert "n_layers" not in space("--n_layers=4")
    assert "n_layers" not in space("--NASR.n_layers=4")
    with pytest.raises(ConfigError, match=r"NASR has and that are not set, but of n_layers there is none"):
        space("--space={'n_layers': [1, 4]}", "--n_layers=4")


def test_a_damaged_storage_is_one_line(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("runs/toy/table2")
    folder.mkdir(parents=True)
    (folder / "study.db").write_text("not a database" * 100)
    assert cli.main(["--study=table2", "--dataset=toy", "--data_path=data", "--device=cpu", "--topk=[2]"]) == 2
    shown = capsys.readouterr()
    assert "file is not a database" in shown.err
    assert shown.err.count("\n") == 1


def test_without_optuna_a_study_says_what_to_install(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert cli.main(["--study=table2", "--dataset=toy"]) == cli.USER_ERROR
    assert "pip install 'optuna>=4'" in capsys.readouterr().err


def test_the_ablation_of_improved_departs_from_its_preset_by_one_key_a_row() -> None:
    from recbole_nasr.configuration.resources import load_yaml

    preset, defaults = load_yaml("properties/search", "improved"), load_yaml("properties/model", "NASRSearch")
    rows = {run.label: dict(run.settings) for run in StudyDefinition.load("improved").runs}
    taken_away, added = set(), set()
    for label, settings in rows.items():
        base = settings.pop("search_preset")
        if label.startswith("improved - "):
            assert base == "improved"
            for key, value in settings.items():  # back to the default
                assert value == defaults[key] != preset[key]
            taken_away |= settings.keys()
        elif label.startswith("paper + "):
            assert base == "paper"
            for key, value in settings.items():
                assert value == preset[key] != defaults[key]
            added |= settings.keys()
    assert taken_away == added == preset.keys()
