"""Ranges of RecBole's own keys, which RecBole reads without looking: a wrong value fails late or means nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, did_you_mean, is_finite

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop", "sparse_adam")
"""The optimisers of RecBole's trainer; for any other name it logs a warning and takes Adam."""


def _integer(low: int, high: int = LARGEST_INTEGER) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _clipping(value: Any) -> bool:
    return value is None or (isinstance(value, dict) and is_finite(value.get("max_norm")) and value["max_norm"] > 0)


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


def check_measures(settings: Mapping[str, Any] | Any) -> None:
    """Check that there is something to measure, and that ``valid_metric`` is text, before RecBole splits it.

    Raises:
        ConfigError: If ``metrics`` or ``topk`` is empty, or ``valid_metric`` is not text.
    """
    for key in ("metrics", "topk"):
        if settings[key] in (None, "", [], ()):
            msg = f"`{key}` needs at least one entry, but is {settings[key]!r}."
            raise ConfigError(msg)
    cuts = settings["topk"] if isinstance(settings["topk"], (list, tuple)) else [settings["topk"]]
    if not all(map(_integer(1), cuts)):
        msg = f"`topk` must be integers from 1 to {LARGEST_INTEGER}, but is {settings['topk']!r:.80}."
        raise ConfigError(msg)
    metric = settings["valid_metric"] if "valid_metric" in settings else ""  # noqa: SIM401 - a Config has no get
    if not isinstance(metric, str):
        msg = f"`valid_metric` must be text such as NDCG@10, but is {metric!r}."
        raise ConfigError(msg)
