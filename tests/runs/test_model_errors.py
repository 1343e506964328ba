"""An error inside one of RecBole's own models is one line, and takes nothing from the others; bugs of ours are seen."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from recbole.evaluator import Evaluator
from recbole.model.sequential_recommender import GRU4Rec

from recbole_nasr.commands import cli
from recbole_nasr.commands.cli import main

SMALL = ("--dataset=toy", "--data_path=data", "--epochs=1", "--device=cpu", "--topk=[2]", "--MAX_ITEM_LIST_LENGTH=8")


def command(models: str, *words: str) -> int:
    return main([f"--model={models}", *SMALL, *words])


def folders(label: str) -> list[Path]:
    return sorted(Path("runs/toy").glob(f"*-{label}"))


def fail(*_args: Any, **_named: Any) -> Any:
    msg = "what\nhas failed"
    raise LookupError(msg)


@pytest.mark.parametrize(
    ("model", "word", "said"),
    [
        (
            "SASRec",
            "n_heads=3",
            "SASRec cannot be built; RecBole's code ended with ValueError: The hidden size (64) is",
        ),
        ("Caser", "embedding_size=1", "Caser cannot be trained; RecBole's code ended with RuntimeError: Tensors must"),
        ("SINE", "prototype_size=2", "SINE cannot be trained; RecBole's code ended with RuntimeError: The size of"),
    ],
)
def test_settings_that_a_model_of_recbole_cannot_compute_are_one_line_that_names_them_and_the_log(
    model: str, word: str, said: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(model, f"--{word}") == cli.USER_ERROR
    (folder,) = folders(model)
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {said}")
    assert f"Its keys that differ from RecBole's defaults are {word}: change them." in shown
    assert shown.endswith(f"The traceback is in {folder / 'run.log'}.\n")
    assert shown.count("\n") == 1
    log = (folder / "run.log").read_text()
    assert "Traceback (most recent call last)" in log
    assert f"sequential_recommender/{model.lower()}.py" in log
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == "failed"
    assert record["error"].startswith(f"ModelError: {model} cannot be")


@pytest.mark.parametrize(("eval_step", "stage"), [(1, "validated"), (0, "tested")])
def test_an_error_while_a_model_is_measured_says_so_and_names_its_keys(
    eval_step: int, stage: str, toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(GRU4Rec, "full_sort_predict", fail)
    assert command("GRU4Rec", f"--eval_step={eval_step}") == cli.USER_ERROR
    shown = capsys.readouterr().err
    assert shown.startswith(
        f"error: GRU4Rec cannot be {stage}; RecBole's code ended with LookupError: what has failed. "
    )
    assert "All its keys have RecBole's defaults; try others: embedding_size, hidden_size, num_layers, " in shown


def test_a_disk_that_refuses_is_no_fault_of_the_model(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "some.file")

    monkeypatch.setattr(GRU4Rec, "calculate_loss", full)
    assert command("GRU4Rec") == cli.USER_ERROR
    assert capsys.readouterr().err.startswith("error: some.file cannot be written (No space left on device); ")


def test_memory_that_runs_out_outside_torch_is_one_line_too(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(GRU4Rec, "calculate_loss", full)
    assert command("GRU4Rec") == cli.USER_ERROR
    assert capsys.readouterr().err.startswith("error: The run does not fit into memory; lower `train_batch_size`")


@pytest.mark.parametrize(
    ("model", "owner", "name"),
    [
        ("GRU4Rec", "recbole_nasr.trainer.kept", "check_weights_finite"),  # called by our code, within RecBole's
        ("NASR", Evaluator, "evaluate"),  # of RecBole, but with a model of ours
    ],
)
def test_a_bug_of_this_package_keeps_its_traceback(
    model: str, owner: Any, name: str, toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{owner}.{name}", fail) if isinstance(owner, str) else monkeypatch.setattr(owner, name, fail)
    with pytest.raises(LookupError, match="has failed"):
        command(model, *(["--architecture=gru4rec", "--n_layers=1", "--n_blocks=1"] if model == "NASR" else []))


def test_a_model_that_fails_does_not_end_a_comparison_and_the_same_command_tries_only_that_one_again(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GRU4Rec, "calculate_loss", fail)
        assert command("GRU4Rec,NextItNet,Caser") == cli.USER_ERROR
    shown = capsys.readouterr()
    lines = [line for line in shown.err.splitlines() if line.startswith("error: ")]  # SciPy may have something to say
    assert [line.partition(";")[0] for line in lines] == [
        "error: GRU4Rec (1 of 3): GRU4Rec cannot be trained",
        "error: 1 of 3 runs ended in an error, shown above: GRU4Rec. The others are kept",
    ]
    assert "\nNextItNet " in shown.out.split("Test results")[1]
    assert len(list(Path("runs/toy").glob("*-comparison/comparison.md"))) == 1
    assert command("GRU4Rec,NextItNet,Caser") == cli.OK
    assert [len(folders(label)) for label in ("NextItNet", "Caser")] == [1, 1]
    table = capsys.readouterr().out.split("Test results")[1]
    assert all(f"\n{name} " in table for name in ("GRU4Rec", "NextItNet", "Caser"))
    assert not list(Path("runs/toy").glob(".*"))
