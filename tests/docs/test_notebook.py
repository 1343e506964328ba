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
    assert "Test results on ml" in capsys.readouterr().out
    assert names["top"].groupby("user").size().tolist() == [3, 3]
    assert names["top"]["title"].str.len().min() > 0
    assert names["net"].architecture.layers == tuple(name for name in names["found"].layers for _ in range(2))
    assert (tmp_path / "runs" / "ml").is_dir()


def test_the_outputs_in_the_notebook_name_no_machine() -> None:
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(place in text for place in ("/home/", "/tmp/", "/root/", "/work/", "site-packages"))  # noqa: S108
