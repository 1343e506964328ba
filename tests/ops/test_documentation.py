from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import torch

from recbole_nasr.ops import LayerSettings, build_operation, load_operations, registry
from recbole_nasr.ops.__main__ import cost_table, main

DOC = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture
def example(tmp_path: Path) -> Path:
    (text,) = (code for code in re.findall(r"```python\n(.*?)```", DOC, re.DOTALL) if "register_operation" in code)
    path = tmp_path / "my_ops.py"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_table_of_costs_is_what_the_command_prints() -> None:
    assert cost_table(LayerSettings(), 30) in DOC


def test_every_family_has_its_source_there() -> None:
    sources = DOC.partition("## Sources")[2]
    assert [family for family in registry.known_operations() if f"`{family}" not in sources] == []


def test_the_operation_written_out_there_averages_the_last_items(example: Path) -> None:
    load_operations(example)
    operation = build_operation("average_w2", LayerSettings(hidden_size=4, linear_residual=False)).eval()
    branch = operation.branch
    branch.norm = torch.nn.Identity()
    torch.nn.init.eye_(branch.body.linear.weight)
    torch.nn.init.zeros_(branch.body.linear.bias)
    hidden = torch.tensor([1.0, 3.0, 7.0]).view(1, 3, 1).expand(1, 3, 4)
    assert (operation(hidden) - hidden)[0, :, 0].tolist() == [0.5, 2.0, 5.0]


def test_the_command_adds_the_operations_of_a_file(
    example: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ops", f"--ops_module={example}", "--length=10", "--hidden_size=8"])
    assert main() == 0
    flops = f"{2 * 10 * 8 * 8:,}"
    parameters = 8 * 8 + 8 + 2 * 8 + 1
    row = f"| `average_w5` | The mean of the last items, then a linear layer. | {parameters} | {flops} |"
    assert row in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("--ops_module=missing.py", "`ops_module` must be"),
        ("--length=0", "A sequence has at least one item, but `length` is 0"),
        ("--hidden_size=30", "The number of heads must divide `hidden_size`"),
    ],
)
def test_the_command_refuses_in_one_line(
    word: str, reason: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["ops", word])
    assert main() == 2
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {reason}")
    assert printed.count("\n") == 1
