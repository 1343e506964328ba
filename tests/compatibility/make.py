"""Makes the folder of runs that every later version must read: python tests/compatibility/make.py v1.

Run it once when a schema version rises, under a new name; the folders of earlier versions stay as they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

from recbole_nasr import load
from recbole_nasr.cli import main
from recbole_nasr.documents import read_document
from recbole_nasr.results import SCHEMA as METRICS
from recbole_nasr.runs import SCHEMA as RUN
from recbole_nasr.settings_file import read_settings
from recbole_nasr.studies.record import ResultRecord, result_key, result_settings

TINY = ["--hidden_size=8", "--epochs=1", "--device=cpu", "--topk=[5,10,20]", "--seed=3"]
DATA = ["--dataset=mine", "--data_path=data", "--source=events.csv", "--min_user_interactions=1"]
LEFT_OUT = ("tensorboard", "*.png", "*.svg", "*.log", "state*", "*.part", ".*")


def make(target: Path) -> None:
    """Write the runs, the prepared data and a result record into ``target``."""
    rows = (f"u{user},i{(7 * user + step * step) % 30},{step}" for user in range(25) for step in range(8))
    Path("events.csv").write_text("\n".join(["user,item,time", *rows]) + "\n")
    search = ["--candidate_ops=[transformer_h2,tcn_d1_2]", "--n_layers=1", "--n_blocks=1", "--search_epochs=1"]
    if main(["--model=NASRSearch", "--run_name=search", *search, *DATA, *TINY]):
        sys.exit("the search failed")
    if main(["--model=NASR", "--run_name=network", "--architecture=tcn_d1_2", *DATA, *TINY]):
        sys.exit("the training failed")
    for path in Path("runs/mine").iterdir():
        shutil.copytree(path, target / "runs" / "mine" / path.name[16:], ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.copytree("data", target / "data", ignore=shutil.ignore_patterns(".*"))
    record(target / "runs" / "mine" / "NASR-network").save(target / "results")
    expected = {path.name: recommended(path) for path in (target / "runs" / "mine").iterdir()}
    (target / "recommended.json").write_text(json.dumps(expected, indent=1) + "\n")


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


if __name__ == "__main__":
    place = Path(__file__).parent / sys.argv[1]
    scratch = tempfile.mkdtemp()
    sys.argv = sys.argv[:1]
    os.chdir(scratch)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, scratch)
        make(place)
