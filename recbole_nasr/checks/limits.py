"""Ranges of RecBole's own keys, which RecBole reads without looking: a wrong value fails late or means nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from recbole_nasr.data.options import EMPTY, value_of
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, did_you_mean, is_finite, whole

LEARNERS = ("adam", "adamw", "sgd", "adagrad", "rmsprop")
"""The optimisers of RecBole's trainer, without sparse_adam, which refuses the dense gradients of every model here.

For a name it does not know RecBole logs a warning and takes Adam.
"""


_CLIPPING = {"max_norm", "norm_type", "error_if_nonfinite", "foreach"}  # what torch takes


def _clipping(value: Any) -> bool:
    if not isinstance(value, dict):
        return value is None
    return value.keys() <= _CLIPPING and is_finite(value.get("max_norm")) and bool(value["max_norm"] > 0)


_NUMBER = r"\s*[-+]?(?:inf|\d+\.?\d*|\.\d+)\s*"
_INTERVAL = re.compile(rf"\s*[\[(]{_NUMBER},{_NUMBER}[\])]\s*")


def _intervals(value: Any) -> bool:
    """Return whether RecBole reads intervals out of ``value``; it leaves out what is none, and so the filter."""
    return value in EMPTY or all(map(_INTERVAL.fullmatch, str(value).split(";")))


def _value_filters(value: Any) -> bool:
    texts = [one for one in value.values() if isinstance(one, str)] if isinstance(value, dict) else ()
    return value in EMPTY or (isinstance(value, dict) and all(map(_intervals, texts)))


_RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "seed": (whole(0, 2**32 - 1), "an integer from 0 to 4294967295"),
    "epochs": (whole(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "train_batch_size": (whole(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "eval_batch_size": (whole(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "MAX_ITEM_LIST_LENGTH": (whole(1), f"an integer from 1 to {LARGEST_INTEGER}"),
    "stopping_step": (whole(0), f"an integer from 0 to {LARGEST_INTEGER}"),
    "eval_step": (whole(-LARGEST_INTEGER), f"an integer up to {LARGEST_INTEGER}, below 1 for no validation"),
    "metric_decimal_place": (whole(0, 100), "an integer from 0 to 100"),
    "learning_rate": (lambda value: is_finite(value) and value > 0, "a positive number"),
    "weight_decay": (lambda value: is_finite(value) and value >= 0, "a number of at least 0"),
    "clip_grad_norm": (_clipping, "empty (null) or a table with a positive max_norm, such as {max_norm: 5.0}"),
    "load_col": (
        lambda value: value is None or isinstance(value, dict),
        "empty (null) or a table such as {inter: [...]}",
    ),
    "unused_col": (
        lambda value: value is None or isinstance(value, dict),
        "empty (null) or a table such as {inter: [...]}",
    ),
    **dict.fromkeys(
        ("user_inter_num_interval", "item_inter_num_interval"),
        (_intervals, "empty (null) or intervals such as [5,inf) or [2,4];[9,inf)"),
    ),
    "val_interval": (_value_filters, "empty (null) or a table such as {rating: '[3,inf)'}"),
    "shuffle": (lambda value: isinstance(value, bool), "True or False"),
    "use_gpu": (lambda value: isinstance(value, bool), "True or False"),
    "reproducibility": (lambda value: isinstance(value, bool), "True or False"),
    "show_progress": (lambda value: isinstance(value, bool), "True or False"),
    "enable_amp": (lambda value: isinstance(value, bool), "True or False"),
}


def check_limits(config: Mapping[str, Any] | Any, *, trains: bool = True) -> None:
    """Check the keys of the training recipe that every model has.

    Args:
        config: A RecBole ``Config`` or a mapping; keys that are missing are not checked.
        trains: Whether there must be an epoch; RecBole's quick start also evaluates weights as they are drawn.

    Raises:
        ConfigError: For the first value that cannot be used.
    """
    for key, (holds, rule) in _RULES.items():
        if key not in config or holds(config[key]) or (key == "epochs" and not trains and whole(0)(config[key])):
            continue
        msg = f"`{key}` must be {rule}, but is {config[key]!r:.200}."
        raise ConfigError(msg)
    learner = str(value_of(config, "learner", LEARNERS[0]))
    if learner.lower() not in LEARNERS:
        msg = f"`learner` must be one of {', '.join(LEARNERS)}, but is {learner!r}.{did_you_mean(learner, LEARNERS)}"
        raise ConfigError(msg)


MOST_LAYERS, WIDEST = 1024, 65_536

_OF_MODELS: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("n_layers", "num_layers", "block_num", "n_heads", "step", "order_len", "high_order"),
        (whole(1, MOST_LAYERS), f"an integer from 1 to {MOST_LAYERS}"),
    ),
    **dict.fromkeys(
        (
            *("hidden_size", "embedding_size", "inner_size", "kg_embedding_size", "kernel_size", "nv", "nh"),
            *("k_interests", "prototype_size", "interest_size", "short_item_length"),
        ),
        (whole(1, WIDEST), f"an integer from 1 to {WIDEST}"),
    ),
    **dict.fromkeys(
        ("mlp_hidden_size", "dilations"),
        (
            lambda value: isinstance(value, (list, tuple)) and bool(value) and all(map(whole(1, WIDEST), value)),
            f"a list of integers from 1 to {WIDEST}",
        ),
    ),
    **dict.fromkeys(("pretrain_epochs", "save_step"), (whole(1), f"an integer from 1 to {LARGEST_INTEGER}")),
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


_RATIOS: dict[str, tuple[str, ...]] = {
    "mask_itemseq": ("mask_ratio",),
    "inverse_itemseq": (),
    "crop_itemseq": ("eta",),
    "reorder_itemseq": ("beta",),
    "user_defined": (),
}
"""RecBole's transforms of a batch (recbole/data/transform.py), and the keys that each cannot do without."""


def refuse_transform(config: Mapping[str, Any] | Any, model: str) -> None:
    """Refuse a transform of RecBole, which adds changed histories to every batch, for one of our models.

    Raises:
        ConfigError: If there is one.
    """
    transform = value_of(config, "transform")
    if transform is not None:
        msg = (
            f"`transform` must be empty (null) for {model}, which reads nothing it adds, but is {transform!r:.80}; "
            "leave it out, or name the model of RecBole that it is for, as in --BERT4Rec.transform=mask_itemseq."
        )
        raise ConfigError(msg)


def check_transform(config: Mapping[str, Any] | Any) -> None:
    """Check the transform of one of RecBole's own models, and the shares that it needs.

    Raises:
        ConfigError: If there is no such transform, or a share is missing or out of range.
    """
    transform = value_of(config, "transform")
    if transform is None:
        return
    if str(transform) not in _RATIOS:
        hint = did_you_mean(str(transform), _RATIOS)
        msg = f"`transform` must be empty (null) or one of {', '.join(_RATIOS)}, but is {transform!r:.80}.{hint}"
        raise ConfigError(msg)
    holds, rule = _OF_MODELS["mask_ratio"]
    for key in _RATIOS[str(transform)]:
        value = value_of(config, key)
        if not holds(value):
            msg = (
                f"`{key}` must be {rule} with `transform` {transform}, but is {value!r:.80}; set it, as in --{key}=0.5."
            )
            raise ConfigError(msg)


def _like(default: Any) -> tuple[Callable[[Any], bool], str]:
    """Return what a key must be of which no more is known than its default."""
    if is_finite(default):
        return is_finite, "a finite number"
    if isinstance(default, list) and default and all(map(is_finite, default)):
        n = len(default)
        return (
            lambda value: isinstance(value, (list, tuple)) and len(value) == n and all(map(is_finite, value)),
            f"a list of {n} finite numbers",
        )
    return lambda _: True, ""
