"""An operation from a file of the user's, through RecBole, the command line, and a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recbole.quick_start import load_data_and_model

from recbole_nasr.commands import cli
from recbole_nasr.configuration.values import effective
from recbole_nasr.errors import ArchitectureError, ConfigError
from recbole_nasr.ops import load_operations, loading, registry
from recbole_nasr.request.arguments import parse_line
from recbole_nasr.request.preflight import check_request
from recbole_nasr.request.request import build_request

OWN = """
from recbole_nasr.ops import register_operation
from recbole_nasr.ops.feed_forward import FeedForwardOperation

@register_operation("mine", "mine", example="mine")
class Mine(FeedForwardOperation):
    pass
"""

Assemble = Callable[..., Any]


@pytest.fixture(autouse=True)
def own(tmp_path: Path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def forget() -> None:
    """Do what a fresh process has not done yet."""
    for family in registry.families_of(registry.operation_class("mine")[0].__module__):
        del registry._FAMILIES[family]
    loading._LOADED.clear()


def test_recbole_trains_it_and_the_configuration_says_where_it_is(toy: Path, assemble: Assemble, own: Path) -> None:
    run = assemble("NASR", toy, architecture=["mine", "skip"], ops_module="own.py")
    run.trainer.fit(run.train, run.valid, show_progress=False)
    assert [type(layer).__name__ for layer in run.model.network.layers] == ["Mine", "SkipOperation"]
    assert effective(run.config)["ops_module"] == str(own)


def test_a_search_can_choose_it(toy: Path, assemble: Assemble) -> None:
    run = assemble("NASRSearch", toy, candidate_ops=["mine"], ops_module="own.py")
    run.trainer.fit(run.train, run.valid, show_progress=False)
    assert set(run.model.architecture.layers) == {"mine"}


def test_a_checkpoint_runs_no_file_but_says_what_to_load(toy: Path, assemble: Assemble, own: Path) -> None:
    run = assemble("NASR", toy, architecture=["mine"], ops_module="own.py", epochs=1)
    run.trainer.fit(run.train, run.valid, show_progress=False)
    forget()
    with pytest.raises(ArchitectureError, match=r"'mine'.*load_operations\('/.*own\.py'\) first"):
        load_data_and_model(run.trainer.saved_model_file)
    load_operations(own.rename("moved.py"))
    model = load_data_and_model(run.trainer.saved_model_file)[1]
    assert model.architecture.layers == ("mine",)


def test_the_command_line_passes_it_on_by_its_absolute_path(toy: Path, own: Path) -> None:
    line = ["--model=NASR,NASRSearch", "--dataset=toy", "--data_path=data", "--ops_module=own.py"]
    settings = check_request(build_request(parse_line([*line, "--candidate_ops=[mine,skip]", "--architecture=mine"])))
    assert [keys["ops_module"] for keys in settings.values()] == [str(own)] * 2


@pytest.mark.parametrize(
    ("word", "reason"),
    [("--ops_module=missing.py", "there is no file"), ("--ops_module=broken.py", "line 1: ZeroDivisionError")],
)
def test_a_file_that_cannot_be_used_stops_the_command_before_any_work(
    word: str, reason: str, toy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text("1 / 0")
    assert cli.main(["--model=NASR", "--dataset=toy", "--data_path=data", word]) == cli.USER_ERROR
    assert reason in capsys.readouterr().err
    assert not Path("runs").exists()
    with pytest.raises(ConfigError, match=reason):
        load_operations(word.partition("=")[2])
