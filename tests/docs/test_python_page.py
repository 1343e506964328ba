from __future__ import annotations

import doctest
import importlib
import re
from pathlib import Path

import pytest
import torch

import recbole_nasr

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def test_the_examples_of_the_page_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    torch.manual_seed(0)
    for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), names)  # noqa: S102
    assert capsys.readouterr().out.strip() == str(names["found"].architecture)
    scores = names["scores"]
    assert isinstance(scores, torch.Tensor)
    assert scores.shape == (64, 100)


def test_the_examples_in_the_docstrings_hold() -> None:
    package = Path(recbole_nasr.__file__).parent
    for path in package.rglob("*.py"):
        if ">>> " in path.read_text(encoding="utf-8"):
            name = ".".join(("recbole_nasr", *path.relative_to(package).with_suffix("").parts)).removesuffix(
                ".__init__"
            )
            assert doctest.testmod(importlib.import_module(name), extraglobs={"torch": torch}).failed == 0, name


def test_every_import_that_the_page_names_exists_and_can_be_found_by_completion() -> None:
    assert {*recbole_nasr.__all__} <= {*dir(recbole_nasr)}
    for name in re.findall(r"^\| `recbole_nasr\.(\w+)", PAGE.read_text(encoding="utf-8"), re.MULTILINE):
        assert getattr(recbole_nasr, name) is not None
