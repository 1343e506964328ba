from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from recbole_nasr.commands import cli
from recbole_nasr.quick_start import run_recbole

WORDS = {
    "data_path": "data",
    "epochs": 2,
    "eval_step": 1,
    "hidden_size": 8,
    "train_batch_size": 32,
    "n_layers": 2,
    "n_blocks": 2,
    "search_epochs": 1,
    "search_min_steps": 0,
    "search_holdout_ratio": 0.3,
    "topk": [2, 5],
    "search_verify": 1,
    "search_verify_random": 1,
    "halving_epochs": 1,
}


def test_a_verified_search_end_to_end(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = [f"--{key}={value}" for key, value in WORDS.items()]
    assert cli.main(["--model=NASRSearch", "--dataset=toy", "--device=cpu", *line]) == cli.OK
    shown = capsys.readouterr().out
    assert shown.index("epochs, ") < shown.index("candidate 1/")  # the cost is said before the first is trained
    (folder,) = Path("runs/toy").glob("*NASRSearch")
    with (folder / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    metrics = json.loads((folder / "metrics.json").read_text())
    winner = max(rows, key=lambda row: float(row["score"]))
    assert metrics["valid"]["ndcg@5"] == float(winner["score"])
    content = json.loads((folder / "architecture.json").read_text())
    assert "/".join(",".join(block) for block in content["blocks"]) == winner["architecture"]
    assert {"search", "verification", "training"} <= json.loads((folder / "run.json").read_text())["seconds"].keys()
    assert (folder / "front.svg").is_file()
    described = (Path(__file__).parents[2] / "docs" / "files.md").read_text(encoding="utf-8")
    for path in folder.rglob("*.*"):
        name = path.relative_to(folder).as_posix()
        if not name.startswith("tensorboard/"):
            name = re.sub(r"block-\d+", "block-N", name)
            name = f"{path.stem}." if path.suffix in (".svg", ".png") else name
            assert f"`{name}" in described or f"/{name}" in described, name

    # RecBole's own entry comes to the same network and the same numbers.
    config = {**WORDS, "metrics": ["NDCG", "Recall"], "valid_metric": "NDCG@5", "metric_decimal_place": 8, "gpu_id": ""}
    result = run_recbole(model="NASRSearch", dataset="toy", config_dict=config)
    assert dict(result["test_result"]) == metrics["test"]

    # Random search for as long as that took, named by its folder.
    again = [word for word in line if not word.startswith(("--search_", "--halving_"))]
    again += ["--search_preset=random", f"--search_time={folder}", "--run_name=random"]
    assert cli.main(["--model=NASRSearch", "--dataset=toy", "--device=cpu", *again]) == cli.OK
    (other,) = Path("runs/toy").glob("*random")
    assert {row["origin"] for row in csv.DictReader((other / "candidates.csv").open())} == {"random"}


def test_a_bad_strategy_is_one_line_before_anything_runs(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--model=NASRSearch", "--dataset=toy", "--data_path=data", "--device=cpu", "--topk=[2]"]
    for word, part in [
        ("--search_strategy=evolution", "--search_preset=evolution"),
        ("--max_flops=-1", "positive"),
        ("--search_time=nowhere", "finished run"),
    ]:
        assert cli.main([*words, word]) == cli.USER_ERROR
        assert part in capsys.readouterr().err
    assert not Path("runs").exists()
