from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from recbole_nasr.report.candidates import candidates_table, candidates_verdict
from recbole_nasr.report.front_figure import save_front_figure
from recbole_nasr.report.markdown import save_report
from recbole_nasr.report.screen import last_screen, next_commands
from recbole_nasr.runs.candidates import Fronts, trained_fronts
from recbole_nasr.runs.results import RunResult, save_result
from recbole_nasr.search.costs import CostTable
from recbole_nasr.search.result import SearchResult
from recbole_nasr.search.shortlist import Candidate
from recbole_nasr.space import Architecture
from recbole_nasr.trainer.candidates import Trained
from recbole_nasr.trainer.verification import Verification

COSTS = CostTable(
    ("transformer_h4", "tcn_d1_2", "tcn_d1_4"),
    np.array([[30.0, 3e6, 0.5], [20.0, 2e6, 0.75], [10.0, 1e6, 0.25]]),
    np.array([1000.0, 1e6, 0.125]),
    "cpu",
)


def one(text: str, origin: str, score: float, *, stopped: bool = False, failure: str = "") -> Trained:
    architecture = Architecture.parse(text)
    return Trained(
        candidate=Candidate(architecture, (origin,)),
        score=score,
        best_epoch=2,
        epochs=4,
        scores={2: score, 4: score / 2},
        stopped=stopped,
        seconds=1.0,
        costs=COSTS.of(architecture.layers),
        failure=failure,
    )


@pytest.fixture
def found() -> Verification:
    trained = (
        one("tcn_d1_4/tcn_d1_4", "pure", 0.2),
        one("transformer_h4/transformer_h4", "pure", 0.1),
        one("tcn_d1_2/transformer_h4", "search", 0.25),
        one("tcn_d1_2/tcn_d1_4", "tied", 0.3, stopped=True),
        one("tcn_d1_4/tcn_d1_2", "random", math.nan, failure="the loss, not finite"),
    )
    return Verification(
        trained=trained,
        metric="ndcg@20",
        bigger=True,
        kept=("pure",),
        rungs=(4, 8),
        left_out=("skip",),
        planned_epochs=20,
        epoch_seconds=0.5,
        seconds=90.0,
    )


def test_the_front_has_only_what_was_trained_to_its_end(found: Verification) -> None:
    # Parameters: 1020, 1060, 1050; latency: 0.625, 1.125, 1.375. The second is worse and no cheaper than the first.
    assert dict(trained_fronts(found)) == {"parameters": (0, 2), "flops": (0, 2), "latency_ms": (0, 2)}
    assert dict(trained_fronts(replace(found, bigger=False)))["parameters"] == (0, 1)


def test_candidates_are_listed_best_first_with_their_fate(found: Verification) -> None:
    ended = replace(found, trained=tuple(one for one in found.trained if not one.stopped))
    rows = [line.split(" | ") for line in candidates_table(ended).splitlines()[2:]]
    assert [row[0].strip("| ") for row in rows] == ["search (taken)", "pure tcn_d1_4", "pure transformer_h4", "random"]
    assert [row[1] for row in rows] == ["0.2500", "0.2000", "0.1000", "nan"]
    assert rows[3][-1].strip(" |") == "failed: the loss, not finite"


def test_the_verdict_holds_the_winner_against_the_best_pure_network(found: Verification, search: SearchResult) -> None:
    ended = replace(found, trained=tuple(one for one in found.trained if not one.stopped))
    lines = candidates_verdict(ended, search)
    assert lines[0].startswith("4 networks were trained for 16 epochs in 1 min 30 s; taken was search, ndcg@20 0.2500")
    assert lines[1] == "It validates 25.0% better than the best pure network (tcn_d1_4), ndcg@20 0.2000."
    assert lines[2] == "Over budget and left out: pure skip."
    alone = candidates_verdict(replace(found, trained=(replace(found.trained[0], epochs=1),)), search)
    assert alone[0].startswith("1 network was trained for 1 epoch in 1 min 30 s; taken was ")
    worse = replace(found.trained[2], score=0.0)
    pure = replace(found, trained=(*found.trained[:2], worse))
    assert "nothing the search proposed validates better" in candidates_verdict(pure, search)[1]
    assert "no hybrid that was trained validates better" in candidates_verdict(pure, None)[1]
    assert "; no hybrid was trained." in candidates_verdict(replace(found, trained=found.trained[:2]), None)[1]


def test_the_verdict_holds_predicted_networks_against_random_ones(found: Verification) -> None:
    origins = ("pure", "random", "random", "predicted", "predicted")
    scores = (0.1, 0.1, 0.2, 0.3, 0.2)
    trained = tuple(
        replace(found.trained[0], candidate=replace(found.trained[0].candidate, origins=(origin,)), score=score)
        for origin, score in zip(origins, scores, strict=True)
    )
    said = "Networks that the trained ones predicted to be good have ndcg@20 0.2500 on average, random ones 0.1500."
    assert said in candidates_verdict(replace(found, trained=trained), None)


def test_files_report_and_screen_tell_of_the_candidates(
    make_result: Callable[..., RunResult], search: SearchResult, found: Verification
) -> None:
    result = make_result(
        "NASRSearch",
        architecture=found.winner.candidate.architecture,
        search=search,
        costs=COSTS,
        verification=found,
        device="Some CPU",
    )
    save_result(result)
    save_report(result, ["run"])
    folder = result.folder.path
    with (folder / "candidates.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["origin"] for row in rows] == ["pure", "pure", "search", "tied", "random"]
    assert json.loads(rows[0]["scores"]) == {"2": 0.2, "4": 0.1}
    content = json.loads((folder / "candidates.json").read_text())
    assert (content["winner"], content["epochs"], content["planned_epochs"]) == ("tcn_d1_2/tcn_d1_4", 20, 20)
    with (folder / "front.csv").open() as file:
        front = list(csv.DictReader(file))
    assert [row["score"] for row in front if (row["by"], row["against"]) == ("validation", "parameters")] == [
        "0.2",
        "0.25",
    ]
    assert {row["against"] for row in front if row["by"] == "search"} == {"parameters", "flops", "latency_ms"}
    report = (folder / "report.md").read_text()
    assert "## From shortlist to winner" in report
    assert "medians at batch 1 on Some CPU" in report
    assert (folder / "front.svg").stat().st_size > 0
    assert "5 networks were trained" in last_screen([result])
    assert not any("search_verify" in command for command in next_commands([result]).values())


def test_an_unverified_network_is_said_to_be_one(make_result: Callable[..., RunResult], search: SearchResult) -> None:
    result = make_result("NASRSearch", architecture=search.architecture, search=search, costs=COSTS)
    save_report(result, ["run"])
    assert "taken on the score of the search alone" in (result.folder.path / "report.md").read_text()
    assert any("--search_verify=3" in command for command in next_commands([result]).values())


def test_the_figure_is_the_same_file_for_the_same_run(
    make_result: Callable[..., RunResult], found: Verification
) -> None:
    folder = make_result().folder.path
    fronts = Fronts(trained=trained_fronts(found))
    first, second = (save_front_figure(fronts, found, folder / name, "title") for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert save_front_figure(Fronts(), None, folder / "c", "title") == []
