from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_search.ipynb"


def test_every_cell_of_the_example_notebook_runs_and_leaves_what_it_shows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)  # noqa: S102 - our own notebook
    screen = capsys.readouterr().out
    assert "Test results on ml" in screen
    assert _purposes(screen) == _purposes(_stored_text(cells))
    assert _search_line(screen) == _search_line(_stored_text(cells))
    assert names["top"].groupby("user").size().tolist() == [3, 3]
    assert names["top"]["title"].str.len().min() > 0
    assert names["net"].architecture.layers == tuple(name for name in names["found"].layers for _ in range(2))
    assert (tmp_path / "runs" / "ml").is_dir()


def _stored_text(cells: list[dict[str, Any]]) -> str:
    outputs = [output for cell in cells for output in cell.get("outputs", ())]
    return "".join("".join(output["text"]) for output in outputs if output["output_type"] == "stream")


def _purposes(screen: str) -> list[str]:
    """Return what the next commands are for; a screen that an earlier version has shown has others."""
    return [line.strip() for line in screen.splitlines() if line.startswith("  # ")]


def _search_line(screen: str) -> list[str]:
    return [line for line in screen.splitlines() if line.endswith(" sequences") and line.startswith("search: ")]


def test_the_outputs_in_the_notebook_name_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(place in text for place in ("/home/", "/tmp/", "/root/", "/work/", "site-packages"))  # noqa: S108
