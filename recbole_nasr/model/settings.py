"""From configuration keys to the settings objects of the algorithm; the one place that knows both."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from recbole_nasr.documents import RUN_SCHEMA, RUN_VERSION, read_document
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, is_finite, on_or_off
from recbole_nasr.model.strategies import StrategySettings
from recbole_nasr.ops import LayerSettings, validate_operation
from recbole_nasr.search.costs import COSTS
from recbole_nasr.search.settings import SearchSettings
from recbole_nasr.space import SearchSpace


class Settings(Protocol):
    """A RecBole ``Config`` or a plain dict: missing keys read as ``None``."""

    def __getitem__(self, key: str, /) -> Any:
        """Return the value of ``key``."""


def _read(config: Settings, key: str, kinds: type | tuple[type, ...], rule: str) -> Any:
    value = config[key]
    if not isinstance(value, kinds) or isinstance(value, bool):
        msg = f"`{key}` must be {rule}, but is {value!r:.80}."
        raise ConfigError(msg)
    return value


def integer(config: Settings, key: str) -> int:
    """Return the value of ``key``, a whole number.

    Raises:
        ConfigError: If it is anything else.
    """
    value = int(_read(config, key, int, "an integer"))
    if abs(value) > LARGEST_INTEGER:
        msg = f"`{key}` must be an integer of at most {LARGEST_INTEGER}, but is {value!s:.40}."
        raise ConfigError(msg)
    return value


def _number(config: Settings, key: str) -> float:
    value = _read(config, key, (int, float), "a number")
    if not is_finite(value):
        msg = f"`{key}` must be a finite number, but is {value!s:.40}."
        raise ConfigError(msg)
    return float(value)


def switch(config: Settings, key: str) -> bool:
    """Return the value of ``key``, which is on or off.

    Raises:
        ConfigError: If it is anything but True or False.
    """
    return on_or_off(key, config[key])


def _names(config: Settings, key: str) -> tuple[str, ...]:
    value = config[key]
    if isinstance(value, str):
        value = [name.strip() for name in value.strip("[]()").split(",")]
    if not isinstance(value, (list, tuple)) or not value or not all(isinstance(name, str) for name in value):
        msg = f"`{key}` must be a list of names, but is {value!r}."
        raise ConfigError(msg)
    return tuple(value)


def layer_settings(config: Settings) -> LayerSettings:
    """Return what all operations of a network have in common.

    Raises:
        ConfigError: If a value has the wrong type.
        ArchitectureError: If a value is out of range.
    """
    return LayerSettings(
        hidden_size=integer(config, "hidden_size"),
        inner_ratio=integer(config, "inner_ratio"),
        kernel_size=integer(config, "kernel_size"),
        dropout_prob=_number(config, "hidden_dropout_prob"),
        layer_norm_eps=_number(config, "layer_norm_eps"),
        linear_residual=switch(config, "linear_residual"),
    )


def tied_embeddings(config: Settings) -> bool:
    """Return whether the softmax layer is the item embedding; a checkpoint from before there was the key says nothing.

    Raises:
        ConfigError: If the value is neither True nor False.
    """
    return config["tie_embeddings"] is not None and switch(config, "tie_embeddings")


def average_decay(config: Settings) -> float:
    """Return the decay of the average over training steps, 0 for none.

    Raises:
        ConfigError: If it is not in ``[0, 1)``.
    """
    decay = _number(config, "weight_average_decay")
    if not 0 <= decay < 1:
        msg = f"`weight_average_decay` must be in [0, 1), 0 for no average, but is {decay}."
        raise ConfigError(msg)
    return decay


def search_space(config: Settings) -> SearchSpace:
    """Return the search space, every operation checked against the network settings.

    Raises:
        ConfigError: If a value has the wrong type.
        ArchitectureError: If an operation cannot be built or the blocks do not add up.
    """
    layers = config["layers_per_block"]
    if layers is not None and not (
        isinstance(layers, (list, tuple)) and all(isinstance(n, int) and not isinstance(n, bool) for n in layers)
    ):
        msg = f"`layers_per_block` must be a list of integers, but is {layers!r}."
        raise ConfigError(msg)
    space = SearchSpace.build(
        _names(config, "candidate_ops"), integer(config, "n_layers"), integer(config, "n_blocks"), layers
    )
    common = layer_settings(config)
    for name in space.operations:
        validate_operation(name, common)
    return space


def search_settings(config: Settings) -> SearchSettings:
    """Return how the search is run.

    Raises:
        ConfigError: If a value has the wrong type or is out of range.
    """
    batch_key = "train_batch_size" if config["search_batch_size"] is None else "search_batch_size"
    return SearchSettings(
        objective=str(config["search_objective"]),
        scope=str(config["search_scope"]),
        epochs=integer(config, "search_epochs"),
        min_steps=integer(config, "search_min_steps"),
        n_paths=integer(config, "search_n_paths"),
        path_sampling=str(config["search_path_sampling"]),
        batch_size=integer(config, batch_key),
        learning_rate=_number(config, "search_learning_rate"),
        weight_decay=_number(config, "search_weight_decay"),
        learning_rate_decay=_number(config, "search_learning_rate_decay"),
        decay_steps=integer(config, "search_decay_steps"),
        augmentations=_names(config, "augmentations"),
        augmentation_ratio=_number(config, "augmentation_ratio"),
        symmetric=switch(config, "search_symmetric"),
        target_momentum=_number(config, "search_target_momentum"),
        leave_one_out=switch(config, "search_leave_one_out"),
        holdout_ratio=_number(config, "search_holdout_ratio"),
        max_enumerated_paths=integer(config, "max_enumerated_paths"),
        ranking_metric=str(config["search_ranking_metric"]),
        view_pairs=integer(config, "search_view_pairs"),
        report_view_pairs=integer(config, "search_report_view_pairs"),
        report_sequences=integer(config, "search_report_sequences"),
        beam=integer(config, "search_beam"),
        choice="evolution" if config["search_strategy"] == "evolution" else "ranking",
        evolution_networks=integer(config, "evolution_networks"),
        evolution_population=integer(config, "evolution_population"),
        evolution_tournament=integer(config, "evolution_tournament"),
        sweeps=integer(config, "search_sweeps"),
        tie_standard_errors=_number(config, "search_tie_standard_errors"),
        tie_break=str(config["search_tie_break"]),
        ranking_batch_size=integer(config, "search_ranking_batch_size"),
    )


def strategy_settings(config: Settings) -> StrategySettings:
    """Return how candidate networks are found and compared.

    Raises:
        ConfigError: If a value has the wrong type or is out of range, or networks are to be compared that are never
            trained or validated.
        ArchitectureError: If the search space cannot be built.
    """
    settings = StrategySettings(
        strategy=str(config["search_strategy"]),
        verify=integer(config, "search_verify"),
        verify_ties=integer(config, "search_verify_ties"),
        verify_random=integer(config, "search_verify_random"),
        keep_pure=switch(config, "search_verify_keep"),
        networks=integer(config, "search_networks"),
        seconds=_time_spent(config["search_time"]),
        first_epochs=integer(config, "halving_epochs"),
        factor=integer(config, "halving_factor"),
    )
    for key in ("epochs", "eval_step"):
        if settings.trains and integer(config, key) < 1:
            msg = f"Networks are trained and compared by validation (`search_verify`, `search_strategy`): `{key}` "
            msg += f"must be at least 1, but is {config[key]}."
            raise ConfigError(msg)
    if not cost_limits(config):  # a budget may leave pure networks out; how many is known when costs are measured
        settings.check_predictions(len(search_space(config).operations))
    return settings


def _time_spent(value: Any) -> float | None:
    """Return seconds, or what the search of a finished run took, trainings to choose by included."""
    if value is None or is_finite(value):
        return value
    try:
        seconds = read_document(Path(str(value)) / "run.json", RUN_SCHEMA, RUN_VERSION)["seconds"]
        return float(seconds["search"] + seconds.get("verification", 0.0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        msg = f"`search_time` must be seconds or the folder of a finished run that has searched, but is {value!r}."
        raise ConfigError(msg) from None


def cost_limits(config: Settings) -> dict[str, float]:
    """Return the largest value of each cost that the configuration limits, by its name in ``COSTS``.

    Raises:
        ConfigError: If one is not a positive number.
    """
    limits = {name: config[f"max_{name}"] for name in COSTS if config[f"max_{name}"] is not None}
    for name, value in limits.items():
        if not is_finite(value) or not value > 0:
            msg = f"`max_{name}` must be a positive number, or empty (null) for no limit, but is {value!r:.80}."
            raise ConfigError(msg)
    return limits
