"""The table of what each search reads, held against what the code reads and does."""

from __future__ import annotations

from dataclasses import fields, replace
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from recbole_nasr.configuration.resources import available, load_yaml
from recbole_nasr.model.settings import search_settings, strategy_settings
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.model.strategy_keys import CONDITIONAL, unread_keys
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchProblem, SearchResult, SearchSequences, SearchSettings, search
from recbole_nasr.search.costs import CostTable
from recbole_nasr.space import SearchSpace
from recbole_nasr.trainer.strategies import STRATEGIES

SPACE = SearchSpace(("transformer_h2", "tcn_d1_2"), (3, 2))
TABLE = CostTable(SPACE.operations, np.array([[10.0, 3.0, 2.0], [7.0, 5.0, 4.0]]), np.zeros(3), "cpu")
FIELDS = {
    "search_verify_ties": ("verify_ties", 0),
    "search_verify_random": ("verify_random", 1),
    "search_verify_keep": ("keep_pure", False),
    "search_networks": ("networks", 5),
    "halving_epochs": ("first_epochs", 3),
    "halving_factor": ("factor", 3),
}
"""Keys of training candidates, the field of each, and another value than its default."""


class _Watched(SearchSettings):
    """Notes which of its fields are read."""

    seen: ClassVar[set[str]] = set()

    def __getattribute__(self, name: str) -> Any:
        _Watched.seen.add(name)
        return super().__getattribute__(name)


def _searched(settings: SearchSettings) -> SearchResult:
    items = torch.randint(1, 30, (24, 8), generator=torch.Generator().manual_seed(0))
    sequences = SearchSequences(items, torch.full((24,), 8), torch.arange(24))
    return search(
        SearchProblem(
            sequences=sequences,
            space=SPACE,
            n_items=30,
            layer_settings=LayerSettings(hidden_size=8),
            settings=settings,
            seed=3,
        )
    )


@pytest.mark.parametrize(
    ("objective", "scope", "choice"),
    [
        ("contrastive", "block", "ranking"),
        ("contrastive", "whole", "ranking"),
        ("next_item", "block", "ranking"),
        ("next_item", "whole", "ranking"),
        ("next_item", "whole", "evolution"),
    ],
)
def test_a_search_reads_what_the_table_says(objective: str, scope: str, choice: str) -> None:
    settings = _Watched(objective=objective, scope=scope, choice=choice, epochs=1, batch_size=8, holdout_ratio=0.25)
    _Watched.seen.clear()
    _searched(settings)
    read = _Watched.seen & {field.name for field in fields(settings)} - {"choice"}
    if objective == "next_item":
        read.discard("view_pairs")  # of which there are none: the noise of zero sequences is divided by it
    strategy = StrategySettings(strategy="evolution" if choice == "evolution" else "nasr")
    in_table = CONDITIONAL - FIELDS.keys() - unread_keys(strategy, settings).keys()
    assert {key.removeprefix("search_") for key in in_table} == read


@pytest.mark.parametrize(
    "plan",
    [
        StrategySettings(),
        StrategySettings(verify=1),
        StrategySettings(strategy="random"),
        StrategySettings(strategy="random", seconds=1.0),
        StrategySettings(strategy="halving"),
        StrategySettings(strategy="predictor"),
        StrategySettings(strategy="predictor", seconds=1.0),
    ],
    ids=str,
)
def test_a_key_that_a_strategy_does_not_read_changes_nothing_of_what_is_trained_and_any_other_does(
    plan: StrategySettings,
) -> None:
    # Everything ties, so that a tie has networks to propose.
    tied = {"tie_standard_errors": 1e9, "holdout_ratio": 0.25}
    settings = SearchSettings(objective="next_item", epochs=1, batch_size=8, **tied)
    found = _searched(settings)

    def trained(plan: StrategySettings) -> tuple[object, ...]:
        if not plan.trains:
            return ()
        strategy = STRATEGIES[plan.strategy](plan, SPACE, TABLE, {}, seed=0)
        done: list[Any] = []
        for number, candidate in enumerate(strategy.candidates(found, done)):
            done.append(SimpleNamespace(candidate=candidate, score=float(number)))
        networks = [one.candidate for one in done]
        kept = [bool({*one.origins} & {*strategy.kept}) or not plan.halves for one in networks]
        return networks, kept, plan.rungs(30)

    unread = unread_keys(plan, settings)
    for key, (field, other) in FIELDS.items():
        changed = trained(replace(plan, **{field: other})) != trained(plan)
        assert changed != (key in unread), key


def test_every_key_of_a_search_is_in_the_table_or_always_has_its_say() -> None:
    class Noting(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.add(key)
            return super().__getitem__(key)

    read: set[str] = set()
    values = {**load_yaml("properties/model", "NASR"), **load_yaml("properties/model", "NASRSearch")}
    config = Noting({**values, "eval_step": 1, "train_batch_size": 8})
    search_settings(config)
    config["search_batch_size"] = 8
    search_settings(config)
    config["max_flops"] = 1  # leaves out what depends on the space
    strategy_settings(config)
    limits = {f"max_{name}" for name in ("parameters", "flops", "latency_ms")}
    others = {"train_batch_size", "search_strategy", "search_verify", "search_time"}
    assert read - limits == CONDITIONAL | others


def test_no_preset_sets_what_its_search_does_not_read() -> None:
    defaults = {**load_yaml("properties/model", "NASR"), **load_yaml("properties/model", "NASRSearch")}
    for name in available("properties/search"):
        preset = load_yaml("properties/search", name)
        config = {**defaults, **preset, "eval_step": 1, "train_batch_size": 8, "max_flops": 1}
        assert not unread_keys(strategy_settings(config), search_settings(config)).keys() & preset.keys(), name
