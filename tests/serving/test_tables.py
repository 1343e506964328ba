from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from recbole_nasr.commands.cli import main
from recbole_nasr.errors import DataError
from recbole_nasr.serving.tables import METRICS, comparison_text, runs_text
from recbole_nasr.statistics import holm, metric_per_case, paired_comparison


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, ranks: list[int], targets: str = "t", reverse: bool = False, **metrics: Any) -> Path:
        folder = tmp_path / "runs" / "toy" / name
        folder.mkdir(parents=True)
        (folder / "run.json").write_text(json.dumps({"model": "NASR", "status": "finished", "seed": 1}))
        content = {"test": {"ndcg@10": 0.125}, "data": {"items": 40}, "mask_history": False, **metrics}
        (folder / "metrics.json").write_text(json.dumps(content))
        rows = [(f"s{number}", f"{targets}{number}", rank) for number, rank in enumerate(ranks)]
        with gzip.open(folder / "ranks.csv.gz", "wt", newline="") as file:
            csv.writer(file).writerows([("sequence", "target", "rank"), *(rows[::-1] if reverse else rows)])
        return folder

    return write


def test_runs_are_listed_newest_first_with_their_results(
    trained: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--list", f"--runs_dir={trained.runs_dir}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "toy (2 runs)"
    found = [line.split() for line in lines[3:]]
    assert [row[:3] for row in found] == [
        [str(trained.sasrec), "SASRec", "finished"],
        [str(trained.nasr), "NASR", "finished"],
    ]
    test = json.loads((trained.nasr / "metrics.json").read_text())["test"]
    assert found[1][5:] == [f"{value:.4f}" for value in list(test.values())[:4]]


def test_data_sets_are_listed_by_name_and_their_newest_run_first(tmp_path: Path) -> None:
    for run in ("shop/1-NASR", "ml/1-NASR", "ml/3-SASRec", "ml/2-NASR"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "run.json").write_text("{}")
    words = [line.split()[0] for line in runs_text(tmp_path).splitlines() if "/" in line]
    assert words == [str(tmp_path / run) for run in ("ml/3-SASRec", "ml/2-NASR", "ml/1-NASR", "shop/1-NASR")]


def test_an_unfinished_run_is_listed_without_results(write_run: Callable[..., Path]) -> None:
    folder = write_run("1", [1, 2])
    (folder / "metrics.json").unlink()
    (folder / "run.json").write_text(json.dumps({"model": "NASR", "status": "interrupted"}))
    assert runs_text(folder.parents[1]).splitlines()[-1].split() == [str(folder), "NASR", "interrupted", "-", "-"]


def test_runs_that_were_tested_in_different_ways_are_marked_in_the_list(write_run: Callable[..., Path]) -> None:
    args = {"split": {"LS": "valid_and_test"}, "mode": {"valid": "full", "test": "full"}}
    ways: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "6": ({}, {"eval_args": args}),
        "5": ({}, {"eval_args": {**args, "mode": {"valid": "full", "test": "uni20"}}}),
        "4": ({"mask_history": True}, {"eval_args": args}),
        "3": ({}, {"eval_args": {**args, "split": {"RS": [0.8, 0.1, 0.1]}}}),
        "2": ({}, {"eval_args": args, "epochs": 3, "MAX_ITEM_LIST_LENGTH": 9}),
        "1": ({"test": {}}, {"eval_args": args}),
    }
    for name, (metrics, settings) in ways.items():
        (write_run(name, [1], **metrics) / "config.yaml").write_text(json.dumps(settings))
    text = runs_text(write_run("0", [1], data={"items": 41}).parents[1])
    lines = [line.split() for line in text.splitlines() if "/toy/" in line]
    assert [line[-1] for line in lines] == ["A", "B", "C", "D", "A", "-", "E"]
    assert text.splitlines()[-6:] == [
        "These runs were tested in different ways; only results with the same letter below `test` compare:",
        "A  full ranking over all items; split LS valid_and_test; 40 items",
        "B  each target ranked among 20 items drawn uniformly, not among all; split LS valid_and_test; 40 items",
        "C  full ranking over all items but those of the history; split LS valid_and_test; 40 items",
        "D  full ranking over all items; split RS [0.8, 0.1, 0.1]; 40 items",
        "E  ranking of mode unknown; 41 items",
    ]


def test_runs_that_were_tested_alike_are_listed_without_a_mark(write_run: Callable[..., Path]) -> None:
    write_run("1", [1])
    header = runs_text(write_run("2", [1]).parents[1]).splitlines()[1]
    assert header.split() == ["run", "model", "status", "seed", "parameters", "ndcg@10"]


def test_a_comparison_is_that_of_the_statistics_on_the_saved_ranks(write_run: Callable[..., Path]) -> None:
    generator = np.random.default_rng(0)
    ranks = [generator.integers(1, 41, 200).tolist() for _ in range(3)]
    runs = [write_run(str(number), own, reverse=number == 1) for number, own in enumerate(ranks)]
    text = comparison_text([str(run) for run in runs])
    pairs = [(0, 1), (0, 2), (1, 2)]
    expected = [
        paired_comparison(metric_per_case(ranks[a], name), metric_per_case(ranks[b], name))
        for a, b in pairs
        for name in METRICS
    ]
    adjusted = holm([one.p_value for one in expected])
    rows = [line.split() for line in text.splitlines() if line[:3] in ("A -", "B -")]
    assert len(rows) == 12
    for row, one, p in zip(rows, expected, adjusted, strict=True):
        assert row[4] == f"{one.mean_difference:+.4f}"
        assert float(row[7]) == pytest.approx(one.p_value, abs=6e-4)
        assert float(row[8]) == pytest.approx(p, abs=6e-4)


def test_a_better_run_is_named(write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    runs = [write_run("bad", [30] * 50), write_run("good", [1, 2] * 25)]
    assert main(["--compare", *map(str, runs)]) == 0
    assert capsys.readouterr().out.count("B better") == 4


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"targets": "other"}, "same test cases"),
        ({"mask_history": True}, "mask_history differs"),
        ({"data": {"items": 41}}, "number of items differs"),
    ],
)
def test_runs_that_cannot_be_compared_are_refused(
    write_run: Callable[..., Path], changes: dict[str, Any], part: str
) -> None:
    runs = [write_run("a", [1, 2, 3]), write_run("b", [1, 2, 3], **changes)]
    with pytest.raises(DataError, match=part):
        comparison_text([str(run) for run in runs])


def describe(folder: Path, data_path: str, dataset: str = "toy", *, versions: bool = True) -> str:
    """Write what a run says of its data; return its folder as text."""
    facts = json.loads((folder / "run.json").read_text())
    said = {"file_versions": {"config.yaml": 1}} if versions else {}
    (folder / "run.json").write_text(json.dumps({**facts, **said, "dataset": dataset}))
    (folder / "config.yaml").write_text(json.dumps({"data_path": data_path, "dataset": dataset}))
    return str(folder)


def test_runs_on_data_prepared_from_other_sources_or_with_other_options_are_refused(
    write_run: Callable[..., Path],
) -> None:
    first = describe(write_run("a", [1, 2, 3]), "data/toy-100k-0123abcd")
    moved = describe(write_run("b", [1, 2, 3]), "/elsewhere/my-data/toy-100k-0123abcd")
    other = describe(write_run("c", [1, 2, 3]), "data/toy-100k-4567abcd")
    assert "3 test cases, the same for all" in comparison_text([first, moved])
    expected = r"/c differ in their prepared data: 'toy-100k-0123abcd' and 'toy-100k-4567abcd'; compare runs of one"
    with pytest.raises(DataError, match=expected):
        comparison_text([first, moved, other])


def test_names_of_prepared_data_are_compared_where_both_runs_have_one_of_this_form(
    write_run: Callable[..., Path],
) -> None:
    new = describe(write_run("a", [1, 2, 3]), "data/toy-0123abcd")
    for name, given in {
        "as it is": {"data_path": "data/toy"},
        "of before": {"data_path": "data/toy-89abcdef", "versions": False},
        "no text": {"data_path": ["toy-89abcdef"]},
        "renamed": {"data_path": "data/other-0123abcd", "dataset": "other"},
    }.items():
        old = describe(write_run(name, [1, 2, 3]), **given)  # type: ignore[arg-type]
        assert "3 test cases, the same for all" in comparison_text([new, old])
    assert "3 test cases, the same for all" in comparison_text([new, str(write_run("no config", [1, 2, 3]))])


def test_data_that_are_read_as_they_are_differ_in_name_interactions_or_the_order_of_their_items(
    write_run: Callable[..., Path],
) -> None:
    def run(name: str, items: str = "xyz", dataset: str = "toy", **counts: int) -> str:
        folder = write_run(name, [1, 2, 3], data={"items": 40, **counts})
        with gzip.open(folder / "items.csv.gz", "wt", newline="") as file:
            csv.writer(file).writerows([("id", "item"), *enumerate(items, start=1)])
        return describe(folder, f"data/{dataset}", dataset)

    first = run("a", actions=9)
    assert "3 test cases, the same for all" in comparison_text([first, run("same", actions=9), run("unknown")])
    for other, words in (
        (run("b", actions=8), "/b differ in their number of interactions: 9 and 8; compare runs of one data set"),
        (run("c", dataset="toys"), "/c differ in their data set: 'toy' and 'toys'; "),
        (run("d", items="xzy"), "/d differ in their item number 2: 'y' and 'z'; "),
        (run("e", items="xy"), "/e differ in their item number 3: 'z' and none; "),
    ):
        with pytest.raises(DataError, match=words):
            comparison_text([first, other])


def test_runs_of_other_data_are_marked_in_the_list(write_run: Callable[..., Path]) -> None:
    for name, key, actions in (("4", "0123abcd", 9), ("3", "0123abcd", 9), ("2", "4567abcd", 9), ("1", "0123abcd", 8)):
        folder = write_run(name, [1], data={"items": 40, "actions": actions})
        describe(folder, f"data/toy-{key}")
        text = runs_text(folder.parents[1])
    lines = [line.split() for line in text.splitlines() if "/toy/" in line]
    assert [line[-1] for line in lines] == ["A", "A", "B", "C"]
    assert [line.partition("; ")[2] for line in text.splitlines()[-3:]] == [
        "40 items, 9 interactions; prepared as toy-0123abcd",
        "40 items, 9 interactions; prepared as toy-4567abcd",
        "40 items, 8 interactions; prepared as toy-0123abcd",
    ]


def test_runs_of_one_preparation_and_those_that_name_none_have_one_letter(write_run: Callable[..., Path]) -> None:
    describe(write_run("2", [1]), "data/toy-0123abcd")
    text = runs_text(Path(describe(write_run("1", [1]), "data/toy-89abcdef", versions=False)).parents[1])
    assert text.splitlines()[1].split()[-1] == "ndcg@10"


def test_two_sources_that_share_only_the_last_items_are_other_data(capsys: pytest.CaptureFixture[str]) -> None:
    def train(source: str, factor: int) -> None:
        rows = [
            f"u{user},i{(factor * (5 - step) * (user + 1) + user) % 9},{step}" for user in range(9) for step in range(6)
        ]
        ends = [f"u{user},i{user},{step}" for user in range(9) for step in (6, 7)]
        Path(source).write_text("\n".join(["user,item,time", *rows, *ends]) + "\n")
        words = ["--model=NASR", "--architecture=tcn_d1_2", "--dataset=shop", f"--source={source}", "--hidden_size=8"]
        assert main([*words, "--epochs=1", "--topk=5", "--device=cpu", f"--run_name={factor}"]) == 0

    train("one.csv", 1)
    train("two.csv", 2)
    capsys.readouterr()
    assert main(["--compare", *map(str, Path("runs", "shop").glob("*-NASR-*"))]) == 2
    assert "differ in their prepared data: 'shop-" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[3:5]] == ["A", "B"]


@pytest.mark.parametrize("damaged", [[False], {}, "no"], ids=["list", "table", "text"])
def test_a_damaged_word_on_the_history_is_one_line(
    damaged: Any, write_run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [write_run("a", [1, 2]), write_run("b", [1, 2], mask_history=damaged)]
    assert main(["--compare", *map(str, runs)]) == 2
    said = capsys.readouterr().err.strip()
    assert said.startswith(
        "error: Runs are compared under the same ranking, but their mask_history differs: [False, None]"
    )
    assert "\n" not in said


def test_a_run_without_ranks_is_refused(write_run: Callable[..., Path]) -> None:
    runs = [write_run("a", [1]), write_run("b", [1])]
    (runs[1] / "ranks.csv.gz").unlink()
    with pytest.raises(DataError, match=r"ranks\.csv\.gz, but there is no such file"):
        comparison_text([str(run) for run in runs])
