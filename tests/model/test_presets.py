from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recbole_nasr.errors import ArchitectureError
from recbole_nasr.model.preset_names import PRESETS
from recbole_nasr.model.presets import resolve_architecture
from recbole_nasr.space import Architecture

TEXT = "transformer_h4,tcn_d1_2/transformer_h8"


def config(**changes: Any) -> dict[str, Any]:
    return {
        "candidate_ops": ["transformer_h4", "tcn_d1_2"],
        "n_layers": 3,
        "n_blocks": 2,
        "layers_per_block": None,
        "hidden_size": 16,
        "inner_ratio": 4,
        "kernel_size": 3,
        "hidden_dropout_prob": 0.1,
        "layer_norm_eps": 1e-8,
        "linear_residual": True,
        "seed": 2020,
        **changes,
    }


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sasrec-1", "transformer_h4,transformer_h4/transformer_h4"),
        ("sasrec-2", "transformer_h8,transformer_h8/transformer_h8"),
        ("nextitnet-1", "tcn_d1_2,tcn_d1_2/tcn_d1_2"),
        ("nextitnet-2", "tcn_d1_4,tcn_d1_4/tcn_d1_4"),
        ("alternating", "tcn_d1_2,transformer_h4/tcn_d1_2"),
        ("gru4rec", "gru4rec"),
    ],
)
def test_presets_have_the_depth_and_the_blocks_of_the_space(name: str, expected: str) -> None:
    assert str(resolve_architecture(name, config())) == expected


def test_a_random_architecture_is_in_the_space_and_governed_by_the_seed() -> None:
    drawn = [resolve_architecture("random", config(n_layers=16, seed=seed)) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0].layers) == {"transformer_h4", "tcn_d1_2"}
    assert [len(block) for block in drawn[0].blocks] == [8, 8]


@pytest.mark.parametrize(
    "value",
    [
        TEXT,
        f"[{TEXT}]",
        "['transformer_h4', 'tcn_d1_2'/'transformer_h8']",
        [["transformer_h4", "tcn_d1_2"], ["transformer_h8"]],
        (("transformer_h4", "tcn_d1_2"), ("transformer_h8",)),
    ],
)
def test_operation_names_come_as_text_or_lists(value: Any) -> None:
    assert str(resolve_architecture(value, config())) == TEXT


def test_a_file_and_a_run_folder_hold_an_architecture(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    Architecture.parse(TEXT).save(tmp_path / "run" / "architecture.json")
    Architecture.parse("gru4rec").save(tmp_path / "other.txt")
    for value in ("run", str(tmp_path / "run"), "run/architecture.json"):
        assert str(resolve_architecture(value, config())) == TEXT
    assert str(resolve_architecture("other.txt", config())) == "gru4rec"


def test_an_architecture_of_its_own_needs_no_blocks_of_the_space() -> None:
    assert str(resolve_architecture("tcn_d1_2", config(n_layers=1, n_blocks=4))) == "tcn_d1_2"
    with pytest.raises(ArchitectureError, match="n_blocks"):
        resolve_architecture("sasrec-1", config(n_layers=1, n_blocks=4))


@pytest.mark.parametrize("n_layers", [18, 400])
def test_operation_names_longer_than_a_file_name_may_be_are_no_file(n_layers: int) -> None:
    text = ",".join(["transformer_h4"] * n_layers)
    assert len(resolve_architecture(text, config()).layers) == n_layers


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("sasrec1", "`architecture` must be a preset .*'sasrec1'.*Did you mean 'sasrec-1'"),
        ("missing.json", r"missing\.json cannot be read"),
        ("0123", "`architecture` must be a preset"),
        ("a\0b", "`architecture` must be a preset"),
        (None, "must be a list of operation names"),
        (123, "must be a list of operation names"),
        ([["transformer_h4"], []], "every block at least one layer"),
        ("transformer_h3", "`transformer_h3` was asked for at hidden_size=16"),
    ],
)
def test_anything_else_is_refused(value: Any, rule: str) -> None:
    with pytest.raises(ArchitectureError, match=rule):
        resolve_architecture(value, config())


def test_no_preset_is_an_operation_name() -> None:
    for name in PRESETS:
        if name != "gru4rec":
            with pytest.raises(ArchitectureError):
                Architecture.parse(name)


def test_the_name_of_a_folder_that_is_no_run_is_told_from_operations(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "20260101-000000-NASR"
    run.mkdir(parents=True)
    with pytest.raises(ArchitectureError, match=r"with architecture\.json in it, but .*-NASR has none\."):
        resolve_architecture(str(run), config())
    with pytest.raises(ArchitectureError, match=r"-NSR does not exist\. Did you mean '.*-NASR'\?"):
        resolve_architecture(str(run.with_name("20260101-000000-NSR")), config())
