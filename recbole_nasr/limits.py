"""Ranges of RecBole's own keys, which RecBole reads without looking: a wrong value fails late or means nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from recbole.evaluator.register import metric_information

from recbole_nasr.data.options import EMPTY
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, did_you_mean, is_finite

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
"""The optimisers of RecBole's trainer; for any other name it logs a warning and takes Adam."""


def _integer(low: int, high: int = LARGEST_INTEGER) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _clipping(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and is_finite(value.get("max_norm")) and value["max_norm"] > 0)


_NUMBER = r"\s*[-+]?(?:inf|\d+\.?\d*|\.\d+)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]{_NUMBER},{_NUMBER}[\])]\s*")


def _intervals(value: Any) -> bool:
    """Return whether RecBole reads intervals out of ``value``; it leaves out what is none, and so the filter."""
    return value in EMPTY or all(map(_INTERVAL.fullmatch, str(value).split(";")))


def _value_filters(value: Any) -> bool:
    texts = [one for one in value.values() if isinstance(one, str)] if isinstance(value, dict) else ()
    return value in EMPTY or (isinstance(value, dict) and all(map(_intervals, texts)))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (_integer(0, 2**32 - 1), "an integer from 0 to 4294967295"),
    "epochs": (_integer(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "train_batch_size": (_integer(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "eval_batch_size": (_integer(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "MAX_ITEM_LIST_LENGTH": (_integer(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "stopping_step": (_integer(0), f"an integer from 0 to {LARGEST_INTEGER}"),
    "eval_step": (_integer(0), f"an integer from 0 to {LARGEST_INTEGER}"),
    "metric_decimal_place": (_integer(0, 100), "an integer from 0 to 100"),
    "learning_rate": (lambda value: is_finite(value) and value > 0, "a positive number"),
    "weight_decay": (lambda value: is_finite(value) and value >= 0, "a number of at least 0"),
    "clip_grad_norm": (_clipping, "empty or a table with a positive max_norm, such as {max_norm: 5.0}"),
    "load_col": (lambda value: value is None or isinstance(value, dict), "empty or a table such as {inter: [...]}"),
    **dict.fromkeys(
        ("user_inter_num_interval", "item_inter_num_interval"),
        (_intervals, "empty or intervals such as [5,inf) or [2,4];[9,inf)"),
    ),
    "val_interval": (_value_filters, "empty or a table such as {rating: '[3,inf)'}"),
    "eval_args": (
        lambda value: value["order"] == "TO",
        "a table with order: TO (given at all, it replaces the default table: name group_by, order, split and mode)",
    ),
    "use_gpu": (lambda value: isinstance(value, bool), "True or False"),
    "reproducibility": (lambda value: isinstance(value, bool), "True or False"),
    "show_progress": (lambda value: isinstance(value, bool), "True or False"),
    "enable_amp": (lambda value: isinstance(value, bool), "True or False"),
}


def check_limits(config: Mapping[str, Any] | Any) -> None:
    """Check the keys of the training recipe that every model has.

    Args:
        config: A RecBole ``Config`` or a mapping; keys that are missing are not checked.

    Raises:
        ConfigError: For the first value that cannot be used.
    """
    for key, (holds, rule) in _RULES.items():
        if key in config and not holds(config[key]):
            msg = f"`{key}` must be {rule}, but is {config[key]!r:.200}."
            raise ConfigError(msg)
    learner = str(config["learner"]) if "learner" in config else LEARNERS[0]
    if learner.lower() not in LEARNERS:
        msg = f"`learner` must be one of {', '.join(LEARNERS)}, but is {learner!r}.{did_you_mean(learner, LEARNERS)}"
        raise ConfigError(msg)


MOST_LAYERS, WIDEST = 1024, 65_536

_OF_MODELS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("n_layers", "num_layers", "block_num", "n_heads", "step", "order_len", "high_order"),
        (_integer(1, MOST_LAYERS), f"an integer from 1 to {MOST_LAYERS}"),
    ),
    **dict.fromkeys(
        (
            *("hidden_size", "embedding_size", "inner_size", "kg_embedding_size", "kernel_size", "nv", "nh"),
            *("k_interests", "prototype_size", "interest_size", "short_item_length"),
        ),
        (_integer(1, WIDEST), f"an integer from 1 to {WIDEST}"),
    ),
    **dict.fromkeys(
        ("mlp_hidden_size", "dilations"),
        (
            lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(_integer(1, WIDEST), value)),
            f"a list of integers from 1 to {WIDEST}",
        ),
    ),
    **dict.fromkeys(("pretrain_epochs", "save_step"), (_integer(1), f"an integer from 1 to {LARGEST_INTEGER}")),
    **dict.fromkeys(
        (
            *("dropout_prob", "hidden_dropout_prob", "attn_dropout_prob", "sess_dropout", "item_dropout"),
            *("mask_ratio", "ft_ratio"),
        ),
        (lambda value: is_finite(value) and 0 <= value <= 1, "a number from 0 to 1"),
    ),
}
"""Sizes and shares of RecBole's own models, by the names they have in common."""


def check_model_keys(config: Mapping[str, Any] | Any, defaults: Mapping[str, Any]) -> None:
    """Check the keys of one of RecBole's own models: sizes by their names, other numbers by their defaults.

    Args:
        config: A RecBole ``Config`` or a mapping.
        defaults: What RecBole's files say of the model; what is a number there must be one here.

    Raises:
        ConfigError: For the first value that cannot be used.
    """
    for key, default in defaults.items():
        if key in _RULES or key == "topk" or key not in config:
            continue
        holds, rule = _OF_MODELS[key] if key in _OF_MODELS else _like(default)
        if not holds(config[key]):
            msg = f"`{key}` must be {rule}, but is {config[key]!r:.80}."
            raise ConfigError(msg)


def _like(default: Any) -> tuple[Callable[[Any], bool], str]:
    """Return what a key must be of which no more is known than its default."""
    if _is_number(default):
        return is_finite, "a finite number"
    if isinstance(default, list) and default and all(map(_is_number, default)):
        n = len(default)
        return (
            lambda value: isinstance(value, (list, tuple)) and len(value) == n and all(map(is_finite, value)),
            f"a list of {n} finite numbers",
        )
    return lambda _: True, ""


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def has_cut(metric: str) -> bool:
    """Return whether RecBole measures a metric at each of ``topk``; AUC, GAUC and such are one number.

    Example:
        >>> has_cut("NDCG"), has_cut("GAUC")
        (True, False)
    """
    needs = metric_information.get(metric.lower(), ["rec.topk"])
    return not {"rec.topk", "rec.items"}.isdisjoint(needs)


def check_measures(settings: Mapping[str, Any] | Any) -> None:
    """Check that there is something to measure, and that ``valid_metric`` is text, before RecBole splits it.

    Raises:
        ConfigError: If ``metrics`` or ``topk`` is empty or holds something else, or ``valid_metric`` is not text.
    """
    for key in ("metrics", "topk"):
        if settings[key] in (None, "", [], ()):
            msg = f"`{key}` needs at least one entry, but is {settings[key]!r}."
            raise ConfigError(msg)
    metrics = settings["metrics"]
    if not isinstance(metrics, str) and not (
        isinstance(metrics, (list, tuple)) and all(isinstance(name, str) for name in metrics)
    ):
        msg = f"`metrics` must be names such as NDCG, but is {metrics!r:.80}."
        raise ConfigError(msg)
    cuts = settings["topk"] if isinstance(settings["topk"], (list, tuple)) else [settings["topk"]]
    if not all(map(_integer(1), cuts)):
        msg = f"`topk` must be integers from 1 to {LARGEST_INTEGER}, but is {settings['topk']!r:.80}."
        raise ConfigError(msg)
    metric = settings["valid_metric"] if "valid_metric" in settings else ""  # noqa: SIM401 - a Config has no get
    if not isinstance(metric, str):
        msg = f"`valid_metric` must be text such as NDCG@10, but is {metric!r}."
        raise ConfigError(msg)
