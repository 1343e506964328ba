from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from recbole_nasr.errors import ArchitectureError, ConfigError
from recbole_nasr.ops import (
    LayerSettings,
    build_operation,
    check_own,
    load_operations,
    loading,
    locate_operations,
    operation_class,
    operations_from,
)
from recbole_nasr.ops.loading import loaded_digest
from recbole_nasr.ops.registry import family_of
from recbole_nasr.runs.checking import check_run
from recbole_nasr.search.evidence import trivial_predictors

OWN = """
import torch
from recbole_nasr.ops import GatedBranch, Operation, register_operation

@register_operation("scaled", r"scaled_x(?P<factor>\\d+)", example="scaled_x3")
class Scaled(Operation):
    def __init__(self, settings, factor):
        super().__init__()
        self.factor = factor[0]

    @classmethod
    def flops(cls, settings, length, factor):
        return 0

    def forward(self, hidden):
        return self.factor * hidden
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_a_file_registers_operations_and_is_named_by_its_absolute_path(own: Path) -> None:
    assert load_operations("own.py") == load_operations(own) == str(own)
    hidden = torch.ones(1, 2, 4)
    assert torch.equal(build_operation("scaled_x7", LayerSettings(hidden_size=4))(hidden), 7 * hidden)


def test_an_importable_module_does_too_even_if_something_imported_it_before(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own.parent)
    __import__("own")
    assert load_operations("own") == "own"
    assert operation_class("scaled_x2")[1] == {"factor": (2,)}


@pytest.mark.parametrize("changed", ["own/__init__.py", "own/parts.py"])
def test_a_module_is_told_from_what_it_was_by_the_content_of_its_files(
    changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "own"
    package.mkdir()
    (package / "__init__.py").write_text("from own import parts")
    (package / "parts.py").write_text(OWN)
    assert loaded_digest("own") == ""

    def digest() -> str:
        """Load it as a fresh process does."""
        loading._LOADED.clear()
        for name in ("own", "own.parts"):
            sys.modules.pop(name, None)
        return loaded_digest(load_operations("own"))

    before = digest()
    assert digest() == before != ""
    with (tmp_path / changed).open("a") as file:
        file.write("\n# other code\n")
    assert digest() != before


def test_a_file_is_run_again_only_if_it_changed(own: Path) -> None:
    load_operations(own)
    first = operation_class("scaled_x3")[0]
    load_operations(own)
    assert operation_class("scaled_x3")[0] is first
    own.write_text(OWN.replace("scaled", "renamed"))
    load_operations(own)
    assert operation_class("renamed_x3")[0] is not first
    with pytest.raises(ArchitectureError, match="known families"):
        operation_class("scaled_x3")


def test_families_of_ones_own_are_told_apart_whatever_their_names_have_in_common(own: Path) -> None:
    other = OWN.replace("scaled", "my_other").replace("Scaled", "Other")
    own.write_text(OWN.replace("scaled", "my_scaled") + other)
    load_operations(own)
    assert [family_of(name) for name in ("my_scaled_x3", "my_other_x2", "gru")] == ["my_scaled", "my_other", "gru"]
    predictors = trivial_predictors([("my_scaled_x3", "my_other_x2")], [0], [0])
    assert predictors.keys() == {"share of my_scaled_x3", "share of my_other_x2", "parameters", "FLOPs"}


def test_a_module_that_was_refused_is_imported_anew_once_it_is_mended(
    own: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(own.parent)
    own.write_text(OWN.replace("self.factor * hidden", "hidden.flip(1)"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="must be causal"):
            load_operations("own")
    own.write_text(OWN)
    load_operations("own")
    assert operation_class("scaled_x2")[1] == {"factor": (2,)}


def test_a_file_that_fails_leaves_everything_as_it_was(own: Path) -> None:
    load_operations(own)
    own.write_text(OWN.replace("scaled", "other") + "\n1 / 0\n")
    with pytest.raises(ConfigError):
        load_operations(own)
    assert operation_class("scaled_x3")[0].__name__ == "Scaled"
    with pytest.raises(ArchitectureError):
        operation_class("other_x3")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", r"own\.py cannot be used: line 1: ZeroDivisionError"),
        ("x = 1\ndef :", r"line 2: SyntaxError"),
        ("import not_there", r"line 1: ModuleNotFoundError: No module named 'not_there'"),
        ("import sys\nsys.exit(3)", r"line 2: SystemExit: 3"),
        ("x = 1", r"it registers no operation; decorate a class"),
        (OWN.replace('"scaled"', '"tcn"'), r"line [56]: The operation family 'tcn'.* taken by .*ConvolutionOperation"),
        (OWN.replace("scaled_x", "tcn_d"), r"'scaled' \('tcn_d3'\) is taken by .*; choose another name"),
        (OWN.replace('"scaled_x3"', '"sacled_x3"'), r"must have an example .* but has 'sacled_x3'"),
        (OWN.replace(r"\d+", r"\w+").replace('"scaled_x3"', '"scaled_xbig"'), r"numbers in every named group"),
        (OWN.replace(r"\d+)", r"\d+"), r"must have a regular expression"),
        (OWN.replace("(Operation)", "(torch.nn.Module)"), r"derived from recbole_nasr\.ops\.Operation"),
        (OWN.replace("return 0", "return None"), r"FLOPs of 'scaled_x3' must be an integer"),
        (OWN.replace("self.factor * hidden", "hidden.cumsum(1).flip(1)"), r"must be causal"),
        (OWN.replace("self.factor * hidden", "hidden + hidden.mean(1, keepdim=True)"), r"must be causal"),
        (
            OWN.replace("self.factor * hidden", "hidden.cumsum(1) / hidden.size(1)"),
            r"must map an item alike however many follow, but its outputs change with their number",
        ),
        (OWN.replace("self.factor * hidden", "hidden[:, 1:]"), r"must map \(B, L, D\) .* made \(2, 8, 64\)"),
        (OWN.replace("self.factor * hidden", "hidden * torch.rand(1)"), r"one result for one input"),
        (OWN.replace("self.factor * hidden", "hidden.mul_(self.factor)"), r"must leave its input as it is"),
        (OWN.replace("self.factor * hidden", "hidden - hidden.mean(0)"), r"must map each sequence by itself"),
        (
            OWN.replace("self.factor * hidden", "hidden - self.training * hidden.mean(1, keepdim=True)"),
            r"must be causal in training too",
        ),
        (
            OWN.replace("self.factor * hidden", "hidden - self.training * hidden.mean(0)"),
            r"must map each sequence by itself in training too",
        ),
        (
            OWN.replace("self.factor * hidden", "torch.nn.functional.pad(hidden, (0, 0, 0, 40))[:, 40:]").replace(
                "scaled_x3", "scaled_x40"
            ),
            r"must be causal",
        ),
        (OWN.replace("self.factor * hidden", "hidden.log()"), r"must give finite numbers, but gave a NaN"),
        (OWN.replace("self.factor * hidden", "self.missing"), r"line 16: AttributeError"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_one_line(own: Path, text: str, reason: str) -> None:
    own.write_text(text)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_operations(own)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("missing.py", r"there is no file /.*missing\.py"),
        ("a folder/own", r"the dotted name of a module, but is 'a folder/own'"),
        ("", r"is ''"),
        (7, r"is '7'"),
        ("not_there.own", r"there is no module 'not_there\.own'.*ending in \.py"),
        ("json", r"`ops_module` json cannot be used: it registers no operation"),
    ],
)
def test_what_is_no_file_and_no_module_is_refused(source: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        load_operations(source)


def test_an_operation_whose_example_keeps_to_the_rules_and_that_a_run_names_is_tried_out_before_it(own: Path) -> None:
    ahead = "torch.nn.functional.pad(hidden, (0, 0, 0, self.factor - 1))[:, self.factor - 1:]"
    own.write_text(OWN.replace("self.factor * hidden", ahead).replace('"scaled_x3"', '"scaled_x1"'))
    load_operations(own)
    check_own(["scaled_x1", "skip", "tcn_d1_2"], LayerSettings(hidden_size=4))
    with pytest.raises(ArchitectureError, match=r"'scaled_x7' must be causal.* at hidden_size=4"):
        check_own(["scaled_x1", "scaled_x7"], LayerSettings(hidden_size=4))
    settings = {"n_layers": 2, "n_blocks": 1, "ops_module": str(own)}
    for model, names in (
        ("NASR", {"architecture": "scaled_x7,skip"}),
        ("NASRSearch", {"candidate_ops": ["scaled_x7"]}),
    ):
        with pytest.raises(ArchitectureError, match="'scaled_x7' must be causal"):
            check_run(model, "ml", {**settings, **names})


def test_loading_leaves_the_random_state_alone_and_locating_runs_nothing(own: Path) -> None:
    own.write_text(OWN.replace("super().__init__()", "super().__init__(); self.weight = torch.randn(9)"))
    state = torch.get_rng_state()
    assert locate_operations("own.py") == str(own)
    with pytest.raises(ArchitectureError):
        operation_class("scaled_x3")
    load_operations(own)
    assert torch.equal(torch.get_rng_state(), state)


def test_an_unknown_operation_of_a_known_file_says_how_to_load_it(own: Path) -> None:
    with (
        pytest.raises(ArchitectureError, match=r"'scaled_x3'.*load_operations\('/.*own\.py'\) first"),
        operations_from(str(own)),
    ):
        operation_class("scaled_x3")
    with pytest.raises(ArchitectureError, match=r"come from `ops_module`\.$"), operations_from(None):
        operation_class("zzz_x3")
