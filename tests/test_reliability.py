"""docs/reliability.md says only what a test holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")


def promises() -> list[list[str]]:
    """Return the cells of each row of the tables of promises; the page has other tables too."""
    rows, inside = [], False
    for line in PAGE.splitlines():
        inside = line.startswith("|") and (inside or line.startswith("| promise |"))
        if inside and not re.match(r"\| (promise \||---)", line):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


ROWS = promises()
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_the_page_has_rows_of_four_cells_and_none_twice() -> None:
    assert len(ROWS) > 5
    assert {len(row) for row in ROWS} == {4}
    assert len({row[0] for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_every_promise_names_tests_that_exist_and_nothing_lost(row: list[str]) -> None:
    promise, tests, cases, lost = row
    named = TEST.findall(tests)
    assert named, promise
    for file, name in named:
        functions = ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
        assert name in {node.name for node in functions if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
    assert int(cases.replace(",", "")) >= 1
    assert lost == "0"


def test_tests_are_named_nowhere_but_in_the_rows() -> None:
    outside = [line for line in PAGE.splitlines() if not line.startswith("| ") and "::" in line]
    assert all("PATH::NAME" in line for line in outside)


def test_every_marker_of_the_tests_is_declared_so_that_any_plugin_of_pytest_can_be_left_out() -> None:
    core = {"parametrize", "skip", "skipif", "xfail", "usefixtures"}
    used = {
        name
        for file in (ROOT / "tests").rglob("*.py")
        for name in re.findall(r"pytest\.mark\.(\w+)", file.read_text(encoding="utf-8"))
    }
    markers = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("markers = [")[2].partition("]")[0]
    assert used - core <= set(re.findall(r'"(\w+):', markers))
