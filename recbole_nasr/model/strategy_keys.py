"""Which keys only some searches read: the one table of them, so that a key without effect can be refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from recbole_nasr.errors import ConfigError
from recbole_nasr.model.settings import Settings, search_settings, strategy_settings
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.search.settings import OF_VIEWS, SearchSettings


@dataclass(frozen=True)
class _Readers:
    """Searches that read some keys.

    Args:
        keys: Configuration keys.
        needed: The searches, in words, as what to set.
        reads: Whether a search is one of them.
    """

    keys: tuple[str, ...]
    needed: str
    reads: Callable[[StrategySettings, SearchSettings], bool]


_TABLE = (
    _Readers(
        (
            "search_objective",
            "search_scope",
            "search_epochs",
            "search_min_steps",
            "search_n_paths",
            "search_path_sampling",
            "search_batch_size",
            "search_learning_rate",
            "search_weight_decay",
            "search_learning_rate_decay",
            "search_decay_steps",
            "search_holdout_ratio",
            "search_tie_standard_errors",
            "search_tie_break",
            "search_ranking_batch_size",
        ),
        "`search_strategy` nasr or evolution, which have a supernet",
        lambda strategy, _: strategy.searches,
    ),
    _Readers(
        tuple(OF_VIEWS),
        "`search_strategy: nasr` with `search_objective: contrastive`",
        lambda strategy, search: strategy.searches and search.objective == "contrastive",
    ),
    _Readers(
        ("search_ranking_metric",),
        "`search_strategy` nasr or evolution with `search_objective: next_item`",
        lambda strategy, search: strategy.searches and search.objective == "next_item",
    ),
    _Readers(
        ("max_enumerated_paths",),
        "`search_strategy: nasr`, which ranks the paths of blocks",
        lambda strategy, _: strategy.strategy == "nasr",
    ),
    _Readers(
        ("search_beam",),
        "`search_strategy: nasr` with `search_scope: block`",
        lambda strategy, search: strategy.strategy == "nasr" and search.scope == "block",
    ),
    _Readers(
        ("search_sweeps",),
        "`search_strategy: nasr` with `search_scope: whole`",
        lambda strategy, search: strategy.strategy == "nasr" and search.scope == "whole",
    ),
    _Readers(
        ("evolution_networks", "evolution_population", "evolution_tournament"),
        "`search_strategy: evolution`",
        lambda strategy, _: strategy.strategy == "evolution",
    ),
    _Readers(
        ("search_verify_ties", "search_verify_keep"),
        "`search_verify` of at least 1",
        lambda strategy, _: strategy.verify > 0,
    ),
    _Readers(
        ("search_verify_random",),
        "`search_verify` of at least 1, or `search_strategy: predictor`",
        lambda strategy, _: strategy.verify > 0 or strategy.strategy == "predictor",
    ),
    _Readers(
        ("search_networks",),
        "`search_strategy` random, halving or predictor, without `search_time`",
        lambda strategy, _: not strategy.searches and strategy.seconds is None,
    ),
    _Readers(
        ("halving_epochs", "halving_factor"),
        "`search_verify` of at least 1, or `search_strategy: halving`",
        lambda strategy, _: strategy.trains and strategy.halves,
    ),
)

CONDITIONAL = frozenset(key for readers in _TABLE for key in readers.keys)
"""Keys that only some searches read."""


def unread_keys(strategy: StrategySettings, search: SearchSettings) -> dict[str, str]:
    """Return the keys that a search does not read, each with what would read it, in words."""
    return {key: readers.needed for readers in _TABLE if not readers.reads(strategy, search) for key in readers.keys}


def check_read(config: Settings, given: Iterable[str]) -> None:
    """Refuse keys that the search in force does not read.

    Args:
        config: Every value in force.
        given: Keys that the user gave for this search. Those of a file are not among them: it may hold the settings of
            several searches, and the file of a run has every key.

    Raises:
        ConfigError: For the first key without effect; says what would read it.
    """
    conditional = [key for key in given if key in CONDITIONAL]
    if not conditional:
        return
    unread = unread_keys(strategy_settings(config), search_settings(config))
    for key in conditional:
        if key in unread:
            names = ("search_strategy", "search_objective", "search_scope", "search_verify")
            msg = (
                f"`{key}` has an effect only with {unread[key]}, but in force are "
                f"{', '.join(f'`{name}: {config[name]}`' for name in names)}; leave it out, or change those."
            )
            raise ConfigError(msg)
