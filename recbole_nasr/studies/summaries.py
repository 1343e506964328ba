"""Summaries that single studies add to the common table."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recbole_nasr.alignment import as_markdown
from recbole_nasr.progress import plural
from recbole_nasr.space import Architecture
from recbole_nasr.studies.record import ResultRecord
from recbole_nasr.studies.tables import FinishedRun, Row, searches

Summary = Callable[[Sequence[FinishedRun]], list[str]]


def agreement(first: Architecture, second: Architecture) -> float:
    """Return the share of layers in which two architectures of equal depth have the same operation.

    Example:
        >>> parse = Architecture.parse
        >>> agreement(parse("transformer_h4,tcn_d1_2"), parse("transformer_h4,tcn_d1_4"))
        0.5
    """
    pairs = list(zip(first.layers, second.layers, strict=True))
    return sum(a == b for a, b in pairs) / len(pairs)


def shares_by_depth(architectures: Sequence[Architecture]) -> dict[str, list[float]]:
    """Return for each operation the share of the architectures, all equally deep, that have it in each layer."""
    names = sorted({name for architecture in architectures for name in architecture.layers})
    layers = zip(*(architecture.layers for architecture in architectures), strict=True)
    counts = [Counter(layer) for layer in layers]
    return {name: [count[name] / len(architectures) for count in counts] for name in names}


def architectures_found(runs: Sequence[FinishedRun]) -> list[str]:
    """List the searches, how far they agree, and which operations they chose at which depth (Fig. 5), row by row."""
    return _by_row(runs, lambda row: _found([run.record for run in row.runs]))


def _by_row(runs: Sequence[FinishedRun], of_row: Callable[[Row], list[str]]) -> list[str]:
    """Return what there is to say of the searches of each row, below its name where there are several."""
    rows = searches(runs)
    lines: list[str] = []
    for row in rows:
        if len(rows) > 1:
            lines += [*([""] if lines else []), f"{_name(row, rows)}:", ""]
        lines += of_row(row)
    return lines or ["No search has finished yet."]


def _name(row: Row, rows: Sequence[Row]) -> str:
    """Return the name of ``row``, with its data set where ``rows`` have several."""
    return f"{row.name} on {row.dataset}" if len({other.dataset for other in rows}) > 1 else row.name


def _found(records: Sequence[ResultRecord]) -> list[str]:
    found = [Architecture.parse(record.architecture) for record in records]
    lines = []
    for record, architecture in zip(records, found, strict=True):
        ties = ", ".join(f"{block['tied']} of {block['ranked']}" for block in record.search)
        lines.append(f"- seed {record.seed}: `{architecture}`" + (f"; paths tied per block: {ties}" if ties else ""))
    pairs = list(itertools.combinations(found, 2))
    if pairs:
        n_operations = len({name for architecture in found for name in architecture.layers})
        mean = float(np.mean([agreement(*pair) for pair in pairs]))
        lines.append(
            f"- two searches have the same operation in {mean:.0%} of the layers, on average over {len(pairs)} "
            f"{plural(len(pairs), 'pair')}; "
            f"networks drawn at random from the {n_operations} operations that occur would in {1 / n_operations:.0%}"
        )
    lines += ["", "Share of the searches that chose an operation, layer by layer:", ""]
    header = ["operation", *(str(layer + 1) for layer in range(len(found[0].layers)))]
    rows = [[name, *(f"{share:.2f}" for share in shares)] for name, shares in shares_by_depth(found).items()]
    return [*lines, as_markdown([header, *rows])]


def cost(runs: Sequence[FinishedRun]) -> list[str]:
    """Compare the time of each search with that of training, and its result with random search at equal cost (§4.2.2).

    Random search at equal cost trains as many random networks as the search and its own training take, and keeps the
    one that validates best. They are those of the same data set, operations, and point of the grid.
    """

    def place(run: FinishedRun) -> tuple[Any, ...]:
        return run.dataset, run.point, run.record.settings.get("candidate_ops")

    def of_row(row: Row) -> list[str]:
        random = [run.record for run in runs if run.is_random and place(run) == place(row.runs[0])]
        if not random:
            return ["Too few runs have finished to compare costs."]
        return _cost([run.record for run in row.runs], sorted(random, key=lambda record: record.seed))

    return _by_row(runs, of_row)


def _cost(searched: Sequence[ResultRecord], random: Sequence[ResultRecord]) -> list[str]:
    metric = searched[0].valid_metric
    search = float(np.mean([_choosing(record) for record in searched]))
    training = float(np.mean([record.seconds["training"] for record in searched]))
    each = float(np.mean([record.seconds["training"] for record in random]))
    affordable = max(1, round((search + training) / each))
    kept = max(random[:affordable], key=lambda record: record.valid[metric])
    found = float(np.mean([record.test[metric] for record in searched]))
    short = "" if affordable <= len(random) else f"; only {len(random)} were trained, so this understates random search"
    return [
        f"- choosing a network (a supernet, trainings of candidates, or both): {search:.1f} s, mean of {len(searched)}",
        f"- training the network it found: {training:.1f} s",
        f"- training one random network: {each:.1f} s, mean of {len(random)}",
        f"- search and training together cost as much as {affordable} random network{'s' * (affordable > 1)}{short}",
        f"- test {metric}: {found:.4f} for the networks found (mean), {kept.test[metric]:.4f} for the random network "
        f"with the best validation score of {min(affordable, len(random))} (seed {kept.seed})",
    ]


def ablation(runs: Sequence[FinishedRun]) -> list[str]:
    """Say of every row how decided its searches were, and whether they found the same with other seeds."""
    lines = [["row", "searches", "paths tied with the best", "equal layers, other seed", "search, s"]]
    rows = searches(runs)
    for row in rows:
        records = [run.record for run in row.runs]
        tied = [block["tied"] / block["ranked"] for record in records for block in record.search]
        found = [Architecture.parse(record.architecture) for record in records]
        equal = [agreement(*pair) for pair in itertools.combinations(found, 2)]
        seconds = float(np.mean([_choosing(record) for record in records]))
        lines.append([_name(row, rows), str(len(records)), _share(tied), _share(equal), f"{seconds:.1f}"])
    return [
        as_markdown(lines),
        "",
        "Few ties and equal layers with another seed say that a search is sure, not that it is right: that is in the "
        "test results. Seeds also draw other weights, so equal layers beyond chance are no matter of one supernet.",
    ]


def _choosing(record: ResultRecord) -> float:
    """Return the seconds of choosing a network: a supernet, trainings of candidates, or both."""
    return record.seconds["search"] + record.seconds.get("verification", 0.0)


def _share(values: Sequence[float]) -> str:
    return f"{float(np.mean(values)):.0%}" if values else "-"


SUMMARIES: dict[str, tuple[str, Summary]] = {
    "ablation": ("How sure the searches are", ablation),
    "architectures": ("Architectures", architectures_found),
    "cost": ("Cost", cost),
}
"""Name in ``properties/study`` -> heading and function."""
