"""``report.md`` of the study `fidelity`: which signal ranks networks as their own trainings do."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence

import numpy as np

from recbole_nasr.alignment import as_markdown
from recbole_nasr.machine import packages_text
from recbole_nasr.progress import plural
from recbole_nasr.report.fidelity_networks import PART_NAMES, networks_section, number_text
from recbole_nasr.report.study_page import SMOKE_RUN, still_open
from recbole_nasr.studies.fidelity_predictions import N_DRAWS
from recbole_nasr.studies.fidelity_signals import CEILING, PARTS, SEARCH, SHORT, TRIVIAL, search_signals
from recbole_nasr.studies.fidelity_statistics import TOP, Measure
from recbole_nasr.studies.fidelity_tables import Fidelity, FidelityTable
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.shortfalls import was_improving

CLAIM_NETWORKS, CLAIM_SEEDS = 50, 3
"""With fewer networks or search seeds a result is only preliminary."""

_KINDS = {
    SEARCH: "search signals",
    TRIVIAL: "trivial rules",
    SHORT: "short trainings of the networks themselves",
    CEILING: "ceilings",
}


def fidelity_page(
    asked: StudyRequest,
    table: FidelityTable,
    failures: Sequence[tuple[str, str]],
    unfinished: int,
    command: Sequence[str],
    figures: Sequence[str],
) -> str:
    """Return the page as Markdown.

    Args:
        asked: The command.
        table: The results.
        failures: Name and reason of each run that failed.
        unfinished: How many runs are left.
        command: The words of the command.
        figures: File names of the figures beside the page.
    """
    parts = [f"# {asked.definition.title}: {asked.request.dataset}"]
    if asked.request.quick:
        parts.append(SMOKE_RUN)
    if len(table.networks) < 2:
        trained = "1 network has" if table.networks else "0 networks have"
        parts.append(f"{trained} been trained with every seed; a ranking needs two.")
    else:
        parts += [_size(asked, table), verdict(table)]
        parts += [f"![{asked.definition.title}]({name})" for name in figures if name.endswith(".svg")]
        parts += [_legend(), *(_measures(table, part) for part in PARTS)]
        parts += [_predictions(table)] if table.predictions(table.metrics[0]) else []
        parts += networks_section(table)
    parts += still_open(failures, unfinished)
    parts += ["## How it was run", _machine(table, command)]
    return "\n\n".join(parts) + "\n"


def _size(asked: StudyRequest, table: FidelityTable) -> str:
    n, seeds, search_seeds = len(table.networks), len(table.seeds), _search_seeds(table)
    runs = [run for network in table.networks for run in network.runs.values()]
    early = sum(was_improving(run) for run in runs)
    text = (
        f"{n} networks, each trained alone with {seeds} {plural(seeds, 'seed')}; every search signal from "
        f"{search_seeds} {plural(search_seeds, 'seed')}. Trainings took "
        f"{_span([run.epochs for run in runs])} epochs and were best at epoch "
        f"{_span([run.best_epoch for run in runs])}"
    )
    text += f"; {early} of {len(runs)} used up their epochs before they stopped improving." if early else "."
    if n < CLAIM_NETWORKS or search_seeds < CLAIM_SEEDS or seeds < 2:
        text += (
            f" **This is a look: a claim needs {CLAIM_NETWORKS} networks with two seeds or more, and {CLAIM_SEEDS} "
            "search seeds.**"
        )
    if asked.n_architectures > n:
        lacking = asked.n_architectures - n
        text += f" {lacking} of the {asked.n_architectures} networks lack{'s' * (lacking == 1)} a training."
    return text


def _search_seeds(table: FidelityTable) -> int:
    return min((len(records) for records in table.search.values() if records), default=0)


def _span(values: Sequence[int]) -> str:
    return str(min(values)) if min(values) == max(values) else f"{min(values)} to {max(values)}"


def verdict(table: FidelityTable) -> str:
    """Return a sentence on whether any search signal ranks the networks by validation better than a trivial rule."""
    found = [one for one in table.fidelity(table.metrics[0]) if one.part == "valid"]
    search = [one for one in found if one.signal.kind == SEARCH and not math.isnan(one.measures["tau"].value)]
    rules = [one for one in found if one.signal.kind == TRIVIAL and not math.isnan(one.measures["tau"].value)]
    flat = _flat(table)
    if not search:
        return flat or "No search signal has scored these networks yet."
    best = max(search, key=lambda one: one.measures["tau"].value)
    lines = [f"By validation, {best.signal.name} ranks the networks best of the search signals: τ {_text(best)}."]
    if rules:
        rule = max(rules, key=lambda one: abs(one.measures["tau"].value))
        lines.append(f"The best trivial rule is {rule.signal.name}: τ {_text(rule)}, either way round.")
        better = [one.signal.name for one in search if one.excess is not None and one.excess.low > 0]
        lines.append(
            f"Better than the best trivial rule beyond the doubt of the networks drawn: {', '.join(better)}."
            if better
            else "No search signal is better than the best trivial rule beyond the doubt of the networks drawn."
        )
    above = [one.signal.name for one in search if one.measures["tau"].low > 0]
    lines.append(f"Intervals above zero: {', '.join(above) or 'none'}.")
    ceiling = next((one for one in found if one.signal.kind == CEILING), None)
    if ceiling is not None and not ceiling.measures["tau"].low > 0:
        lines.append(
            f"**Two trainings of the same networks do not agree on their order (τ {_text(ceiling)}): here these "
            "networks cannot be told apart, and what is said of a signal above says little about it.**"
        )
    return " ".join([*lines, *([flat] if flat else [])])


def _flat(table: FidelityTable) -> str:
    """Say which search signals scored all networks alike, so that they order none, with some seeds or with all."""
    always, sometimes = [], []
    for one in search_signals(table.networks, table.search):
        flat = [seed for seed, own in one.scores.items() if not np.ptp(own) > 0]
        if flat and len(flat) == len(one.scores):
            always.append(one.name)
        elif flat:
            sometimes.append(f"{one.name} (seed {', '.join(map(str, flat))})")
    said = []
    if always:
        said.append(f"Not in the tables, as all networks have the same score: {', '.join(always)}.")
    if sometimes:
        said.append(f"Without τ, as all networks have the same score with a seed: {', '.join(sometimes)}.")
    return " ".join(said)


def _text(one: Fidelity) -> str:
    return _with_interval(one.measures["tau"])


def _with_interval(measure: Measure | None) -> str:
    if measure is None or math.isnan(measure.value):
        return "-"
    return f"{measure.value:.2f} [{measure.low:.2f}, {measure.high:.2f}]"


def _legend() -> str:
    return (
        "τ is Kendall's τ-b, rho Spearman's; both are 1 where a signal orders the networks as their trainings do, 0 "
        "for no relation. Intervals are 95 % bootstrap intervals over networks; seeds are averaged, not resampled. "
        f"*Top quarter*: τ among the best ceil(n / {TOP}) networks. *Regret*: how far the network a signal puts first "
        "stays behind the best of the sample. *Over the best rule*: τ minus the largest |τ| of the trivial rules. "
        "*Between seeds*: τ between the signal's own seeds. A signal out of a network's own training is held against "
        "its trainings from other seeds. The ceilings are what another full training says: of one seed, where the "
        "other signals are held against the mean over seeds, which is steadier."
    )


def _measures(table: FidelityTable, part: str) -> str:
    metric = table.metrics[0]
    header = ["signal", "τ", "rho", "top quarter", "regret", "over the best rule", "between seeds", "seconds"]
    rows = [header]
    found = [one for one in table.fidelity(metric) if one.part == part]
    for kind, title in _KINDS.items():
        here = [one for one in found if one.signal.kind == kind]
        if here:
            rows.append([f"*{title}*", *[""] * (len(header) - 1)])
        rows += map(_row, here)
    rows.append(["*a network at random*", "", "", "", f"{table.random_regret(part, metric):.4f}", "", "", ""])
    return f"## Against {PART_NAMES[part]} {metric}\n\n{as_markdown(rows)}"


def _row(one: Fidelity) -> list[str]:
    values = one.measures
    seeds = "" if math.isnan(one.between_seeds) else number_text(one.between_seeds)
    seconds = "" if math.isnan(one.signal.seconds) else f"{one.signal.seconds:.0f}"
    rank, top = (number_text(values[name].value) for name in ("rho", "top tau"))
    excess = "" if one.excess is None else _with_interval(one.excess)
    return [one.signal.name, _text(one), rank, top, f"{values['regret'].value:.4f}", excess, seeds, seconds]


def _predictions(table: FidelityTable) -> str:
    metric = table.metrics[0]
    rows = [["networks trained", *(f"τ with {name} {metric}" for name in PART_NAMES.values())]]
    for size, taus in table.predictions(metric).items():
        rows.append([str(size), *(_with_interval(taus[part]) for part in PART_NAMES)])
    parts = [
        "## What trained networks say of the others",
        "The search `predictor` fits a linear model of the layers to networks that were trained. Here it is fitted to "
        "the validation of some of the networks with one seed, drawn at random, and predicts the order of the rest, "
        "which is held against their trainings from other seeds. Mean τ and 95 % range over "
        f"{N_DRAWS} draws; all draws share these networks, so the range is no confidence interval.",
        as_markdown(rows, left=()),
    ]
    return "\n\n".join(parts)


def _machine(table: FidelityTable, command: Sequence[str]) -> str:
    runs = [run for network in table.networks for run in network.runs.values()]
    signals = [record for records in table.search.values() for record in records]
    names = {run.device_name for run in runs} | {record.device_name for record in signals}
    devices = ", ".join(sorted(names)) or "none yet"
    packages = packages_text([run.environment for run in runs] + [record.environment for record in signals])
    made = f"{len(runs)} {plural(len(runs), 'training')}, {len(signals)} {plural(len(signals), 'search', 'es')}"
    lines = [f"```\n{shlex.join(command)}\n```", f"- {made}"]
    if runs:
        lines[-1] += f"; a training took {np.mean([run.seconds['training'] for run in runs]):.0f} s on average"
    lines += [
        f"- processors: {devices}",
        f"- {packages}",
        "- `runs.csv`: one row per training; `networks.csv`: one per network; `signals.csv`: every score; "
        "`fidelity.csv`: every measure, for every metric",
    ]
    return "\n".join(lines)
