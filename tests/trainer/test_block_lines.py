from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from recbole_nasr.trainer import block_lines
from recbole_nasr.trainer.block_lines import BlockLines


def ranking(*, collapsed: bool = False, over_budget: tuple[int, ...] = (), n_space_paths: int = 0) -> Any:
    return SimpleNamespace(
        paths=[("skip", "ffn"), ("ffn", "ffn")],
        selected=1,
        scores=[0.5, 0.25],
        gap=0.25,
        gap_standard_error=0.125,
        ties=(1,),
        over_budget=over_budget,
        sampled=n_space_paths > 0,
        n_space_paths=n_space_paths,
        collapsed=collapsed,
        effective_rank=1.0,
        hidden_size=64,
    )


@pytest.mark.parametrize(
    ("n_blocks", "left"),
    [(3, ["; about 1 min 0 s of search left", "; about 10 s of search left", ""]), (0, ["", "", ""])],
    ids=["block after block", "all at the end"],
)
def test_every_block_says_its_best_path_and_the_time_of_the_blocks_after_it(
    n_blocks: int, left: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(block_lines.time, "perf_counter", lambda: now[0])
    heard: list[int] = []
    with caplog.at_level(logging.INFO, "recbole_nasr"):
        lines = BlockLines(n_blocks, lambda index, _: heard.append(index))
        for index, seconds in enumerate((30.0, 10.0, 20.0)):
            now[0] += seconds
            lines(index, ranking(collapsed=index == 2))
    chosen = "ffn,ffn, score 0.25000, gap to the second 2.5e-01 ± 1.2e-01, 1 of 2 paths tied"
    assert [record.getMessage() for record in caplog.records if record.levelname == "INFO"] == [
        f"Block 1: {chosen}{left[0]}",
        f"Block 2: {chosen}{left[1]}",
        f"Block 3: {chosen}, collapsed{left[2]}",
    ]
    assert heard == [0, 1, 2]


def test_paths_over_budget_are_none_that_could_have_been_chosen(caplog: pytest.LogCaptureFixture) -> None:
    lines = BlockLines(0, lambda *_: None)
    with caplog.at_level(logging.INFO, "recbole_nasr"):
        lines(0, ranking(over_budget=(0,)))
        several = ranking(n_space_paths=4096)
        several.paths, several.over_budget = [*several.paths, ("gru", "gru")], (2,)
        lines(1, several)
    assert [record.getMessage() for record in caplog.records] == [
        "Block 1: ffn,ffn, score 0.25000, the only path within the budget",
        "Block 2: ffn,ffn, score 0.25000, gap to the second 2.5e-01 ± 1.2e-01, 1 of 2 paths within the budget tied"
        " (a sample of 4,096)",
    ]
