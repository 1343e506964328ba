"""The parts of a benchmark, one module each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.speed.cases import Case
from benchmarks.speed.setting import Setting

Section = Callable[[Setting], Iterator[Case]]
ON_REQUEST = ("quality",)
"""Sections that run only when they are named: they train for a long time."""


def sections() -> dict[str, Section]:
    """Return every section by name, in the order in which they run."""
    from benchmarks.speed.sections import (
        augmentation,
        evaluation,
        growth,
        quality,
        ranking,
        recbole_epoch,
        retraining,
        search_step,
        softmax,
        whole_search,
    )

    return {
        "data": augmentation.cases,
        "search_step": search_step.cases,
        "ranking": ranking.cases,
        "retraining": retraining.cases,
        "softmax": softmax.cases,
        "evaluation": evaluation.cases,
        "recbole": recbole_epoch.cases,
        "search": whole_search.cases,
        "growth": growth.cases,
        "quality": quality.cases,
    }
