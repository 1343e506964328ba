"""The networks of the study `fidelity` on its page: how much they differ, and how good each of them is."""

from __future__ import annotations

import math

import numpy as np

from recbole_nasr.alignment import as_markdown
from recbole_nasr.report.study_footing import footing
from recbole_nasr.studies.fidelity_statistics import between_seeds
from recbole_nasr.studies.fidelity_tables import FidelityTable
from recbole_nasr.studies.tables import FinishedRun, rows_of

PART_NAMES = {"valid": "validation", "test": "test"}
"""Parts of the data that networks are held against, and what people call them."""


def networks_section(table: FidelityTable) -> list[str]:
    """Return the parts of the page on the networks, the heading first; ``table`` has at least two of them."""
    runs = [
        FinishedRun(network.sampled.name, record.dataset, {}, record)
        for network in table.networks
        for record in network.runs.values()
    ]
    return ["## The networks", footing(rows_of(runs)), _spread(table), _strata(table), _networks(table)]


def number_text(value: float) -> str:
    """Return a correlation with two digits, or ``-`` for nan."""
    return "-" if math.isnan(value) else f"{value:.2f}"


def _spread(table: FidelityTable) -> str:
    """Return how much networks differ, compared with how much seeds do."""
    note = (
        "Standard deviation of the networks' means over seeds, and what chance alone would make of it: that between "
        "the seeds of one network, divided by the root of their number. Where the two are alike, nothing is ranked."
    )
    rows = [["metric", "part", "mean", "over networks", "chance", "τ between seeds"]]
    for metric in table.metrics:
        for part, name in PART_NAMES.items():
            values = np.array([[getattr(run, part)[metric] for run in one.runs.values()] for one in table.networks])
            over = float(values.mean(axis=1).std(ddof=1))
            numbers = [f"{values.mean():.4f}", f"{over:.4f}", "-", "-"]
            if values.shape[1] > 1:
                within = math.sqrt(float(values.var(axis=1, ddof=1).mean()))
                agreed = between_seeds(dict(enumerate(values.T)))
                numbers[2:] = [f"{within / math.sqrt(values.shape[1]):.4f}", number_text(agreed)]
            rows.append([metric, name, *numbers])
    return f"{note}\n\n{as_markdown(rows, left=(0, 1))}"


def _strata(table: FidelityTable) -> str:
    metric = table.metrics[0]
    rows = [["stratum", "networks", f"valid {metric}", f"test {metric}"]]
    for stratum in dict.fromkeys(network.sampled.stratum for network in table.networks):
        own = [network for network in table.networks if network.sampled.stratum == stratum]
        means = [f"{np.mean([network.mean(part, metric) for network in own]):.4f}" for part in PART_NAMES]
        rows.append([stratum, str(len(own)), *means])
    return as_markdown(rows)


def _networks(table: FidelityTable) -> str:
    metric = table.metrics[0]
    rows = [["network", "layers", "parameters", f"valid {metric}", f"test {metric}"]]
    for network in sorted(table.networks, key=lambda one: -one.mean("valid", metric)):
        sampled = network.sampled
        means = [f"{network.mean(part, metric):.4f}" for part in PART_NAMES]
        rows.append([sampled.name, f"`{sampled.architecture}`", f"{network.parameters:,}", *means])
    return as_markdown(rows, left=(0, 1))
