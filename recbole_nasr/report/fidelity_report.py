"""The files of the study `fidelity`: page, figure and tidy tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recbole_nasr.report.fidelity_figure import save_fidelity_figure
from recbole_nasr.report.fidelity_page import fidelity_page, verdict
from recbole_nasr.report.study_html import study_html
from recbole_nasr.runs.folder import RunFolder
from recbole_nasr.studies.fidelity_signals import PARTS
from recbole_nasr.studies.fidelity_tables import FidelityTable
from recbole_nasr.studies.request import StudyRequest

_Table = tuple[list[str], list[list[Any]]]


@dataclass(frozen=True)
class FidelityReport:
    """The output of one command of the study.

    Args:
        asked: The command.
        table: The results so far.
        command: The words of the command.
    """

    asked: StudyRequest
    table: FidelityTable
    command: Sequence[str]

    def write(self, folder: RunFolder, failures: Sequence[tuple[str, str]], unfinished: int) -> str:
        """Write everything into ``folder``; return the verdict for the screen.

        Args:
            folder: Folder of the study.
            failures: Name and reason of each run that failed.
            unfinished: How many runs are left.
        """
        figures: list[str] = []
        enough = len(self.table.networks) > 1
        if enough:
            folder.write_csv("networks.csv", *networks_table(self.table))
            folder.write_csv("signals.csv", *signals_table(self.table))
            folder.write_csv("fidelity.csv", *measures_table(self.table))
            figures = save_fidelity_figure(self.table, folder.path, self.asked.request.dataset)
        page = fidelity_page(self.asked, self.table, failures, unfinished, self.command, figures)
        folder.write_text("report.md", page)
        folder.write_text("report.html", study_html(page, folder.path))
        return verdict(self.table) if enough else "Too few networks have been trained with every seed for a ranking."


def networks_table(table: FidelityTable) -> _Table:
    """Return one row per network: its architecture, and its means over seeds."""
    header = ["network", "stratum", "architecture", "parameters", "flops", "seeds"]
    header += [f"{part}_{metric}" for part in PARTS for metric in table.metrics]
    rows = []
    for network in table.networks:
        sampled = network.sampled
        row: list[Any] = [sampled.name, sampled.stratum, str(sampled.architecture), network.parameters]
        row += [network.flops, len(network.runs)]
        rows.append([*row, *(network.mean(part, name) for part in PARTS for name in table.metrics)])
    return header, rows


def signals_table(table: FidelityTable) -> _Table:
    """Return one row per signal, seed and network; higher scores are better."""
    header = ["signal", "kind", "seed", "network", "architecture", "score"]
    rows: list[list[Any]] = []
    for signal in table.signals():
        for seed, scores in signal.scores.items():
            for network, score in zip(table.networks, scores.tolist(), strict=True):
                sampled = network.sampled
                rows.append([signal.name, signal.kind, seed, sampled.name, str(sampled.architecture), score])
    return header, rows


def measures_table(table: FidelityTable) -> _Table:
    """Return one row per signal, part, metric and statistic, with its interval; empty if it is not defined."""
    header = ["signal", "kind", "seeds", "part", "metric", "statistic", "value", "low", "high", "networks"]
    rows: list[list[Any]] = []
    for metric in table.metrics:
        for one in table.fidelity(metric):
            own = [one.signal.name, one.signal.kind, len(one.signal.scores), one.part, metric]
            for name, measure in {**one.measures, "tau over the best rule": one.excess}.items():
                if measure is not None:
                    numbers = (measure.value, measure.low, measure.high)
                    shown = ["" if math.isnan(number) else number for number in numbers]
                    rows.append([*own, name, *shown, len(table.networks)])
            if not math.isnan(one.between_seeds):
                rows.append([*own, "tau between seeds", one.between_seeds, "", "", len(table.networks)])
        for part in PARTS:
            value = table.random_regret(part, metric)
            rows.append(["a network at random", "", "", part, metric, "regret", value, "", "", len(table.networks)])
            for size, taus in table.predictions(metric).items():
                own = [f"predicted from {size} networks", "prediction", len(table.seeds), part, metric, "tau"]
                tau = taus[part]
                rows.append([*own, tau.value, tau.low, tau.high, len(table.networks) - size])
    return header, rows
