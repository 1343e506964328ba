"""Which runs share a name: those of equal model, data and settings, before and after a setting was added."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from recbole_nasr.ops import loading
from recbole_nasr.request import defaults
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs import checking
from recbole_nasr.runs.identity import BASELINE_FILE, baseline, naming_settings, run_key
from recbole_nasr.space import Architecture
from recbole_nasr.studies.base import base_settings
from recbole_nasr.studies.plan import build_plan
from recbole_nasr.studies.record import find_record, key_of, load_record, result_key
from recbole_nasr.studies.request import build_study_request
from recbole_nasr.studies.signals import signal_key_of

RECORDS = Path(__file__).parents[2] / "docs" / "results" / "runs"
SLOW, LATER = "--learning_rate=0.001", ("--epochs=20", "--train_batch_size=64", "--search_epochs=2")
PAGES = {
    "table2": (SLOW, "--NASR.epochs=20", "--NASRSearch.epochs=20"),
    "depth": (SLOW, "--epochs=10"),
    "sensitivity": (SLOW, "--epochs=10"),
    "augmentation": (SLOW, "--epochs=10"),
    "cost": (SLOW, "--epochs=20"),
    "architectures": ("--seeds=[2020, 2021, 2022]", *LATER),
    "found": LATER,
}


def test_a_setting_at_its_baseline_names_no_run_and_any_other_value_does() -> None:
    usual = baseline("NASRSearch", "ml")
    names = {key_of("NASRSearch", "ml", "data", settings) for settings in ({}, usual)}
    assert len(names) == 1
    for key in usual:
        names |= {key_of("NASRSearch", "ml", "data", {**usual, key: value}) for value in ("another", ["value"])}
    assert len(names) == 1 + 2 * len(usual)


def test_a_new_setting_keeps_the_names_of_runs_and_a_changed_default_renames(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(**settings: object) -> str:
        return key_of("NASR", "toy", "data", {"epochs": 3, **settings})

    before = name()
    content = json.loads(BASELINE_FILE.read_text())
    content["NASR"]["brand_new"] = 0.5  # as whoever adds the key does, its default being 0.5
    monkeypatch.setattr("recbole_nasr.runs.identity._baselines", lambda: content)
    assert name(brand_new=0.5) == before
    changed_default = name(brand_new=0.6)  # what is in force, later, where nobody names the key
    assert changed_default not in (before, name(brand_new=0.7))


@pytest.mark.parametrize("model", ["NASR", "NASRSearch"])
@pytest.mark.parametrize("dataset", ["toy", "ml", "lastfm", "own"])
def test_every_setting_has_a_baseline(model: str, dataset: str, toy: Path) -> None:
    own = {"source": str(toy / "toy" / "toy.inter")} if dataset == "own" else {}
    settings = checking.values_in_force(model, dataset, {**defaults.EVALUATION, "valid_metric": "NDCG@20", **own})
    told = {"model", "dataset", *(("load_col", "normalize_all") if own else ())}  # the data themselves say the last two
    missing = naming_settings(model, dataset, settings).keys() - told - baseline(model, dataset).keys()
    assert missing == set(), (
        f"add {sorted(missing)} to {BASELINE_FILE.name}, in each section of a model that has it, "
        "with the value under which a run is what it was before; change no value that is there"
    )


def test_committed_records_bear_the_names_of_their_own_settings() -> None:
    files = sorted(RECORDS.rglob("*.json"))
    assert len(files) > 60
    for file in files:
        record = json.loads(file.read_text())
        signal = record.get("signal")
        model = record.get("model", "NASRSearch")
        key = key_of(model, record["dataset"], record["data_checksum"], record["settings"])
        if signal is not None:
            key = signal_key_of(key, untrained="untrained" in signal)
        assert record["key"] == key, file
        assert file.stem == f"{'signal' if signal else model}-{key}-{record['seed']}"


@pytest.mark.parametrize("study", PAGES)
def test_the_runs_of_a_committed_page_are_found_by_its_command(study: str) -> None:
    own = RECORDS.parent / f"{study}-ml" / f"{study}.yaml"
    words = [f"--study={own if own.is_file() else study}", *PAGES[study], "--dataset=ml", "--quick", "--device=cpu"]
    asked = build_study_request(parse_line(words))
    base = {"ml": base_settings(asked, "ml")}
    model, settings = next(iter(base["ml"].items()))
    checking.prepare_data(model, "ml", settings)
    missing = []
    for cell in build_plan(asked, base):
        effective = checking.check_run(cell.model, cell.dataset, cell.given())
        key = result_key(cell.model, cell.dataset, effective)
        if find_record(cell.model, key, cell.seed, [RECORDS]) is None:
            missing.append(cell.key)
    assert missing == []


def test_the_content_of_the_source_names_a_run_and_its_place_does_not(
    toy: Path, tmp_path: Path, write_inter: Callable[..., Path]
) -> None:
    def key(source: Path) -> str:
        given = {"source": str(source), "data_path": str(tmp_path / "prepared")}
        checking.prepare_data("NASR", "mine", given)
        return result_key("NASR", "mine", checking.values_in_force("NASR", "mine", given))

    source = toy / "toy" / "toy.inter"
    elsewhere = tmp_path / "elsewhere.inter"
    elsewhere.write_bytes(source.read_bytes())
    before = key(source)
    assert key(elsewhere) == before
    with source.open("a") as file:
        file.write("u0\ti1\t99.0\n")
    assert key(source) != before


def test_the_content_of_files_that_settings_name_names_a_run(toy: Path, tmp_path: Path) -> None:
    """An architecture by its file or run folder, operations by theirs: a study may not take results of another one."""

    def key(**given: str) -> str:
        return result_key("NASR", "toy", {"data_path": str(toy / "toy"), "architecture": "sasrec-1", **given})

    file, run, operations = tmp_path / "mine.json", tmp_path / "run", tmp_path / "ops.py"
    run.mkdir()
    named = ({"architecture": str(file)}, {"architecture": str(run)}, {"ops_module": str(operations)})

    def keys_with(text: str) -> list[str]:
        for path in (file, run / "architecture.json"):
            Architecture.parse(text).save(path)
        operations.write_text(f"# {text}")
        return [key(**one) for one in named]

    before = keys_with("tcn_d1_2")
    assert all(old != new for old, new in zip(before, keys_with("transformer_h4"), strict=True))
    assert keys_with("tcn_d1_2") == before
    assert key(ops_module="my.module") == key(ops_module="my.module") != key()


def test_the_content_of_a_module_of_operations_names_a_run_as_that_of_a_file_does(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"data_path": str(toy / "toy"), "ops_module": "my.module", "seed": 1, "device": "cpu"}

    def names(digest: str) -> tuple[str, str]:
        monkeypatch.setitem(loading._LOADED, "my.module", digest)
        run = run_key("NASRSearch", "toy", settings, name="", n_processes=1)
        return result_key("NASRSearch", "toy", settings), run

    before = names("1")
    assert all(old != new for old, new in zip(before, names("2"), strict=True))
    assert names("1") == before


def test_a_record_of_an_earlier_version_without_checksum_is_read() -> None:
    (file,) = Path(__file__).parents[1].glob("compatibility/v1/results/*.json")
    assert "data_checksum" not in json.loads(file.read_text())
    record = load_record(file)
    assert record is not None
    assert record.data_checksum == ""
