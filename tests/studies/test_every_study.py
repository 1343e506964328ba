"""Every shipped study from the command line to its pages, with a stand-in for the training."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from recbole_nasr.commands import cli
from recbole_nasr.configuration.resources import available
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.runs.results import DataCounts, RunResult
from recbole_nasr.space import Architecture
from recbole_nasr.studies.definition import FOLDER, StudyDefinition
from recbole_nasr.studies.shortfalls import REQUIREMENTS

from .conftest import TOY

OWN_COMMAND = {"fidelity"}
"""Studies whose runs are not all trainings; they have tests of their own."""

WORDS = {"transfer": ["--target=other"], "tune": ["--pruner=none"]}

NAMES = [name for name in available(FOLDER) if name not in OWN_COMMAND]


@pytest.fixture
def trained(crowd: Path, write_inter: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Put a stand-in for the training in place; return the settings of every run that it makes."""
    made: list[dict[str, Any]] = []

    def run_model(
        model: str, dataset: str, files: Sequence[Path], folder: RunFolder, *, on_validation: Any, **_: object
    ) -> RunResult:
        settings = yaml.safe_load(files[0].read_text())
        made.append(settings)
        draw = random.Random(len(made))
        folder.write_json("run.json", {"device_name": "a stand-in"})
        ranks = [draw.randint(1, 9) for _ in range(16)]
        folder.write_csv(
            "ranks.csv.gz", ("sequence", "target", "rank"), [(f"u{n}", "i", r) for n, r in enumerate(ranks)]
        )
        on_validation(0, draw.random())
        scores = {"ndcg@2": draw.random(), "ndcg@5": draw.random()}
        depth = int(settings.get("n_layers", 4))
        return RunResult(
            model=model,
            dataset=dataset,
            folder=folder,
            seed=settings["seed"],
            data=DataCounts(16, 10, 128, 16, 16, 16),
            valid=scores,
            test=scores,
            epochs=2,
            best_epoch=2,
            seconds={"search": 1.0, "training": 1.0} if model == "NASRSearch" else {"training": 1.0},
            n_parameters=10,
            step_seconds=0.1,
            architecture=Architecture.parse(",".join(draw.choices(["transformer_h4", "tcn_d1_2"], k=depth))),
        )

    write_inter(((f"u{u}", f"i{(u + s) % 10}", float(s)) for u in range(16) for s in range(8)), name="other")
    monkeypatch.setattr("recbole_nasr.studies.running.run_model", run_model)
    monkeypatch.setattr("recbole_nasr.commands.study.save_report", lambda *_, **__: None)
    return made


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_study_runs_to_its_end_and_leaves_its_pages(name: str, trained: list[dict[str, Any]]) -> None:
    words = [
        f"--study={name}",
        *TOY,
        "--quick",
        "--storage=study.log",
        *WORDS.get(name, []),
    ]  # a journal is the fastest
    assert cli.main(words) == cli.OK
    (folder,) = (path.parent for path in Path("runs/toy").glob("*/report.md"))
    page = (folder / "report.md").read_text()
    assert "Not complete" not in page
    assert "## Failed" not in page
    assert "## What this page falls short of" in page
    with (folder / "runs.csv").open() as file:
        rows = list(csv.DictReader(file))
    definition = StudyDefinition.load(name, quick=True)
    if name == "tune":
        assert (len(trained), len(rows)) == (definition.n_trials, 1)  # of the trials the best by validation alone
    else:
        assert len(trained) == len(rows) == page_count(definition, n_datasets=2 if name == "transfer" else 1)
        assert {row["row"] for row in rows} == {run.label for run in definition.runs}
    if name == "transfer":  # each data set is given what was found on the other
        given = {(row["dataset"], row["row"]): row["architecture"] for row in rows}
        asked = {one["dataset"]: one["architecture"] for one in trained if len(str(one.get("architecture"))) > 20}
        assert asked == {"toy": given["other", "NASR"], "other": given["toy", "NASR"]}
    document = (folder / "report.html").read_text()
    assert "<svg" in document or name == "tune"
    for outside in ("http:", "https:", "<script", "<link", "@import", 'src="figure'):
        assert outside not in document.replace("http://www.w3.org/", "")  # the name of SVG, which nothing fetches
    records = [path for path in Path("runs").rglob("*.json") if path.parent.name == "runs"]
    assert len(records) == len(trained)
    assert all(path.with_suffix(".ranks.csv.gz").is_file() for path in records)
    assert all(str(Path.cwd()) not in path.read_text() for path in records)


def page_count(definition: StudyDefinition, n_datasets: int) -> int:
    """Runs of a study by its own definition: rows x points x seeds x data sets."""
    per_row = [len(definition.seeds_of(run, definition.seeds)) for run in definition.runs]
    return sum(per_row) * len(definition.points()) * n_datasets


@pytest.mark.parametrize("name", NAMES)
def test_a_study_names_requirements_that_exist(name: str) -> None:
    assert set(StudyDefinition.load(name).needs) <= set(REQUIREMENTS)
