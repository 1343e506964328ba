"""The comparability of a study's rows: their data, and which settings are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recbole_nasr.search.costs import COSTS
from recbole_nasr.studies.tables import Row

_RECIPE = (
    "train_scheme", "loss_type", "learner", "learning_rate", "train_batch_size", "epochs", "stopping_step",
    "hidden_size", "embedding_size", "tie_embeddings", "MAX_ITEM_LIST_LENGTH", "split_by", "mask_history",
    "valid_metric", *(f"max_{name}" for name in COSTS),
)  # fmt: skip
"""Keys that a reader needs to judge whether rows are comparable."""

_NETWORK = "architecture"
"""Rows are meant to differ in it; where they do not, as in `tune`, nothing else on the page says what it is."""


def footing(rows: Sequence[Row]) -> str:
    """Return as Markdown the settings that all rows share, and those that differ although not varied."""
    settings = [run.record.settings for row in rows for run in row.runs]
    shared, differing = [], []
    for key in (_NETWORK, *_RECIPE):
        values = list(dict.fromkeys(str(found.get(key, "its own")) for found in settings))
        known = [value for value in values if value not in ("its own", "None")]
        if len(values) == 1 and known:
            shared.append(f"`{key}={values[0]}`")
        elif known and key != _NETWORK:
            differing.append(f"`{key}`: " + "; ".join(_owners(rows, key)))
    data = "; ".join(
        f"{name}: {first['sequences']:,} sequences, {first['items']:,} items, {first['actions']:,} actions, "
        f"{first['test_cases']:,} test cases"
        for name, first in {row.dataset: row.runs[0].record.data for row in rows}.items()
        if first
    )
    lines = [f"{_equal(settings)} are the same for all rows. {data}."]
    lines += [f"Shared settings: {', '.join(shared)}."] if shared else []
    lines += ["Settings that differ between rows:", "\n".join(f"- {line}" for line in differing)] if differing else []
    return "\n\n".join(lines)


def _equal(settings: Sequence[Mapping[str, Any]]) -> str:
    """Return what the runs have in common beside their data, as the beginning of a sentence."""
    facts: dict[str, set[Any]] = {
        "cases": {str(found.get("split_by")) for found in settings if "split_by" in found},
        "evaluator": {bool(found.get("mask_history")) for found in settings},
        "the rule that picks the epoch": {str(found.get("valid_metric")) for found in settings},
    }
    equal = ["Data", *(name for name, values in facts.items() if len(values) <= 1)]
    return " and ".join([", ".join(equal[:-1]), equal[-1]] if equal[1:] else equal)


def _owners(rows: Sequence[Row], key: str) -> list[str]:
    """Return each value of ``key`` with the rows that have it; the most frequent value is not followed by names."""
    owners: dict[str, list[Row]] = {}
    for row in rows:
        value = row.runs[0].record.settings.get(key)
        owners.setdefault("not a key" if value is None else str(value), []).append(row)
    most = max(owners, key=lambda value: len(owners[value]))
    return [most, *(f"{value} ({_named(of, rows)})" for value, of in owners.items() if value != most)]


def _named(some: Sequence[Row], rows: Sequence[Row]) -> str:
    """Return the names of ``some`` of the rows; all rows of one of several data sets are named by the data set."""
    datasets = dict.fromkeys(row.dataset for row in rows)
    names = []
    for dataset in datasets:
        here = [row.name for row in some if row.dataset == dataset]
        where = f" on {dataset}" if len(datasets) > 1 else ""
        complete = where and len(here) == sum(row.dataset == dataset for row in rows)
        names += [f"all{where}"] if complete else [f"{name}{where}" for name in here]
    return ", ".join(names)
