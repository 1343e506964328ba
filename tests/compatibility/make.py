"""Makes the folder of runs that every later version must read: python tests/compatibility/make.py v1 [PART...].

Run it once when a schema version rises, under a new name; the folders of earlier versions stay as they are. A part is a
kind of files that came later: ``verified``, ``interrupted`` or ``study``.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from recbole_nasr import load
from recbole_nasr.commands.cli import main
from recbole_nasr.configuration.files import read_settings
from recbole_nasr.documents import RUN_SCHEMA as RUN
from recbole_nasr.documents import read_document
from recbole_nasr.keeping import Keeper
from recbole_nasr.runs.results import SCHEMA as METRICS
from recbole_nasr.studies.record import ResultRecord, result_key, result_settings

TINY = ["--hidden_size=8", "--epochs=1", "--device=cpu", "--topk=[5,10,20]", "--seed=3"]
DATA = ["--dataset=mine", "--data_path=data", "--source=events.csv", "--min_user_interactions=1"]
LEFT_OUT = ("tensorboard", "*.png", "*.svg", "*.log", "state*", "*.part", ".*")


SEARCH = ["--candidate_ops=[transformer_h2,tcn_d1_2]", "--n_layers=1", "--n_blocks=1", "--search_epochs=1"]
LONGER = [
    "--n_layers=2",
    "--n_blocks=2",
    "--epochs=3",
    "--eval_step=1",
    "--train_batch_size=8",
    "--search_batch_size=8",
]
GOES_ON = [*SEARCH[:1], *SEARCH[3:], *LONGER, *(word for word in TINY if "epochs" not in word)]
STUDY = """\
title: Two networks
paper: none
claim: none
runs:
    Attention: {model: NASR, settings: {architecture: transformer_h2}}
    Convolution: {model: NASR, settings: {architecture: tcn_d1_2}}
seeds: [3]
"""
STORAGES = {"sqlite": "sqlite:///kept.db", "journal": "kept.log"}


def write_events() -> None:
    """Write ``events.csv``: 25 users with 8 of 30 items each."""
    rows = (f"u{user},i{(7 * user + step * step) % 30},{step}" for user in range(25) for step in range(8))
    Path("events.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")


def make(target: Path) -> None:
    """Write the runs, the prepared data and a result record into ``target``."""
    write_events()
    if main(["--model=NASRSearch", "--run_name=search", *SEARCH, *DATA, *TINY]):
        sys.exit("the search failed")
    if main(["--model=NASR", "--run_name=network", "--architecture=tcn_d1_2", *DATA, *TINY]):
        sys.exit("the training failed")
    for path in Path("runs/mine").iterdir():
        shutil.copytree(path, target / "runs" / "mine" / path.name[16:], ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree("data", target / "data", ignore=shutil.ignore_patterns(".*"))
    record(target / "runs" / "mine" / "NASR-network").save(target / "results")
    expected = {path.name: recommended(path) for path in (target / "runs" / "mine").iterdir()}
    (target / "recommended.json").write_text(json.dumps(expected, indent=1) + "\n")


def make_verified(target: Path) -> None:
    """Write a run that trained the candidates of its search."""
    write_events()
    if main(["--model=NASRSearch", "--run_name=verified", "--search_verify=1", *SEARCH, *DATA, *TINY]):
        sys.exit("the search failed")
    (run,) = Path("runs/mine").iterdir()
    shutil.copytree(run, target / "verified" / run.name[16:], ignore=shutil.ignore_patterns(*LEFT_OUT))


def make_interrupted(target: Path) -> None:
    """Write runs that were killed, with the state they go on from, and what they find when they are not killed."""
    write_events()
    words = ["--model=NASRSearch", *GOES_ON, *DATA, "--checkpoint_interval=0"]
    points: dict[str, Callable[[Keeper, dict[str, Any]], bool]] = {
        "search": lambda _, parts: len(parts["block"]["step_losses"]) == 2 if "block" in parts else False,
        "training": lambda keeper, parts: bool(keeper._attached) and parts["training"]["epoch"] == 1,
    }
    for name, reached in points.items():
        killed_where(reached, [*words, f"--run_name={name}"])
        (run,) = Path("runs/mine").glob(f"*-{name}")
        kept = target / "interrupted" / run.name
        for file in (
            "run.json",
            "settings.yaml",
            "resume/state.pt",
            *(f"resume/{p.name}" for p in run.glob("resume/*.pth")),
        ):
            (kept / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run / file, kept / file)
    if main([*words, "--run_name=training"]):
        sys.exit("the training did not go on")
    (run,) = Path("runs/mine").glob("*-training")
    shutil.copyfile(run / "metrics.json", target / "interrupted" / "metrics.json")
    (target / "interrupted" / "command.json").write_text(json.dumps(words) + "\n")


def killed_where(reached: Callable[[Keeper, dict[str, Any]], bool], words: list[str]) -> None:
    """Run a command in a process that ends without a word once a state has been saved for which ``reached`` holds."""
    if os.fork() == 0:
        save = Keeper.save

        def save_and_die(self: Keeper) -> None:
            save(self)
            if reached(self, {name: capture() for name, capture in self._parts.items()}):
                os._exit(0)

        Keeper.save = save_and_die
        main(words)
        os._exit(1)
    if os.wait()[1]:
        sys.exit("the run was not killed")


def make_study(target: Path) -> None:
    """Write a study of which one of two runs is finished, in both kinds of storage."""
    write_events()
    Path("two.yaml").write_text(STUDY)
    socket.gethostname = lambda: "kept"
    for name, storage in STORAGES.items():
        words = ["--study=two.yaml", *DATA, *TINY[:-1], f"--storage={storage}", f"--runs_dir=runs-{name}"]
        if main([*words, "--n_trials=1"]):
            sys.exit("the study failed")
        kept = target / "study" / name
        shutil.copytree(f"runs-{name}/mine/runs", kept / "results")
        shutil.copyfile(storage.removeprefix("sqlite:///"), kept / Path(storage).name)


def recommended(run: Path) -> dict[str, list[object]]:
    """Return what a run recommends for two histories."""
    top = load(run, device="cpu").recommend([["i0", "i8"], ["i5"]], k=5, as_numpy=True)
    return {"items": top.items.tolist(), "scores": top.scores.ravel().round(6).tolist()}


def record(folder: Path) -> ResultRecord:
    """Return the record of a run, as a study keeps it."""
    run, metrics = read_document(folder / "run.json", RUN, 1), read_document(folder / "metrics.json", METRICS, 1)
    settings = read_settings(folder / "config.yaml")
    names = ("model", "dataset", "seed", "valid", "test", "epochs", "best_epoch", "n_parameters", "data")
    return ResultRecord(
        key=result_key("NASR", "mine", settings),
        settings=result_settings(settings),
        architecture="tcn_d1_2",
        seconds=run["seconds"],
        step_seconds=0.0,
        device_name=run["device_name"],
        environment=run["environment"],
        run=f"runs/mine/{folder.name}",
        **{name: metrics[name] for name in names},
    )


PARTS = {"verified": make_verified, "interrupted": make_interrupted, "study": make_study}

if __name__ == "__main__":
    place = Path(__file__).resolve().parent / sys.argv[1]
    parts = [PARTS[name] for name in sys.argv[2:]] or [make, *PARTS.values()]
    sys.argv = sys.argv[:1]
    for part in parts:
        scratch = tempfile.mkdtemp()
        os.chdir(scratch)
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, scratch)
            part(place)
