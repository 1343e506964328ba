from __future__ import annotations

import csv
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_nasr.report.markdown import report_text, save_report
from recbole_nasr.report.screen import last_screen, next_commands, save_comparison
from recbole_nasr.report.selection import selection_table, selection_verdicts
from recbole_nasr.report.table import markdown_table, table_rows, text_table
from recbole_nasr.runs.results import RunResult, ranking_header, ranking_rows, save_ranks, save_result
from recbole_nasr.search.result import SearchResult
from recbole_nasr.space import Architecture

from .conftest import ranking

Make = Callable[..., RunResult]


def test_the_text_table_is_aligned_and_marks_the_best(make_result: Make) -> None:
    table = text_table(
        [make_result("SASRec", 0.12344), make_result("NASR", 0.12351, seconds={"search": 10.0, "training": 2.5})]
    )
    assert table.splitlines() == [
        "model   NDCG@20  Recall@20  epochs  best epoch  seconds  parameters",
        "-------------------------------------------------------------------",
        "SASRec  0.1234     0.5000*      12           7     34.5   1,234,567",
        "NASR    0.1235*    0.5000*      12           7     12.5   1,234,567",
    ]


def test_the_best_of_a_metric_whose_smaller_value_is_better_is_the_smallest(make_result: Make) -> None:
    results = [make_result(name, test={"giniindex@10": value}) for name, value in (("SASRec", 0.9), ("NASR", 0.6))]
    assert [line.split()[1] for line in text_table(results).splitlines()[2:]] == ["0.9000", "0.6000*"]


def test_a_single_model_is_not_marked_as_the_best(make_result: Make) -> None:
    assert "*" not in text_table([make_result()])
    assert "**" not in markdown_table([make_result()])


def test_a_metric_that_a_model_lacks_is_an_empty_cell(make_result: Make) -> None:
    table = markdown_table([make_result("SASRec", test={"mrr@10": 0.5}), make_result("NASR")])
    assert table.splitlines()[0] == (
        "| model | MRR@10 | NDCG@20 | Recall@20 | epochs | best epoch | seconds | parameters |"
    )
    assert table.splitlines()[2] == "| SASRec | **0.5000** |  |  | 12 | 7 | 34.5 | 1,234,567 |"


def test_the_rows_hold_unrounded_numbers(make_result: Make) -> None:
    header, rows = table_rows([make_result(ndcg=1 / 3)])
    assert dict(zip(header, rows[0], strict=True))["NDCG@20"] == 1 / 3


def test_every_ranked_path_is_a_row(search: SearchResult) -> None:
    assert list(ranking_rows(search.blocks[1])) == [
        ("transformer_h4", 0.5, 0.01, 1, 1, 0.0, 300, 30, 0.5, 0.1),
        ("tcn_d1_2", 0.5, 0.01, 0, 1, 0.02, 200, 20, 0.5, 0.2),
        ("tcn_d1_4", 1.0, 0.01, 0, 0, 0.03, 100, 10, 1.0, 0.3),
    ]
    header = ranking_header(search.blocks[1])
    assert len(header) == 10
    assert header[-2:] == ("view_set_1", "view_set_2")


def test_a_tie_is_called_a_tie_and_a_sample_a_sample(search: SearchResult) -> None:
    clear, tied = selection_verdicts(search)
    assert clear == "Block 1 has a best path beyond the noise of the held-out sequences."
    assert tied == (
        "Block 2 cannot be told from chance: 2 of 3 paths are tied; 3 of its 300 paths were ranked, a sample."
    )
    few = replace(
        search.blocks[0],
        paths=(*search.blocks[0].paths, ("transformer_h8",)),
        scores=np.array([0.5, 0.25, 1.0, 1.0]),
        flops=(200, 300, 100, 100),
        ties=(0, 1),
    )
    later = "one behind which later blocks did better"
    for selected, flops, taken in (
        (1, (200, 300, 100, 100), "the one with the best score"),
        (0, (200, 300, 100, 100), "the one with the fewest FLOPs"),
        (0, (400, 300, 100, 100), later),
    ):
        result = SearchResult(search.architecture, (replace(few, selected=selected, flops=flops),))
        assert selection_verdicts(result) == [f"Block 1 is a tie of 2 paths; {taken} was taken."]
    result = SearchResult(search.architecture, (replace(search.blocks[0], selected=0),))
    assert selection_verdicts(result) == [
        f"Block 1 has a best path beyond the noise of the held-out sequences, but {later} was taken."
    ]


def test_the_selection_table_has_gap_noise_ties_agreement_and_effective_rank(search: SearchResult) -> None:
    row = selection_table(search).splitlines()[2]
    assert row == (
        "| 1 | 3 of 3 | 0.25000 | 0.50000 | 1.00000 | 2.50e-01 | 6.25e-02 | 1 | 0.60 | 0.75 "
        "| share of tcn (-0.62) | 41.5 |"
    )


def test_a_block_that_makes_the_network_worse_on_held_out_persons_is_said_to_overfit(search: SearchResult) -> None:
    clear = search.blocks[0]
    for change, n in ((0.03, 3), (0.01, 2), (-0.03, 2), (None, 2)):
        later = replace(clear, scores=clear.scores + (change or 0.03), change=change, change_standard_error=0.01)
        verdicts = selection_verdicts(SearchResult(search.architecture, (clear, later)))
        assert len(verdicts) == n
        if n == 3:
            assert verdicts[2].startswith("With block 2 the network is worse on held-out persons (0.280) than before")


def test_a_ranking_that_others_would_not_repeat_or_a_trivial_rule_explains_is_doubted(search: SearchResult) -> None:
    clear = search.blocks[0]
    evidence = replace(clear.evidence, tau_views=0.25, tau_halves=0.125, predictors={"FLOPs": 0.875})
    [verdict] = selection_verdicts(SearchResult(search.architecture, (replace(clear, evidence=evidence),)))
    assert verdict == (
        "Block 1 has a best path beyond the noise of the held-out sequences; other views would rank its paths "
        "otherwise (τ 0.25); other persons would rank its paths otherwise (τ 0.12); its ranking is nearly that by "
        "FLOPs alone (τ 0.88)."
    )
    unknown = replace(clear.evidence, tau_views=None, tau_halves=None, predictors={})
    blank = SearchResult(search.architecture, (replace(clear, evidence=unknown),))
    assert selection_verdicts(blank) == selection_verdicts(search)[:1]
    assert "| 1 | - | - | - | 41.5 |" in selection_table(blank)


def test_the_report_tells_what_was_measured_how(make_result: Make, search: SearchResult) -> None:
    result = make_result("NASRSearch", architecture=search.architecture, search=search, preparation="prepared so")
    text = report_text(result, ["run_nasr.py", "--model=NASRSearch"])
    for part in (
        "# NASRSearch on ml",
        "| NASRSearch | 0.1250 | 0.5000 |",
        "history are kept in the ranking",
        "| 10 | 90 | 20 | 9.0 | 70 | 10 | 10 |",
        "prepared so",
        "block 2   transformer_h4",
        "179 held-out sequences",
        "- Block 2 cannot be told from chance: 2 of 3 paths are tied",
        "run_nasr.py --model=NASRSearch",
        "Seed 2020",
        "recbole 1.2",
    ):
        assert part in text
    assert "history are left out of the ranking" in report_text(make_result(masks_history=True), [])


def test_without_validation_the_report_says_that_the_last_weights_were_tested(make_result: Make) -> None:
    validated = report_text(make_result(), [])
    assert "Test metrics of the weights with the best validation score" in validated
    unvalidated = report_text(make_result(valid={}, best_epoch=0), [])
    assert "Test metrics of the weights of the last epoch" in unvalidated
    assert "No epoch was validated" in unvalidated
    assert "best validation score" not in unvalidated


def test_metrics_on_sampled_items_are_said_to_be_that(make_result: Make) -> None:
    sampled = make_result(ranked_among="pop50")
    for text in (report_text(sampled, []), last_screen([sampled])):
        assert "each target ranked among 50 items drawn by popularity, not among all" in text
        assert "over all items;" not in text
        assert "full ranking" not in text


def test_the_report_of_a_model_of_recbole_has_no_architecture_but_its_caveat(make_result: Make) -> None:
    text = report_text(make_result("NextItNet"), [])
    assert "## Architecture" not in text
    assert "reads the last slot" in text


def test_saving_writes_files_that_the_report_refers_to(make_result: Make, search: SearchResult) -> None:
    result = make_result(architecture=search.architecture, search=search)
    save_result(result)
    save_report(result, [])
    names = {str(path.relative_to(result.folder.path)) for path in result.folder.path.rglob("*.*")}
    assert names == {
        "metrics.json",
        "architecture.json",
        "architecture.svg",
        "architecture.png",
        "report.md",
        "ranking/block-1.csv",
        "ranking/block-2.csv",
        "ranking/summary.json",
        "selection.svg",
        "selection.png",
    }
    assert Architecture.load(result.folder.path / "architecture.json") == search.architecture


def test_a_comparison_points_to_its_runs(make_result: Make, tmp_path: Path) -> None:
    results = [make_result("SASRec"), make_result("NASR", 0.5)]
    folder = save_comparison(results, tmp_path / "runs", "mine")
    assert folder.name.endswith("-comparison-mine")
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["run"]) for row in rows] == [(r.model, r.folder.path.name) for r in results]
    assert "| NASR | **0.5000** |" in (folder / "comparison.md").read_text()


def test_the_last_screen_has_table_architecture_folder_and_next_commands(
    make_result: Make, search: SearchResult
) -> None:
    result = make_result("NASRSearch", architecture=search.architecture, search=search)
    screen = last_screen([result])
    for part in (
        "NDCG@20",
        "NASRSearch: 2 layers",
        "   │ block 1   ░ tcn_d1_2",
        "░ convolution  ▓ self-attention",
        "Block 2 cannot be told from chance",
        str(result.folder.path),
    ):
        assert part in screen


def test_where_the_history_is_masked_the_screen_says_so_and_offers_no_comparison_that_would_be_refused(
    make_result: Make,
) -> None:
    masked, kept = (make_result("NASR", masks_history=masks) for masks in (True, False))
    assert "full ranking over all items but those of the history" in last_screen([masked])
    assert "full ranking over all items\n" in last_screen([kept])
    assert "compare it with models of RecBole" in next_commands([kept])
    assert "compare it with models of RecBole" not in next_commands([masked])


def test_the_next_commands_find_the_same_data(make_result: Make) -> None:
    commands = next_commands([make_result("SASRec")], ["--data_path=my data"])
    command = commands["search a network for these data, with the default settings"]
    assert command == "python run_nasr.py --model=NASRSearch --dataset=ml '--data_path=my data'"
    described = next_commands([make_result("SASRec")], ["--device=cpu"], ["--USER_ID_FIELD=who"])
    assert [line for line in described.values() if "USER_ID" in line] == [
        "python run_nasr.py --model=NASRSearch --dataset=ml --USER_ID_FIELD=who --device=cpu"
    ]
    split = next_commands([make_result("SASRec")], [], ["--benchmark_filename=[train, valid, test]"])
    assert not any("--model=NASRSearch" in line for line in split.values())  # it would refuse


@pytest.mark.parametrize(("metric", "best"), [("ndcg@20", "SASRec"), ("averagepopularity@20", "NASRSearch")])
def test_the_run_that_validates_best_is_offered_for_use_and_the_best_of_ours_for_a_server(
    make_result: Make, metric: str, best: str
) -> None:
    valid = {"NASRSearch": 0.1, "SASRec": 0.4, "NASR": 0.3, "GRU4Rec": 0.2}
    results = [make_result(name, valid={metric: score}, valid_metric=metric) for name, score in valid.items()]
    for result in results:
        save_ranks(result.folder, ["a"], ["x"], torch.tensor([1]))
    folders = {result.model: result.folder.path for result in results}
    commands = next_commands(results)
    assert f"--recommend={folders[best]} " in commands["recommend"]
    ours = folders["NASR" if best == "SASRec" else "NASRSearch"]
    assert f"--run={ours}" in commands["export the network for a server"]


def test_without_validation_the_last_run_is_offered_for_use(make_result: Make) -> None:
    results = [make_result(name, valid={}, valid_metric="ndcg@20") for name in ("NASR", "SASRec")]
    for result in results:
        save_ranks(result.folder, ["a"], ["x"], torch.tensor([1]))
    commands = next_commands(results)
    assert f"--recommend={results[1].folder.path} " in commands["recommend"]
    assert f"--run={results[0].folder.path}" in commands["export the network for a server"]


@pytest.mark.parametrize("model", ["NASR", "SASRec", "NASRSearch"])
def test_the_next_commands_are_commands_of_this_program(make_result: Make, search: SearchResult, model: str) -> None:
    from recbole_nasr.request.arguments import parse_line
    from recbole_nasr.request.request import build_request

    found = search if model == "NASRSearch" else None
    result = make_result(model, search=found, architecture=search.architecture)
    result.folder.write_text(
        "settings.yaml", "model: NASRSearch\nsearch_epochs: 3\nn_layers: 4\n"
    )  # as every run has it
    commands = [*next_commands([result]).values(), *next_commands([result], quick=True).values()]
    ours = [shlex.split(line)[2:] for line in commands if line.startswith("python run_nasr.py ")]
    assert ours
    comparisons = [line for line in commands if "SASRec,NextItNet" in line]
    assert all("--architecture=" in line for line in comparisons)  # what was just trained, not the default
    for words in ours:
        assert build_request(parse_line(words)).dataset == "ml"


def test_another_search_has_the_settings_of_the_one_before_unless_that_was_quick(
    make_result: Make, search: SearchResult
) -> None:
    result = make_result("NASRSearch", search=search, architecture=search.architecture)
    settings = f"--config_files={result.folder.path}/settings.yaml"
    again = [command for command in next_commands([result]).values() if "--model=NASRSearch" in command]
    assert len(again) == 2
    assert all(settings in command for command in again)
    full = [command for command in next_commands([result], quick=True).values() if "--model=NASRSearch" in command]
    assert full[0] == "python run_nasr.py --model=NASRSearch --dataset=ml"
    assert not any("settings.yaml" in command for command in full)


def test_a_search_without_a_supernet_can_be_repeated_as_well(make_result: Make, search: SearchResult) -> None:
    result = make_result("NASRSearch", search=None, architecture=search.architecture)  # random search, for one
    commands = next_commands([result])
    assert commands["train this network with another seed"].endswith(f"--seed={result.seed + 1}")
    assert "search with another seed" in commands


def test_the_budget_is_said_where_it_took_paths_out() -> None:
    block = replace(ranking([0.1, 0.5, 0.7], selected=1, ties=(1,)), over_budget=(0,))
    [verdict] = selection_verdicts(SearchResult(Architecture.parse("tcn_d1_2"), (block,)))
    assert (
        "Block 1 has a best path beyond the noise of the held-out sequences; 1 of its paths is over budget" in verdict
    )
