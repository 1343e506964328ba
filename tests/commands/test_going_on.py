"""The same command after a kill -9 at any moment: out comes what an uninterrupted run gives, to the last bit."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import signal
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from recbole.trainer import Trainer
from tqdm import tqdm

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.commands import cli
from recbole_nasr.commands.cli import main
from recbole_nasr.keeping import Keeper, keeper
from recbole_nasr.runs.unfinished import RunPlace, opened_run
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.trainer.retraining import NASRTrainer

SMALL = (
    "--dataset=toy",
    "--data_path=data",
    "--device=cpu",
    "--epochs=4",
    "--eval_step=1",
    "--stopping_step=9",
    "--hidden_size=8",
    "--train_batch_size=4",
    "--topk=[2,5]",
)
SEARCH = (
    "--model=NASRSearch",
    "--search_preset=paper",
    *SMALL,
    "--n_layers=2",
    "--n_blocks=2",
    "--search_epochs=2",
    "--search_holdout_ratio=0.3",
    "--candidate_ops=['transformer_h2','tcn_d1_2']",
)
NETWORK = ("--model=NASR", *SMALL, "--architecture=transformer_h2,tcn_d1_2", "--n_layers=2", "--n_blocks=1")


def folders(runs: str = "runs", label: str = "*") -> list[Path]:
    return sorted(Path(runs, "toy").glob(f"[0-9]*-{label}"))


def outcome(folder: Path) -> dict[str, Any]:
    """Return all that a run has found."""
    files = [path for path in sorted(folder.glob("ranking/*")) if path.suffix in (".csv", ".json")]
    architecture = folder / "architecture.json"
    return {
        "metrics": json.loads((folder / "metrics.json").read_text()),
        "ranks": gzip.decompress((folder / "ranks.csv.gz").read_bytes()),
        "rankings": {path.name: path.read_text() for path in files},
        "architecture": architecture.read_text() if architecture.is_file() else "",
        "weights": [weights.tolist() for weights in load_checkpoint(folder / "model.pth")["state_dict"].values()],
    }


def facts(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


PLACES: dict[str, tuple[Any, str]] = {
    "block training": (BlockTrainer, "step"),
    "ranking": (Contrastive, "score"),
    "stage": (Keeper, "stage"),
    "saving": (keeper, "write_state"),
    "retraining": (NASRTrainer, "train_step"),
    "evaluation": (NASRTrainer, "evaluate"),
    "best network": (NASRTrainer, "_save_checkpoint"),
    "epoch": (Trainer, "_train_epoch"),
}


def signal_self(number: int, place: str, n: int, *, after: bool) -> None:
    """Send this process a signal the n-th time it comes to ``place``, before what it does there or after."""
    owner, name = PLACES[place]
    original, left = getattr(owner, name), n

    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0 and not after:
            os.kill(os.getpid(), number)
        result = original(*args, **kwargs)
        if left == 0 and after:
            os.kill(os.getpid(), number)
        return result

    setattr(owner, name, call)


def in_a_child(words: Sequence[str], number: int, place: str, n: int = 1, *, after: bool = False) -> int:
    """Run a command in a child process that gets a signal; return its exit code, or minus the signal it died of."""
    child = os.fork()
    if child == 0:
        code = 99
        tqdm.set_lock(threading.RLock())  # the one of this process may be held at the moment by a thread it has
        try:
            signal_self(number, place, n, after=after)
            code = main(words)
        except BaseException:  # or nobody would ever see why
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill(words: Sequence[str], *where: Any, after: bool = False) -> None:
    assert in_a_child(words, signal.SIGKILL, *where, after=after) == -signal.SIGKILL


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw nothing: it takes longer than the runs."""
    monkeypatch.setattr(cli, "save_report", lambda *_, **__: None)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    place = tmp_path_factory.mktemp("uninterrupted")
    write_toy(place / "data")
    words = [f"--data_path={place / 'data'}" if word == "--data_path=data" else word for word in SEARCH]
    assert main([*words, f"--runs_dir={place / 'runs'}"]) == cli.OK
    return outcome(folders(str(place / "runs"))[0])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The interactions of the fixture `toy`."""
    return write_toy(tmp_path / "data")


def write_toy(data_path: Path) -> Path:
    rows = [f"u{user}\ti{(user + step) % 10}\t{step}" for user in range(12) for step in range(8)]
    (data_path / "toy").mkdir(parents=True)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    (data_path / "toy" / "toy.inter").write_text("\n".join([header, *rows]) + "\n")
    return data_path


KILLS = [
    ("block training", 1),
    ("saving", 1),
    ("block training", 2, "after"),
    ("saving", 2, "after"),
    ("stage", 1, "after"),  # before the ranking of the first block
    ("ranking", 1),
    ("ranking", 1, "after"),
    ("stage", 2, "after"),  # between the blocks
    ("block training", 3),
    ("ranking", 1, "after"),
    ("stage", 2, "after"),  # between search and retraining
    ("retraining", 2),
    ("saving", 2),
    ("retraining", 1, "after"),  # the epoch ends
    ("evaluation", 1),
    ("best network", 1),
    ("best network", 1, "after"),
    ("retraining", 4, "after"),
    ("evaluation", 1, "after"),
    ("stage", 1),  # before the test
    ("evaluation", 1, "after"),  # in the test
]
"""Where each process in turn is killed: before or after the n-th time that it comes there."""


def test_killed_again_and_again_a_run_ends_as_if_nothing_had_happened(
    uninterrupted: dict[str, Any], data: Path
) -> None:
    words = (*SEARCH, "--checkpoint_interval=0")
    for place, n, *after in KILLS:
        kill(words, place, n, after=bool(after))
    assert main(words) == cli.OK
    (folder,) = folders()
    assert outcome(folder) == uninterrupted
    assert (facts(folder)["status"], facts(folder)["interruptions"]) == ("finished", len(KILLS))
    assert not (folder / "resume").exists()


def test_with_a_long_interval_the_stages_are_saved(uninterrupted: dict[str, Any], data: Path) -> None:
    kill(SEARCH, "block training", 3)
    (folders()[0] / ".metrics.json.1a2b3c4d.partial").touch()  # as a kill leaves it in the middle of writing
    kill(SEARCH, "ranking", 2)
    kill(SEARCH, "retraining", 5)
    kill(SEARCH, "evaluation", 5, after=True)
    assert main(SEARCH) == cli.OK
    (folder,) = folders()
    assert outcome(folder) == uninterrupted
    assert not list(folder.rglob("*.partial"))


def test_candidates_that_were_trained_are_not_trained_again(data: Path) -> None:
    words = (
        *SEARCH,
        "--search_verify=2",
        "--search_verify_ties=0",
        "--search_verify_random=1",
        "--halving_epochs=1",
        "--checkpoint_interval=0",
    )
    assert main([*words, "--runs_dir=expected"]) == cli.OK
    kill(words, "retraining", 20)
    kill(words, "retraining", 2, after=True)
    kill(words, "evaluation", 2)
    kill(words, "stage", 1, after=True)
    kill(words, "retraining", 7)
    assert main(words) == cli.OK
    (folder,), (expected,) = folders(), folders("expected")
    assert outcome(folder) == outcome(expected)
    kept = [[strip(row) for row in rows(path / "candidates.csv")] for path in (folder, expected)]
    assert kept[0] == kept[1]


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def strip(row: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in row.items() if "seconds" not in key and "latency" not in key}


def test_recboles_own_models_go_on_between_epochs(data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ("--model=SASRec", *SMALL, "--n_layers=1", "--inner_size=8")
    assert main([*words, "--runs_dir=expected"]) == cli.OK
    kill([*words, "--checkpoint_interval=0"], "epoch", 3)
    capfd.readouterr()
    assert main([*words, "--checkpoint_interval=0"]) == cli.OK
    screen = capfd.readouterr().out
    assert "going on with the unfinished run" in screen
    assert "epoch 2/4" not in screen
    (folder,) = folders()
    assert outcome(folder) == outcome(folders("expected")[0])


@pytest.mark.parametrize(
    ("number", "where"),
    [
        (signal.SIGINT, "block training"),
        (signal.SIGTERM, "ranking"),
        (signal.SIGTERM, "retraining"),
        (signal.SIGINT, "evaluation"),
    ],
)
def test_a_signal_saves_says_how_to_go_on_and_has_its_exit_code(
    number: int, where: str, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert in_a_child(SEARCH, number, where, 2) == 128 + number
    said = capfd.readouterr().err
    assert said.startswith("error: terminated;" if number == signal.SIGTERM else "error: interrupted;")
    assert "to continue, run: python run_nasr.py --model=NASRSearch --search_preset=paper --dataset=toy" in said
    (folder,) = folders()
    assert facts(folder)["status"] == "interrupted"
    kept = Keeper(folder / "resume")
    assert kept.load() is not None
    if where.endswith("training"):  # the step in progress was finished
        part, steps = ("block", "step_losses") if where.startswith("block") else ("epoch", "losses")
        assert len(kept.take(part)[steps]) == 2


def test_a_finished_run_is_not_gone_on_with_and_fresh_leaves_an_unfinished_one(data: Path) -> None:
    kill(NETWORK, "retraining", 2)
    assert main([*NETWORK, "--fresh"]) == cli.OK
    unfinished, fresh = folders()
    assert (facts(unfinished)["status"], facts(fresh)["status"]) == ("running", "finished")
    assert main(NETWORK) == cli.OK
    assert len(folders()) == 3  # the latest run was finished
    assert facts(unfinished)["status"] == "running"


def test_other_settings_another_seed_and_other_data_are_another_run(data: Path) -> None:
    kill(NETWORK, "retraining", 2)
    for change in ("--seed=3", "--learning_rate=0.01", "--run_name=b"):
        assert main([*NETWORK, change]) == cli.OK
    file = data / "toy" / "toy.inter"
    file.write_text(file.read_text() + "u11\ti1\t9\n")
    assert main(NETWORK) == cli.OK
    assert [facts(folder)["status"] for folder in folders()].count("finished") == 4
    assert len(folders()) == 5


@pytest.mark.parametrize("text", ["[" * 100_000, "{", "[]", '{"key": "k"}', '{"key": "k", "schema_version": 99}'])
def test_what_other_folders_say_of_themselves_stops_nobody(text: str, tmp_path: Path) -> None:
    strange = tmp_path / "runs" / "toy" / "20990101-000000-NASR"
    strange.mkdir(parents=True)
    (strange / "run.json").write_text(text)
    with opened_run(RunPlace(tmp_path / "runs", "toy", "NASR"), "k", fresh=False, interval=1.0) as (folder, kept):
        assert (folder.path == strange) == (text == '{"key": "k"}')
        assert kept.load() is None


def test_a_run_that_another_process_has_is_left_alone(data: Path) -> None:
    kill(NETWORK, "retraining", 2)
    (folder,) = folders()
    with FileLock(folder / ".lock"):
        assert main(NETWORK) == cli.OK
    assert [facts(path)["status"] for path in folders()] == ["running", "finished"]


@pytest.mark.parametrize("damage", ["torn", "flipped", "both"])
def test_a_damaged_state_is_noticed_and_the_one_before_is_used(
    damage: str, data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main([*NETWORK, "--runs_dir=expected"]) == cli.OK
    kill([*NETWORK, "--checkpoint_interval=0"], "retraining", 8)
    (folder,) = folders()
    for name in ("state.pt", "previous.pt")[: 2 if damage == "both" else 1]:
        content = bytearray((folder / "resume" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / "resume" / name).write_bytes(content[: 5000 if damage == "torn" else None])
    assert main([*NETWORK, "--checkpoint_interval=0"]) == cli.OK
    assert outcome(folder) == outcome(folders("expected")[0])
    assert capfd.readouterr().out.count("is damaged: its checksum does not fit") == 1 + (damage == "both")


def test_a_comparison_takes_over_what_was_finished_and_goes_on(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model=GRU4Rec,NASR", *SMALL, "--architecture=gru4rec", "--n_layers=1", "--n_blocks=1"]
    assert main([*words, "--runs_dir=expected"]) == cli.OK
    kill([*words, "--checkpoint_interval=0"], "retraining", 5)
    assert main(words) == cli.OK
    assert len(folders(label="GRU4Rec")) == len(folders(label="NASR")) == 1
    for label in ("GRU4Rec", "NASR"):
        assert outcome(folders(label=label)[0]) == outcome(folders("expected", label)[0])
    tables = [path.read_text().split("\n\n- ")[0] for path in Path().glob("*/toy/*-comparison/comparison.md")]
    assert len(tables) == 2
    assert not list(Path("runs/toy").glob(".*"))
    assert main(words) == cli.OK
    assert len(folders(label="GRU4Rec")) == 2  # a finished comparison is made anew


def test_one_model_more_changes_no_number_of_the_others(data: Path) -> None:
    words = [*SMALL, "--architecture=sasrec-1", "--n_layers=1", "--n_blocks=1", "--hidden_dropout_prob=0.2"]
    assert main(["--model=NASR", *words, "--runs_dir=alone"]) == cli.OK
    assert main(["--model=GRU4Rec,NASR", *words]) == cli.OK
    assert outcome(folders(label="NASR")[0]) == outcome(folders("alone")[0])


def test_the_disk_being_full_is_said_and_loses_nothing(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    kill([*NETWORK, "--checkpoint_interval=0"], "retraining", 4)
    (folder,) = folders()
    before = (folder / "resume" / "state.pt").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(keeper, "write_state", full)
    monkeypatch.setattr(NASRTrainer, "evaluate", lambda *_, **__: os.kill(os.getpid(), signal.SIGINT))
    assert main([*NETWORK, "--checkpoint_interval=0"]) == cli.INTERRUPTED
    assert (folder / "resume" / "state.pt").read_bytes() == before
    assert capsys.readouterr().out.count("could not be saved (No space left on device); it goes on") == 1
