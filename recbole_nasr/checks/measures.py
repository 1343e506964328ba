"""How networks are evaluated: on which cases, by which metrics, and by which of these an epoch is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import recbole
from recbole.evaluator.register import metric_information

from recbole_nasr.configuration.values import MODELS
from recbole_nasr.data.options import value_of
from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, is_finite, whole
from recbole_nasr.model.settings import switch
from recbole_nasr.trainer.ranks import MASKING_NEEDS_RANKS

_DEFAULT = {"split": {"RS": [0.8, 0.1, 0.1]}, "group_by": "user", "order": "RO", "mode": "full"}
"""What RecBole takes for an entry that a table ``eval_args`` leaves out."""

_LEFT_OUT = ("valid_and_test", "valid_only", "test_only")
_SHARES = ("RS",) if recbole.__version__ == "1.2.0" else ("RS", "TS")  # which has no split by time
_MODE = re.compile(r"full|labeled|(uni|pop)\d+")


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
    if not all(map(whole(1), cuts)):
        msg = f"`topk` must be integers from 1 to {LARGEST_INTEGER}, but is {settings['topk']!r:.80}."
        raise ConfigError(msg)
    metric = value_of(settings, "valid_metric", "")
    if not isinstance(metric, str):
        msg = f"`valid_metric` must be text such as NDCG@10, but is {metric!r}."
        raise ConfigError(msg)


def check_eval_args(value: Any) -> None:
    """Check a table ``eval_args`` as it is given: RecBole looks at an entry when it needs it, and at some never.

    Raises:
        ConfigError: If it is no table, has an entry that RecBole does not know, or one that it cannot use.
    """
    given = value if isinstance(value, dict) else {}
    table = {**_DEFAULT, **given}
    instead = "given at all, it replaces the default table: name group_by, order, split and mode"
    rules = (
        (isinstance(value, dict) and table.keys() == _DEFAULT.keys(), f"be a table of {', '.join(_DEFAULT)}"),
        (table["order"] == "TO", f"be a table with order: TO ({instead})"),
        (
            _is_split(table["split"]),
            f"have one split, LS ({', '.join(_LEFT_OUT)}), or {' or '.join(_SHARES)} with a list of 3 shares",
        ),
        (table["group_by"] in ("user", "none", "None", None), "have group_by: user or none"),
        (
            _is_mode(table["mode"]),
            "have mode full, labeled, uniN or popN, such as uni100, or one each for valid and test",
        ),
    )
    for holds, rule in rules:
        if not holds:
            msg = f"`eval_args` must {rule}, but is {value!r:.200}."
            raise ConfigError(msg)


def _is_split(value: Any) -> bool:
    if not isinstance(value, dict) or len(value) != 1:
        return False
    [(kind, how)] = value.items()
    if kind == "LS":
        return how in _LEFT_OUT
    shares = kind in _SHARES and isinstance(how, list) and len(how) == 3
    return shares and all(is_finite(share) and share >= 0 for share in how) and bool(sum(how) > 0)


def _is_mode(value: Any) -> bool:
    modes = value if isinstance(value, dict) else {"valid": value}
    texts = all(isinstance(mode, str) and _MODE.fullmatch(mode) for mode in modes.values())
    return texts and bool(modes) and modes.keys() <= {"valid", "test"}


def valid_metric(settings: Mapping[str, Any] | Any) -> str:
    """Return the metric that stops the training: NDCG, or the first metric in use; at 20, or the largest cut."""
    metrics, topk = settings["metrics"], settings["topk"]
    names = [metrics] if isinstance(metrics, str) else list(metrics)
    cuts = [topk] if isinstance(topk, int) else list(topk)
    name = next((metric for metric in names if str(metric).lower() == "ndcg"), names[0])
    return f"{name}@{20 if 20 in cuts else max(cuts)}" if has_cut(str(name)) else str(name)


def check_valid_metric(config: Mapping[str, Any] | Any) -> None:
    """Check that the metric that chooses an epoch is one of those measured: RecBole looks after the first epoch.

    Raises:
        ConfigError: If it is none of them.
    """
    measured: list[str] = []
    for metric in config["metrics"]:
        measured += [f"{metric}@{k}" for k in config["topk"]] if has_cut(metric) else [metric]
    if config["valid_metric"].lower() not in (name.lower() for name in measured):
        names = ", ".join(measured)
        msg = f"`valid_metric` must be one of the metrics measured, {names}, but is {config['valid_metric']}."
        raise ConfigError(msg)


def check_evaluation(config: Mapping[str, Any] | Any) -> None:
    """Refuse metrics that cannot be had from what a test case is ranked among, which shows after a training only.

    Raises:
        ConfigError: For the first thing that does not go together.
    """
    modes, metrics = set(config["eval_args"]["mode"].values()), config["metrics"]
    needs = {need for metric in metrics for need in metric_information[metric.lower()]}
    for mode in modes:
        if mode[:3] in ("uni", "pop") and not int(mode[3:]) > 0:  # RecBole refuses what is no number
            msg = f"`eval_args` of mode {mode} ranks a target among no other items; name a number of them, as uni100."
            raise ConfigError(msg)
    if "labeled" in modes and needs & {"rec.topk", "rec.items", "rec.meanrank"}:
        msg = (
            "`eval_args` of mode labeled measures value metrics (AUC, LogLoss, MAE, RMSE), not "
            f"{', '.join(metrics)}; set the mode to full, or change `metrics`."
        )
        raise ConfigError(msg)
    masks = config["model"] in MODELS and "mask_history" in config and switch(config, "mask_history")
    if masks and (modes != {"full"} or needs != {"rec.topk"}):
        raise ConfigError(MASKING_NEEDS_RANKS.format(metrics=metrics))
    if masks and config["benchmark_filename"]:
        msg = "`mask_history` needs whole histories, which files of `benchmark_filename` do not hold; drop one of them."
        raise ConfigError(msg)
