"""Seconds of training until a network reaches one validation NDCG@20, on a row per prefix and with targets everywhere.

Per epoch the two schemes cannot be compared: one takes forty times the steps of the other. Here each trains for the
same time, is evaluated after every epoch, and is asked when it first reached the best value that all of them reach.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.sections.recbole_epoch import NASR_SASREC, Training, assemble
from benchmarks.speed.setting import Setting
from benchmarks.speed.timing import Seconds, seconds_per_call

TINY_S = 0.5
BUDGET_S = {"cpu": 450.0, "cuda": 90.0}
"""Seconds that each network trains, at least one epoch; less where three of them would not fit under the cap."""

SHARE_OF_CAP = 0.25
"""Of the cap of the section for each training: the three take three of them, and data and evaluations the rest."""

EVALUATION: dict[str, Any] = {
    "metrics": ["NDCG"],
    "topk": [10, 20],
    "valid_metric": "NDCG@20",
    "metric_decimal_place": 8,
}
Curve = list[tuple[float, float]]
"""Seconds of training and validation NDCG@20, after every epoch."""


def cases(setting: Setting) -> Iterator[Case]:
    """Train, then yield the seconds to the best value that all reached."""
    tiny, device, budget_s = setting.scale == "tiny", setting.device, training_seconds(setting)
    build: Callable[..., Training] = partial(assemble, device=device, tiny=tiny, **EVALUATION)
    builds: dict[str, Callable[[], Training]] = {
        "RecBole's SASRec, prefix": lambda: build("SASRec", train_scheme="prefix"),
        "RecBole's SASRec, autoregressive": lambda: build("SASRec", train_scheme="autoregressive"),
        "NASR": lambda: build("NASR", MAX_ITEM_LIST_LENGTH=50, **NASR_SASREC),
    }
    curves = {name: train(made(), device, budget_s) for name, made in builds.items()}
    level = min(max(value for _, value in curve) for curve in curves.values())
    yield Case(
        section="quality",
        title=f"validation NDCG@20 of {level:.4f}",
        shape="tiny" if tiny else "ml-100k",
        unit="training until it is reached, evaluations not counted",
        implementations=[_line(name, curve, level) for name, curve in curves.items()],
        details={"level": level, "training_s": budget_s, "curves": curves},
    )


def training_seconds(setting: Setting) -> float:
    """Return how long each network trains."""
    if setting.scale == "tiny":
        return TINY_S
    most = BUDGET_S.get(setting.device.type, BUDGET_S["cpu"])
    return most if setting.cap_s is None else min(most, SHARE_OF_CAP * setting.cap_s)


def train(training: Training, device: torch.device, budget_s: float) -> Curve:
    """Train until the budget is used, at least one epoch; evaluate after every one."""
    curve: Curve = []
    used = 0.0
    while used < budget_s:
        epoch = len(curve)
        used += seconds_per_call(lambda: training.trainer._train_epoch(training.train, epoch), device, 1).device  # noqa: B023 - called at once
        result = training.trainer.evaluate(training.valid, load_best_model=False)
        curve.append((used, float(result["ndcg@20"])))
    return curve


def time_to(curve: Curve, level: float) -> float:
    """Return the seconds after which ``level`` was first reached.

    Example:
        >>> time_to([(1.0, 0.1), (2.0, 0.3), (3.0, 0.2)], 0.2)
        2.0
    """
    return next(seconds for seconds, value in curve if value >= level)


def _line(name: str, curve: Curve, level: float) -> Implementation:
    seconds = time_to(curve, level)
    epochs = next(number for number, (_, value) in enumerate(curve, start=1) if value >= level)
    best = max(value for _, value in curve)
    note = f"reached in epoch {epochs}; best of {len(curve)} epochs {best:.4f}"
    return Implementation(name=name, remote=lambda: Seconds(seconds, seconds), note=note)
