from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from recbole_nasr.configuration.resources import resource_dir
from recbole_nasr.errors import ArchitectureError, ConfigError, NewerFileError
from recbole_nasr.model.settings import (
    cost_limits,
    layer_settings,
    search_settings,
    search_space,
    strategy_settings,
)
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchSettings


def defaults(**changes: Any) -> dict[str, Any]:
    folder = Path(str(resource_dir("properties")))
    files = ("model/NASR", "model/NASRSearch", "search/paper", "space/paper")
    merged: dict[str, Any] = {}
    for name in files:
        merged |= yaml.safe_load((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    return {**merged, **changes}


def test_the_shipped_files_say_what_the_algorithms_own_defaults_say() -> None:
    assert layer_settings(defaults()) == LayerSettings()
    assert search_settings(defaults()) == SearchSettings()
    assert strategy_settings(defaults()) == StrategySettings()
    assert cost_limits(defaults()) == {}
    space = search_space(defaults())
    assert space.operations == ("transformer_h4", "transformer_h8", "tcn_d1_2", "tcn_d1_4")
    assert space.layers_per_block == (4, 4, 4, 4)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("paper", SearchSettings()),
        (
            "improved",
            SearchSettings(
                min_steps=200,
                path_sampling="fair",
                symmetric=True,
                target_momentum=0.99,
                leave_one_out=True,
                view_pairs=2,
                report_view_pairs=0,
                beam=2,
            ),
        ),
        ("next_item", SearchSettings(objective="next_item", min_steps=100, path_sampling="fair")),
        (
            "next_item_whole",
            SearchSettings(objective="next_item", scope="whole", epochs=8, min_steps=400, path_sampling="fair"),
        ),
    ],
)
def test_a_preset_departs_from_the_paper_in_what_it_lists_alone(preset: str, expected: SearchSettings) -> None:
    text = (Path(str(resource_dir("properties"))) / "search" / f"{preset}.yaml").read_text(encoding="utf-8")
    assert search_settings(defaults(**yaml.safe_load(text))) == expected


def test_the_search_batch_is_the_training_batch_unless_given() -> None:
    assert search_settings(defaults(train_batch_size=7)).batch_size == 7
    assert search_settings(defaults(train_batch_size=7, search_batch_size=9)).batch_size == 9


def test_lists_may_come_as_text_from_the_command_line() -> None:
    assert search_settings(defaults(augmentations="[mask, crop]")).augmentations == ("mask", "crop")
    space = search_space(defaults(candidate_ops="[tcn_d1_2,transformer_h4]", layers_per_block=[15, 1]))
    assert space.operations == ("tcn_d1_2", "transformer_h4")
    assert space.layers_per_block == (15, 1)


@pytest.mark.parametrize(
    ("read", "key", "value", "rule"),
    [
        (layer_settings, "hidden_size", 8.5, "must be an integer, but is 8.5"),
        (layer_settings, "hidden_size", "wide", "must be an integer, but is 'wide'"),
        (layer_settings, "hidden_size", None, "must be an integer, but is None"),
        (layer_settings, "hidden_size", True, "must be an integer, but is True"),
        (layer_settings, "hidden_size", float("inf"), "must be an integer, but is inf"),
        (layer_settings, "hidden_dropout_prob", [0.1], "must be a number"),
        (layer_settings, "linear_residual", "yes", "must be True or False, but is 'yes'"),
        (search_settings, "augmentations", [], "must be a list of names"),
        (search_settings, "augmentations", [1], "must be a list of names"),
        (search_settings, "search_epochs", 0, "must be at least 1"),
        (search_settings, "search_symmetric", "yes", "must be True or False, but is 'yes'"),
        (search_settings, "search_leave_one_out", 1, "must be True or False, but is 1"),
        (search_settings, "search_target_momentum", "high", "must be a number"),
        (search_settings, "search_beam", 1.5, "must be an integer"),
        (search_settings, "search_objective", None, "must be one of contrastive, next_item"),
        (search_space, "candidate_ops", 4, "must be a list of names, but is 4"),
        (search_space, "layers_per_block", "4,4", "must be a list of integers, but is '4,4'"),
        (search_space, "layers_per_block", [True], "must be a list of integers"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_under_its_key(read: Any, key: str, value: Any, rule: str) -> None:
    with pytest.raises(ConfigError, match=rf"`{key}` {rule}"):
        read(defaults(**{key: value}))


def test_operations_are_checked_against_the_width() -> None:
    with pytest.raises(ArchitectureError, match="`transformer_h8` was asked for at hidden_size=36"):
        search_space(defaults(hidden_size=36))


def test_a_time_is_seconds_or_what_the_search_of_a_finished_run_took(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"seconds": {"search": 10.0, "verification": 2.5, "training": 9.0}}))
    assert strategy_settings({**defaults(search_strategy="random"), "search_time": str(tmp_path)}).seconds == 12.5
    (tmp_path / "run.json").write_text('{"schema_version": 99}')
    with pytest.raises(NewerFileError, match="newer version"):
        strategy_settings({**defaults(search_strategy="random"), "search_time": str(tmp_path)})
    for damaged in ("[" * 100_000, "{}", '{"seconds": 3}', '{"seconds": {"search": "long"}}'):
        (tmp_path / "run.json").write_text(damaged)
        with pytest.raises(ConfigError, match="`search_time` must be seconds or the folder of a finished run"):
            strategy_settings({**defaults(search_strategy="random"), "search_time": str(tmp_path)})
    assert strategy_settings({**defaults(search_strategy="random"), "search_time": 7}).seconds == 7
    with pytest.raises(ConfigError, match="seconds or the folder of a finished run"):
        strategy_settings({**defaults(search_strategy="random"), "search_time": "soon"})


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        ({"search_strategy": "rndom", "search_time": None}, "Did you mean 'random'?"),
        ({"search_verify": 2, "search_time": None}, "proposes nothing"),
        ({"search_strategy": "nasr", "search_time": 5}, "`search_time` is for `search_strategy: random or predictor`"),
        ({"halving_factor": 1}, "`halving_factor` must be at least 2, but is 1"),
        ({"search_networks": 0}, "`search_networks` must be in 1..10000, but is 0"),
        ({"search_verify_keep": "no"}, "`search_verify_keep` must be True or False"),
        ({"eval_step": 0}, "`eval_step` must be at least 1, but is 0"),
        ({"epochs": 0}, "`epochs` must be at least 1, but is 0"),
    ],
)
def test_strategies_that_cannot_be_run_are_refused(changes: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(part)):
        strategy_settings({**defaults(search_strategy="random"), **changes})


@pytest.mark.parametrize("value", [0, -1, True, "1k"])
def test_a_limit_must_be_a_positive_number(value: Any) -> None:
    limits = {"max_parameters": None, "max_flops": value, "max_latency_ms": 2.5}
    with pytest.raises(ConfigError, match="`max_flops` must be a positive number"):
        cost_limits(limits)
    assert cost_limits({**limits, "max_flops": None}) == {"latency_ms": 2.5}
