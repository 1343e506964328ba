from __future__ import annotations

import gzip
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from recbole_nasr.report.study_footing import footing
from recbole_nasr.report.study_page import packages_text, ranked_among, study_page
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.runs.results import read_ranks
from recbole_nasr.space import Architecture
from recbole_nasr.statistics import difference_of_means, paired_comparison
from recbole_nasr.studies import record
from recbole_nasr.studies.definition import StudyDefinition
from recbole_nasr.studies.differences import differences
from recbole_nasr.studies.plan import Cell
from recbole_nasr.studies.record import find_record, load_record, result_key
from recbole_nasr.studies.request import StudyRequest, build_study_request
from recbole_nasr.studies.summaries import ablation, agreement, architectures_found, cost, shares_by_depth
from recbole_nasr.studies.tables import FinishedRun, Row, mean_sd, rows_of, tidy

from .conftest import record_of

CELL = Cell("NASR", "NASR", "toy", {}, 1)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., FinishedRun]:
    """A finished run whose folder has the given ranks, of sequences a, b, c, …"""

    def make(
        label: str, seed: int, ranks: list[int], order: str = "", target: str = "i", **facts: object
    ) -> FinishedRun:
        folder = tmp_path / f"{label}-{seed}"
        folder.mkdir()
        names = order or "abcdefghijklmnop"[: len(ranks)]
        lines = ["sequence,target,rank", *(f"{name},{target},{rank}" for name, rank in zip(names, ranks, strict=True))]
        (folder / "ranks.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
        hits = sum(rank <= 2 for rank in ranks) / len(ranks)
        cell = Cell(label, "NASR", "toy", {}, seed)
        given = {"test": {"recall@2": hits}, "run": str(folder), "seconds": {"training": 1.0}, **facts}
        return FinishedRun(label, "toy", {}, record_of(cell, **given))

    return make


def test_means_and_deviations_are_those_of_the_seeds(run: Callable[..., FinishedRun]) -> None:
    (row,) = rows_of([run("A", 2, [3, 3, 1, 3]), run("A", 1, [1, 2, 1, 3])])
    assert [one.record.seed for one in row.runs] == [1, 2]
    mean, sd = row.mean_sd("test", "recall@2")
    assert mean == 0.5  # of 3/4 and 1/4
    assert sd == pytest.approx(math.sqrt(2) / 4)  # sqrt(((1/4)^2 + (1/4)^2) / (2 - 1))
    assert math.isnan(mean_sd([0.5])[1])


def test_differences_pair_sequences_by_name_and_average_seeds(run: Callable[..., FinishedRun]) -> None:
    rows = rows_of(
        [
            run("A", 1, [1, 1, 9, 1]),  # recall@2 of a, b, c, d: 1 1 0 1
            run("A", 2, [1, 9, 9, 1]),  # 1 0 0 1, so the mean is 1 .5 0 1
            run("B", 1, [9, 1, 9, 9], order="dcba"),  # a, b, c, d: 0 0 1 0
        ]
    )
    (found,) = differences(rows, "A")
    assert found.other == "B"
    assert found.n_sequences == 4
    assert found.comparison.mean_difference == pytest.approx((1 + 0.5 - 1 + 1) / 4)
    assert found.comparison == paired_comparison([1, 0.5, 0, 1], [0, 0, 1, 0], n_bootstrap=2000, seed=0)
    assert found.p_holm == found.comparison.p_value  # one comparison


def test_a_network_counts_once_and_the_trainings_of_a_single_one_each(run: Callable[..., FinishedRun]) -> None:
    hits = {"a": [1, 2], "b": [4, 4], "c": [0, 1, 2]}  # of four cases, by network and training
    rows = rows_of(
        [
            replace(run(f"{name}{seed}", seed, [1] * n + [9] * (4 - n), architecture=name), label=label)
            for label, names in (("Search", "ab"), ("Pure", "c"))
            for name in names
            for seed, n in enumerate(hits[name], start=10 * ord(name))
        ]
    )
    search, pure = rows
    assert search.of_networks("recall@2") == [(1 / 4 + 2 / 4) / 2, 1]
    assert pure.of_networks("recall@2") == [0, 1 / 4, 2 / 4]
    (found,) = differences(rows, "Search")
    assert found.p_networks == difference_of_means([3 / 8, 1], [0, 1 / 4, 2 / 4])


def test_rows_that_were_given_other_metrics_are_compared_by_their_ranks_alone(run: Callable[..., FinishedRun]) -> None:
    rows = rows_of([run("A", seed, [1, 9]) for seed in (1, 2)] + [run("B", 1, [9, 9], test={"ndcg@2": 0.0})])
    (found,) = differences(rows, "A")
    assert found.comparison.mean_difference == 0.5
    assert math.isnan(found.p_networks)


@pytest.mark.parametrize(("n", "significant"), [(6, False), (16, True)])
def test_holm_counts_all_comparisons_of_the_page(n: int, significant: bool, run: Callable[..., FinishedRun]) -> None:
    good, bad = [1] * n, [9] * n
    rows = rows_of([run("A", 1, good), run("B", 1, bad), run("C", 1, bad)])
    first, second = differences(rows, "A")
    assert first.p_holm == pytest.approx(2 * first.comparison.p_value)
    assert first.comparison.p_value < 0.05
    assert first.significant == second.significant == significant


def test_rows_are_paired_by_a_key_they_differ_in_alone(run: Callable[..., FinishedRun]) -> None:
    def one(label: str, layers: int, gated: bool, ranks: list[int]) -> FinishedRun:
        made = run(f"{label}-{layers}-{gated}", 1, ranks)
        return replace(made, label=label, point={"n_layers": layers, "gate": gated})

    rows = rows_of([one("A", n, gate, [1 + 8 * (not gate)] * 4) for n in (2, 4) for gate in (True, False)])
    found = differences(rows, "", ("gate", True))
    assert [(pair.reference, pair.other) for pair in found] == [
        ("A, n_layers=2, gate=True", "A, n_layers=2, gate=False"),
        ("A, n_layers=4, gate=True", "A, n_layers=4, gate=False"),
    ]
    assert [pair.comparison.mean_difference for pair in found] == [1, 1]
    assert differences([row for row in rows if "gate=True" not in row.name], "", ("gate", True)) == []


def test_a_row_whose_first_value_has_no_result_yet_is_compared_with_none(run: Callable[..., FinishedRun]) -> None:
    runs = [replace(run(f"A-{n}", 1, [n] * 4), label="A", point={"n_layers": n}) for n in (2, 4, 8)]
    (pair, other) = differences(rows_of(runs), "", ("n_layers", 2))
    assert (pair.reference, pair.other, other.other) == ("A, n_layers=2", "A, n_layers=4", "A, n_layers=8")
    assert (
        differences(rows_of(runs[1:]), "", ("n_layers", 2)) == []
    )  # not 4 against 8 under the words "n_layers=2 minus"


def test_a_record_keeps_its_ranks_when_the_run_is_gone(run: Callable[..., FinishedRun], tmp_path: Path) -> None:
    record = run("A", 1, [3, 1]).record
    path = record.save(tmp_path / "kept")
    shutil.rmtree(record.run)
    assert record.ranks() is None
    again = load_record(path)
    assert again == record
    assert again.ranks().to_numpy().tolist() == [["a", "i", 3], ["b", "i", 1]]
    assert str(tmp_path / "kept") not in path.read_text()


def test_rows_of_other_sequences_or_without_ranks_on_this_machine_are_not_compared(
    run: Callable[..., FinishedRun],
) -> None:
    runs = [run("A", 1, [1, 2]), run("B", 1, [1, 2], run="gone"), run("C", 1, [1, 2], order="ax")]
    assert differences(rows_of(runs), "A") == []
    other = run("D", 1, [1, 2], target="j")  # of the same sequences other cases, as after another split
    assert differences(rows_of([runs[0], other]), "A") == []
    assert (
        differences(rows_of([*runs[:1], replace(run("A", 2, [1, 2], target="j"), label="A"), run("E", 1, [1, 2])]), "A")
        == []
    )


def test_the_ranks_of_a_run_are_read_once_for_all_rows_and_metrics(
    run: Callable[..., FinishedRun], monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = {"test": {"recall@2": 0.5, "ndcg@2": 0.5, "mrr@2": 0.5}}
    rows = rows_of([run(label, seed, [1, 9, 3], **metrics) for label in "ABC" for seed in (1, 2)])
    read: list[Path] = []
    monkeypatch.setattr(record, "read_ranks", lambda path: read.append(path) or read_ranks(path))
    assert len(differences(rows, "A")) == 2 * 3
    assert len(read) == len(set(read)) == 6


def test_the_tidy_table_has_a_row_per_run_with_its_numbers(run: Callable[..., FinishedRun]) -> None:
    header, lines = tidy("table2", [run("A", 1, [1, 9]), run("B", 1, [1, 1])])
    table = [dict(zip(header, line, strict=True)) for line in lines]
    assert [(row["row"], row["test_recall@2"], row["training_seconds"]) for row in table] == [
        ("A", 0.5, 1),
        ("B", 1, 1),
    ]
    drawn = replace(run("C", 1, [1, 9]), point={"learning_rate": 0.00123456789, "augmentations": ["mask", "crop"]})
    header, (line,) = tidy("tune", [drawn])
    assert {"learning_rate": 0.00123456789, "augmentations": "mask+crop"}.items() <= dict(
        zip(header, line, strict=True)
    ).items()


def test_random_search_at_equal_cost_keeps_the_best_by_validation(run: Callable[..., FinishedRun]) -> None:
    def one(label: str, seed: int, valid: float, test: float, ops: str = "paper's", **seconds: float) -> FinishedRun:
        settings = {"valid_metric": "NDCG@2", "candidate_ops": [ops]}
        if "andom" in label:
            settings["architecture"] = "random"
        part = {"valid": {"ndcg@2": valid}, "test": {"ndcg@2": test}, "settings": settings, "seconds": seconds}
        return run(label, seed, [1], **part)

    runs = [
        one("NASR", 1, 0.5, 0.5, search=3.0, training=1.0),
        one("Random", 1, 0.2, 0.9, training=2.0),
        one("Random", 2, 0.4, 0.3, training=2.0),
        one("Random", 3, 0.8, 0.8, training=2.0),  # beyond what 3 + 1 seconds pay for
    ]
    lines = cost(runs)
    assert "cost as much as 2 random networks" in lines[3]
    assert "0.5000 for the networks found (mean), 0.3000 for the random network" in lines[4]

    both = cost([*runs, one("Longer search", 1, 0.5, 0.6, search=5.0, training=1.0)])
    assert [line for line in both if line.endswith(":")] == ["NASR:", "Longer search:"]
    assert [line for line in both if line.startswith("- ")][:5] == lines
    assert "cost as much as 3 random networks" in both[-2]

    others = one("Random, all operations", 1, 0.9, 0.1, ops="all", training=1.0)
    assert cost([*runs, others]) == lines  # those of a row are of the operations that it searched
    assert cost([runs[0], others]) == ["Too few runs have finished to compare costs."]


def test_the_ablation_tells_ties_and_agreement_between_seeds_of_every_row(run: Callable[..., FinishedRun]) -> None:
    def one(label: str, seed: int, architecture: str, tied: list[int]) -> FinishedRun:
        blocks = [{"ranked": 10, "tied": n} for n in tied]
        return run(label, seed, [1], architecture=architecture, search=blocks, seconds={"search": 2.0})

    lines = ablation(
        [
            one("paper", 1, "tcn_d1_2,tcn_d1_4", [10, 6]),
            one("paper", 2, "tcn_d1_2,transformer_h4", [2, 2]),
            one("improved", 1, "tcn_d1_2,tcn_d1_2", [1, 1]),
        ]
    )
    assert lines[0].splitlines()[2:] == ["| paper | 2 | 50% | 50% | 2.0 |", "| improved | 1 | 10% | - | 2.0 |"]


def test_further_trainings_of_what_was_found_are_no_searches(run: Callable[..., FinishedRun]) -> None:
    def one(seed: int, architecture: str, **seconds: float) -> FinishedRun:
        blocks = [{"ranked": 10, "tied": 2}] if seconds else []
        return run("NASR", seed, [1], architecture=architecture, search=blocks, seconds={"training": 1.0, **seconds})

    found = [one(1, "tcn_d1_2,tcn_d1_4", search=2.0), one(2, "tcn_d1_4,tcn_d1_2", search=2.0)]
    again = [one(1001, "tcn_d1_2,tcn_d1_4"), one(1002, "tcn_d1_4,tcn_d1_2")]
    foreign = run("SASRec", 1, [1], architecture="")
    lines = "\n".join(architectures_found([*found, *again, foreign]))
    assert "seed 1001" not in lines
    assert "the same operation in 0% of the layers, on average over 1 pair;" in lines
    (table,) = ablation([*found, *again, foreign])[:1]
    assert table.splitlines()[2:] == ["| NASR | 2 | 20% | 0% | 2.0 |"]


def test_searches_of_different_points_of_a_grid_are_not_mixed(run: Callable[..., FinishedRun]) -> None:
    def one(label: str, depth: int, test: float, **seconds: float) -> FinishedRun:
        layers = ",".join(["tcn_d1_2"] * depth)
        settings = {"valid_metric": "NDCG@2", **({"architecture": "random"} if label == "Random" else {})}
        part = {"valid": {"ndcg@2": test}, "test": {"ndcg@2": test}, "architecture": layers, "seconds": seconds}
        return replace(run(label, depth, [1], settings=settings, **part), point={"n_layers": depth})

    runs = [one("NASR", depth, depth / 10, search=3.0, training=1.0) for depth in (2, 4)]
    runs += [one("Random", 2, 0.1, training=4.0), one("Random", 4, 0.9, training=4.0)]
    lines = cost(runs)
    assert [line for line in lines if line.endswith(":")] == ["NASR, n_layers=2:", "NASR, n_layers=4:"]
    tests = [line for line in lines if line.startswith("- test")]
    assert ["0.2000 for the networks found (mean), 0.1000" in tests[0], "0.9000" in tests[1]] == [True, True]
    assert ablation(runs)[0].splitlines()[2:] == [
        "| NASR, n_layers=2 | 1 | - | - | 3.0 |",
        "| NASR, n_layers=4 | 1 | - | - | 3.0 |",
    ]
    assert sum(line.startswith("| tcn_d1_2 |") for part in architectures_found(runs) for line in part.split("\n")) == 2


def test_agreement_and_shares_by_depth() -> None:
    first, second = Architecture.parse("transformer_h4,tcn_d1_2"), Architecture.parse("transformer_h4/tcn_d1_4")
    assert agreement(first, second) == 0.5
    shares = shares_by_depth([first, second])
    assert shares == {"transformer_h4": [1.0, 0.0], "tcn_d1_2": [0.0, 0.5], "tcn_d1_4": [0.0, 0.5]}


def test_a_record_is_found_again_and_a_damaged_one_is_not_used(tmp_path: Path) -> None:
    record = record_of(CELL, key="abc")
    path = record.save(tmp_path / "runs")
    assert find_record("NASR", "abc", 1, [tmp_path]) == record
    assert find_record("NASR", "abc", 2, [tmp_path]) is None
    shutil.copy(path, path.with_name("NASR-abc-2.json"))
    assert find_record("NASR", "abc", 2, [tmp_path]) is None  # it would be counted twice
    path.write_text(path.read_text()[:-20])
    assert load_record(path) is None


@pytest.mark.parametrize("curve", [5, [1, 0.5], [["1", 0.5]], [[1]]], ids=str)
def test_a_record_whose_curve_is_none_is_not_used(curve: Any, tmp_path: Path) -> None:
    assert load_record(record_of(CELL, curve=curve).save(tmp_path)) is None


def test_the_key_of_a_result_depends_on_data_and_settings_but_not_on_places(toy: Path) -> None:
    settings = {"epochs": 2, "data_path": str(toy / "toy"), "gpu_id": "", "seed": 1}
    key = result_key("NASR", "toy", settings)
    assert result_key("NASR", "toy", {**settings, "gpu_id": "1", "seed": 2}) == key
    assert result_key("NASR", "toy", {**settings, "epochs": 3}) != key
    with (toy / "toy" / "toy.inter").open("a") as file:
        file.write("u0\ti1\t99.0\n")
    assert result_key("NASR", "toy", settings) != key


@pytest.mark.parametrize(
    ("settings", "read", "unread"),
    [
        ({"load_col": {"inter": ["user_id"], "item": ["item_id"]}}, "item", "user"),
        ({"benchmark_filename": ["train", "test"], "load_col": {"inter": []}}, "test.inter", "valid.inter"),
    ],
)
def test_the_key_of_a_result_depends_on_every_file_that_is_read(
    settings: dict[str, Any], read: str, unread: str, tmp_path: Path
) -> None:
    keys = []
    for written in ("inter", "train.inter", "test.inter", "item", read, unread):
        with (tmp_path / f"toy.{written}").open("a") as file:
            file.write("item_id:token\n")
        keys.append(result_key("FDSA", "toy", {"data_path": str(tmp_path), **settings}))
    assert keys[3] != keys[4] == keys[5]


def test_points_are_the_product_and_then_one_at_a_time() -> None:
    shared = {"name": "x", "title": "", "paper": "", "claim": "", "runs": ()}
    product = StudyDefinition(**shared, grid={"a": [1, 2], "b": [3, 4]})
    assert product.points() == [{"a": 1, "b": 3}, {"a": 1, "b": 4}, {"a": 2, "b": 3}, {"a": 2, "b": 4}]
    single = StudyDefinition(**shared, one_at_a_time={"a": [1, 2], "b": [3, 4, 5]})
    assert single.points() == [{"a": 1, "b": 3}, {"a": 2, "b": 3}, {"a": 1, "b": 4}, {"a": 1, "b": 5}]


def test_random_networks_are_at_least_three_whatever_the_seeds(ask: Callable[..., StudyRequest]) -> None:
    asked = ask("table2", "--seeds=[5]")
    seeds = {run.label: asked.definition.seeds_of(run, asked.seeds) for run in asked.definition.runs}
    assert seeds["Random"] == (5, 6, 7)
    assert seeds["NASR"] == (5,)


def test_a_page_says_what_the_targets_were_ranked_among() -> None:
    def row(mode: str) -> Row:
        record = record_of(CELL, settings={"eval_args": {"mode": {"valid": "full", "test": mode}}})
        return Row("A", "ml", (FinishedRun("A", "ml", {}, record),))

    assert ranked_among([row("full")]) == "ranking all items"
    masked = row("full")
    masked.runs[0].record.settings["mask_history"] = True
    assert ranked_among([masked]) == "ranking all items but those of the history"
    assert ranked_among([masked, row("full")]) == "ranking all items, in some rows but those of the history"
    assert (
        ranked_among([row("full"), row("pop9")])
        == "each target ranked among 9 items drawn by popularity, not among all"
    )


def test_rows_with_different_metrics_have_each_number_in_its_column(
    run: Callable[..., FinishedRun], tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "title: T\npaper: P\nclaim: C\nruns: {A: {model: NASR}, B: {model: NASR}}\n"
        "published: {toy: {A: {ndcg@2: 0.1}, B: {mrr@2: 0.2, ndcg@2: 0.3}}}\n"
    )
    asked = build_study_request(parse_line([f"--study={path}", "--dataset=toy"]))
    data = dict.fromkeys(("sequences", "items", "actions", "test_cases"), 1)
    runs = [
        run("A", 1, [1], test={"ndcg@2": 0.4}, data=data),
        run("B", 1, [1], test={"mrr@2": 0.5, "ndcg@2": 0.6}, data=data),
    ]
    page = study_page(asked, runs, [], [], 0, ["x"], [])
    assert "| row | data | runs | ndcg@2 | mrr@2 | valid ndcg@2 |" in page
    assert "| A | toy | 1 | 0.4000 |  | 0.5000 |" in page
    assert "| B | toy | 1 | 0.6000 | 0.5000 | 0.5000 |" in page
    assert "| row | data | ndcg@2 | mrr@2 |\n" in page
    assert "| A | toy | 0.4000 / 0.1000 |  |\n| B | toy | 0.6000 / 0.3000 | 0.5000 / 0.2000 |" in page
    assert "## Beside the paper\n\nHere / in the paper. " in page
    others = replace(asked, definition=replace(asked.definition, published_by="Doe, 2020"))
    assert "## Beside published numbers\n\nHere / published by Doe, 2020.\n\n|" in study_page(
        others, runs, [], [], 0, ["x"], []
    )


def test_a_page_names_the_versions_that_its_runs_were_made_with() -> None:
    kept = [{"packages": {"torch": "2.6", "numpy": "2.4"}}, {"packages": {"torch": "2.9", "numpy": "2.4"}}, {}]
    assert packages_text(kept) == "torch 2.6 and 2.9, numpy 2.4"
    assert packages_text([{}]) == "packages unknown"
    assert "torch" in packages_text([])


def test_the_published_numbers_name_rows_of_the_study() -> None:
    definition = StudyDefinition.load("table2")
    labels = {run.label for run in definition.runs}
    assert set(definition.published) == {"ml", "lastfm"}
    for numbers in definition.published.values():
        assert set(numbers) <= labels
    assert definition.published["ml"]["NASR"]["ndcg@20"] == 0.1793  # Table 2, last row


def test_settings_that_differ_are_told_of_a_data_set_or_of_single_rows() -> None:
    def row(name: str, dataset: str, **settings: object) -> Row:
        cell = Cell(name, "NASR", dataset, {}, seed=1)
        return Row(name, dataset, (FinishedRun(name, dataset, {}, record_of(cell, settings=settings)),))

    long, short = {"MAX_ITEM_LIST_LENGTH": 50}, {"MAX_ITEM_LIST_LENGTH": 30}
    one = [row("A", "ml", **short), row("B", "ml", **short), row("C", "ml", **long)]
    assert "- `MAX_ITEM_LIST_LENGTH`: 30; 50 (C)" in footing(one)
    two = [*one[:2], row("A", "lastfm", **long), row("B", "lastfm", **long)]
    assert "- `MAX_ITEM_LIST_LENGTH`: 30; 50 (all on lastfm)" in footing(two)
    both = [*one, *two[2:], row("D", "ml", **short)]
    assert "- `MAX_ITEM_LIST_LENGTH`: 30; 50 (C on ml, all on lastfm)" in footing(both)


def test_what_differs_between_rows_is_not_called_the_same() -> None:
    def row(name: str, **settings: object) -> Row:
        cell = Cell(name, "NASR", "ml", {}, seed=1)
        return Row(name, "ml", (FinishedRun(name, "ml", {}, record_of(cell, settings=settings)),))

    start, same = row("A", split_by="leave_one_out", mask_history=False), " are the same for all rows. "
    whole = "Data, cases, evaluator and the rule that picks the epoch"
    foreign = row("B")  # RecBole's models have neither key
    assert footing([start, foreign]).startswith(whole + same)
    masked = row("B", split_by="leave_one_out", mask_history=True)
    assert footing([start, masked]).startswith("Data, cases and the rule that picks the epoch" + same)
    other = row("B", split_by="time", mask_history=True, valid_metric="MRR@10")
    assert footing([start, other]).startswith("Data" + same)


def test_the_network_is_told_where_all_rows_have_the_same() -> None:
    def row(name: str, architecture: str) -> Row:
        cell = Cell(name, "NASR", "ml", {}, seed=1)
        return Row(name, "ml", (FinishedRun(name, "ml", {}, record_of(cell, settings={"architecture": architecture})),))

    assert "`architecture=sasrec-1`" in footing([row("A", "sasrec-1"), row("B", "sasrec-1")])
    assert "architecture" not in footing([row("A", "sasrec-1"), row("B", "nextitnet-1")])


def test_a_budget_and_the_rows_that_it_is_not_for_are_told() -> None:
    def row(name: str, **settings: object) -> Row:
        cell = Cell(name, "NASR", "ml", {}, seed=1)
        return Row(name, "ml", (FinishedRun(name, "ml", {}, record_of(cell, settings=settings)),))

    searched, more = (row(name, max_flops=9, tie_embeddings=True) for name in ("Search", "Predictor"))
    text = footing([searched, more, row("Random", tie_embeddings=True)])
    assert "- `max_flops`: 9; not a key (Random)" in text
    assert "`tie_embeddings=True`" in text
    assert "max_flops" not in footing([row("Search", max_flops=None)])
