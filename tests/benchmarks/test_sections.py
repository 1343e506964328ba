from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
import torch

from benchmarks.speed import startup
from benchmarks.speed.cases import Case, Effort, Implementation
from benchmarks.speed.command import main, measured
from benchmarks.speed.counting import count_kernels
from benchmarks.speed.page import page_text
from benchmarks.speed.published import Published, left_padded
from benchmarks.speed.results import Results
from benchmarks.speed.roofline import Roofline
from benchmarks.speed.sections import ON_REQUEST, augmentation, ranking, search_step, sections
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import TINY, build_supernet
from benchmarks.speed.targets import gpu_targets_table, targets_table
from recbole_nasr.nets.supernet import Supernet
from recbole_nasr.progress import Progress
from recbole_nasr.search.ranking import rank_paths

CPU = torch.device("cpu")
ONCE = Effort(rounds=1, budget_s=0.0, least_rounds=1, shortest_round_s=0.0)
ROOF = Roofline({"fp32": 1e11, "bf16": 1e11}, 5e10, 1e10, 1e-5, 1e-6)


@pytest.mark.parametrize("name", [name for name in sections() if name not in ON_REQUEST])
def test_every_line_of_a_section_passes_its_gate_and_is_timed(name: str) -> None:
    for case in islice(sections()[name](Setting(CPU, "tiny")), 3):
        found = measured(case, CPU, ONCE, ROOF)
        json.dumps(found, allow_nan=False)
        for line in found["lines"]:
            assert "refused" not in line, line
            assert line["median_s"] > 0


def test_a_broken_augmentation_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation, "make_view", lambda item_seq, length, **_: (item_seq, length))
    case = next(augmentation.cases(Setting(CPU, "tiny")))
    lines = {line["implementation"]: line for line in measured(case, CPU, ONCE, ROOF)["lines"]}
    assert lines["fast"]["refused"].startswith("rows that break the law of mask differs by")
    assert "median_s" in lines["reference"]


def test_a_broken_ranking_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(supernet: Supernet, prefixes: list, views: tuple, *rest: object, **options: object) -> object:
        return rank_paths(supernet, prefixes, views[::-1], *rest, **options)

    monkeypatch.setattr(ranking, "rank_paths", swapped)
    lines = measured(next(ranking.cases(Setting(CPU, "tiny"))), CPU, ONCE, ROOF)["lines"]
    assert "distances" in next(line for line in lines if line["implementation"] == "fast")["refused"]


def test_a_step_on_other_paths_is_refused() -> None:
    supernet, batch = build_supernet(TINY, CPU), search_step.search_sequences(TINY, TINY.batch_size, CPU)

    class OtherPaths(search_step.PlainTrainer):
        def step(self, *arguments: torch.Tensor) -> torch.Tensor:
            self.sampler.draw(1)
            return super().step(*arguments)

    checks = search_step.same_steps(
        lambda net: OtherPaths(net, TINY, 0), lambda net: search_step.PlainTrainer(net, TINY, 0), supernet, batch
    )
    assert not any(check.passed for check in checks)


def test_a_step_that_leaves_the_weights_is_refused() -> None:
    supernet, batch = build_supernet(TINY, CPU), search_step.search_sequences(TINY, TINY.batch_size, CPU)

    def trainer(net: Supernet, learning_rate: float) -> search_step.PlainTrainer:
        return search_step.PlainTrainer(net, TINY, 0, learning_rate=learning_rate)

    rate = search_step.GATE_LEARNING_RATE
    checks = search_step.same_steps(lambda net: trainer(net, 0.0), lambda net: trainer(net, rate), supernet, batch)
    assert [check.name for check in checks if not check.passed] == ["losses of the steps after it"]


def test_the_plain_step_draws_its_views_in_the_calls_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    # A GPU's numbers depend on the size of a call: two calls give others than one for both.
    supernet, batch = build_supernet(TINY, CPU), search_step.search_sequences(TINY, TINY.batch_size, CPU)
    rand, sizes = torch.rand, {}

    def noted(*size: object, **options: object) -> torch.Tensor:
        sizes[name].append(size)
        return rand(*size, **options)

    monkeypatch.setattr(torch, "rand", noted)
    for name, make in (("plain", search_step.PlainTrainer), ("package", search_step.PackageSteps)):
        sizes[name] = []
        make(copy.deepcopy(supernet), TINY, 0).step(batch.item_seq, batch.item_seq_len)
    assert sizes["plain"] == sizes["package"] != []


def test_ranking_256_paths_stacked_takes_a_twentieth_of_the_kernels_of_one_path_after_another() -> None:
    from dataclasses import replace

    shape = replace(TINY, layers_per_block=4, n_blocks=1, ranking_rows=4)
    supernet, views = build_supernet(shape, CPU).eval(), ranking.stored_views(shape, CPU)
    paths = list(shape.space.paths(0))

    def kernels(at_a_time: int) -> int:
        options = {"batch_size": 4, "progress": Progress(), "at_a_time": at_a_time}
        return count_kernels(lambda: rank_paths(supernet, [()], views, paths, **options), CPU)

    stacked, plain = kernels(256), kernels(0)
    assert stacked <= 1000
    assert plain > 20 * stacked


def test_the_command_writes_results_and_goes_on_with_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup, "REPEATS", 1)
    path = tmp_path / "results.json"
    assert main(["--device=cpu", "--only=softmax", f"--json={path}", "--seconds=0"]) == 0
    assert main(["--device=cpu", "--only=import", f"--json={path}", "--seconds=0"]) == 0
    found = json.loads(path.read_text())
    assert [case["section"] for case in found["cases"]] == ["softmax"]
    assert 0 < found["import_time"]["own_s"] < found["import_time"]["total_s"]
    assert set(found["roofline"]["flops"]) == {"fp32"}
    assert found["machine"]["packages"]["torch"]


def test_finished_sections_are_left_out_and_a_failed_or_stopped_one_is_measured_again_and_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, begun = tmp_path / "results.json", []

    def failing(_setting: Setting) -> Iterator[Case]:
        begun.append("bad")
        msg = "no such kernel"
        raise RuntimeError(msg)
        yield

    def working(_setting: Setting) -> Iterator[Case]:
        for title in ("one", "two"):
            begun.append(title)
            lines = [Implementation(name="reference", run=lambda: torch.ones(1))]
            yield Case(section="good", title=title, shape="tiny", unit="one", implementations=lines)

    for module in ("command", "results"):
        monkeypatch.setattr(f"benchmarks.speed.{module}.sections", lambda: {"bad": failing, "good": working})
    line = ["--device=cpu", f"--json={path}", "--seconds=0", "--only=bad,good", "--resume"]
    assert main(line) == 1
    found = json.loads(path.read_text())
    assert found["sections"] == {"bad": "failed: RuntimeError: no such kernel", "good": "finished"}
    assert [case["title"] for case in found["cases"]] == ["one", "two"]
    assert main(line) == 1
    assert begun == ["bad", "one", "two", "bad"]
    assert main([*line[:-1], "--cap=0"]) == 0
    found = json.loads(path.read_text())
    assert found["sections"] == {"bad": "stopped after 0 s", "good": "stopped after 0 s"}
    path.write_text(json.dumps({**found, "scale": "paper"}))
    with pytest.raises(SystemExit):
        main(line)
    assert "--resume goes on with results of the same scale" in capsys.readouterr().err


def test_a_section_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only=softmin"])
    assert "--only must name sections of" in capsys.readouterr().err


def test_a_folder_without_the_published_code_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no model.py, train.py, dataset.py, loss.py"):
        Published(tmp_path, CPU)


def test_the_published_code_gets_its_padding_on_the_left() -> None:
    assert left_padded(torch.tensor([[3, 4, 0, 0]]), torch.tensor([2])).tolist() == [[0, 0, 3, 4]]


def test_the_page_in_the_docs_is_made_from_the_results() -> None:
    root = Path(__file__).resolve().parents[2]
    results = json.loads((root / "benchmarks" / "results" / "speed-cpu-2026-12-01.json").read_text(encoding="utf-8"))
    written = (root / "docs" / "performance.md").read_text(encoding="utf-8")
    assert page_text(results, None, "performance-roofline.svg") == written


def test_a_section_that_is_measured_again_after_it_was_finished_is_noted() -> None:
    results = Results(None, {"cases": [], "sections": {"data": "finished", "ranking": "interrupted"}})
    results.forget("ranking")
    assert "again" not in results.content
    results.forget("data")
    results.forget("data")
    assert results.content["again"] == ["data"]


def test_a_target_counts_as_met_only_where_it_was_measured() -> None:
    line = {"implementation": "published, as shipped", "median_s": 1.0}
    case = {"section": "data", "title": "mask", "shape": "ml", "lines": [line]}
    assert "| views: mask, `ml` | 20 | - | not measured |" in targets_table({"cases": [case]})
    case["lines"].append({"implementation": "fast", "median_s": 0.051})
    assert "| views: mask, `ml` | 20 | 19.6 | no |" in targets_table({"cases": [case]})
    case["lines"][1]["median_s"] = 0.05
    assert "| views: mask, `ml` | 20 | 20 | yes |" in targets_table({"cases": [case]})


def test_a_search_on_a_gpu_is_held_against_90_seconds_and_every_fast_line_against_its_floor() -> None:
    assert "| whole search, `ml` | at most 90 s | - | not measured |" in gpu_targets_table(None)
    search = {"section": "search", "title": "whole search", "shape": "ml"}
    search["lines"] = [{"implementation": "whole search", "median_s": 80.0, "wall_s": 91.0}]
    step = {"section": "retraining", "title": "16 layers", "shape": "ml"}
    step["lines"] = [
        {"implementation": "published, as shipped", "median_s": 1.3},
        {"implementation": "fast", "median_s": 0.1, "floor": {"seconds": 0.04}},
    ]
    found = gpu_targets_table({"cases": [search, step]})
    assert "| whole search, `ml` | at most 90 s | 91.0 s | no |" in found
    assert "| retraining step, `ml` | 12 times | 13 | yes |" in found
    assert "| retraining, 16 layers, `ml`: of its floor | at most 3 | 2.5 | yes |" in found
