from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_nasr.errors import DataError
from recbole_nasr.report.comparison_figure import save_comparison_figure
from recbole_nasr.report.drawing import architecture_drawing
from recbole_nasr.report.intervals import differences, differences_text, metric_intervals
from recbole_nasr.report.screen import last_screen, next_commands, save_comparison
from recbole_nasr.report.table import markdown_table, text_table
from recbole_nasr.runs.results import RunResult, load_ranks, save_ranks
from recbole_nasr.space import Architecture
from recbole_nasr.statistics import mean_and_interval, metric_per_case

Make = Callable[..., RunResult]

GOOD = np.tile([1, 2, 30, 4], 50)
BAD = np.tile([9, 18, 30, 16], 50)


@pytest.fixture
def make_tested(make_result: Make) -> Make:
    """Results whose ranks are saved, the sequences in the given order."""

    def make(model: str, ranks: np.ndarray, *, reverse: bool = False, **changes: object) -> RunResult:
        result = make_result(model, float(metric_per_case(ranks, "ndcg@20").mean()), **changes)
        order = range(len(ranks))[:: -1 if reverse else 1]
        names = [f"s{number:03d}" for number in order]
        save_ranks(result.folder, names, ["t"] * len(names), torch.tensor(ranks[list(order)]))
        return result

    return make


def test_saved_ranks_come_back_in_the_order_of_their_sequences(make_tested: Make) -> None:
    frame = load_ranks(make_tested("NASR", GOOD, reverse=True).folder.path)
    assert frame["sequence"].tolist() == sorted(frame["sequence"])
    assert frame["rank"].tolist() == GOOD.tolist()


def test_ranks_that_are_not_there_are_named_with_the_status_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ranks.csv.gz, but there is no such file \(status: failed\). .*sampled items"):
        load_ranks(tmp_path, "failed")


def test_intervals_are_those_of_the_cases_and_of_metrics_that_cases_have(make_tested: Make) -> None:
    result = make_tested("NASR", GOOD, test={"ndcg@20": 0.5, "recall@20": 0.75, "averagepopularity@20": 3.0})
    found = metric_intervals(result)
    assert list(found) == ["ndcg@20", "recall@20"]
    assert found["recall@20"] == mean_and_interval(metric_per_case(GOOD, "recall@20"), 0)[1]
    assert found["recall@20"][0] < 0.75 < found["recall@20"][1]


def test_without_saved_ranks_there_are_no_intervals_and_no_differences(make_result: Make) -> None:
    results = [make_result("NASR"), make_result("SASRec")]
    assert metric_intervals(results[0]) == {}
    assert differences(results) == []


def test_differences_are_paired_whatever_the_order_of_the_cases(make_tested: Make) -> None:
    better, worse = make_tested("NASR", GOOD), make_tested("SASRec", BAD, reverse=True)
    same = make_tested("GRU4Rec", GOOD, reverse=True)
    found = differences([better, worse, same])
    values = [metric_per_case(ranks, "ndcg@20").mean() for ranks in (GOOD, BAD)]
    assert found[0].found.mean_difference == pytest.approx(values[0] - values[1])
    assert [one.verdict for one in found] == ["better", "no clear difference"]
    assert found[1].found.mean_difference == 0
    assert [one.verdict for one in differences([worse, better])] == ["worse"]
    assert replace(found[0], p_adjusted=0.05).verdict == "no clear difference"  # as studies have it: below the level
    lines = differences_text(found, "NASR").splitlines()
    assert lines[0] == "NASR against each other one, NDCG@20, on the same test cases"
    assert lines[1].endswith("better")
    assert lines[2] == "  GRU4Rec  +0.0000 [+0.0000, +0.0000]  p 1.000  no clear difference"


def test_other_cases_or_another_treatment_of_the_history_are_not_compared(make_tested: Make) -> None:
    first = make_tested("NASR", GOOD)
    assert differences([first, make_tested("SASRec", BAD[:-1])]) == []
    assert differences([first, make_tested("NASR", BAD, masks_history=True)]) == []


def test_tables_show_the_interval_with_its_metric(make_tested: Make) -> None:
    results = [make_tested("NASR", GOOD), make_tested("NASR", BAD, label="SASRec-1")]
    intervals = [metric_intervals(result) for result in results]
    low, high = (f"{end:.4f}".removeprefix("0") for end in intervals[0]["ndcg@20"])
    lines = text_table(results, intervals).splitlines()
    assert len(lines) == 6
    assert f"{low}-{high}" in lines[3]
    assert lines[4].startswith("SASRec-1 ")
    header, _, row, _ = markdown_table(results, intervals).splitlines()
    assert f"({low}-{high})" in row.split("|")[header.split("|").index(" NDCG@20 ")]


def test_a_comparison_keeps_intervals_differences_and_a_figure(make_tested: Make, tmp_path: Path) -> None:
    results = [make_tested("NASR", GOOD), make_tested("SASRec", BAD)]
    folder = save_comparison(results, tmp_path / "runs", "")
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        assert float(row["NDCG@20 low"]) < float(row["NDCG@20"]) < float(row["NDCG@20 high"])
    text = (folder / "comparison.md").read_text()
    assert "![the test metrics with their intervals](comparison.svg)" in text
    assert "SASRec  +0." in text
    assert (folder / "comparison.png").stat().st_size > 1000
    screen = last_screen(results, folder)
    assert "SASRec  +0." in screen
    assert "comparison.png" in screen


def test_equal_comparisons_give_equal_figures(make_tested: Make, tmp_path: Path) -> None:
    results = [make_tested("NASR", GOOD), make_tested("SASRec", BAD)]
    intervals = [metric_intervals(result) for result in results]
    files = [save_comparison_figure(results, intervals, tmp_path / name)[0].read_bytes() for name in ("a", "b")]
    assert files[0] == files[1]
    assert b"comparison" not in files[0]


def test_the_drawing_has_a_sign_for_the_kind_of_every_layer() -> None:
    lines = architecture_drawing(Architecture.parse("transformer_h4,tcn_d1_2/lru,skip")).splitlines()
    assert lines == [
        "items → embedding + positions",
        " │ block 1   ▓ transformer_h4  ░ tcn_d1_2",
        " │ block 2   ≈ lru             · skip",
        " ▼",
        "output layer → scores of all items      ▓ self-attention  ░ convolution  ≈ recurrent  · skip",
    ]


def test_the_next_commands_use_the_run_for_somebody_in_its_data(make_tested: Make) -> None:
    result = make_tested("NASR", GOOD)
    commands = next_commands([result]).values()
    assert any(f"--recommend={result.folder.path} --user=s000 " in line for line in commands)
    assert any(f"--export=torch --run={result.folder.path}" in line for line in commands)
    own = [line for line in next_commands([result], ["--ops_module=my ops.py"]).values() if "tensorboard" not in line]
    assert all("'--ops_module=my ops.py'" in line for line in own)  # no file but that one says what its layers are
    theirs = next_commands([make_tested("SASRec", GOOD)]).values()
    assert not any("--export" in line for line in theirs)
