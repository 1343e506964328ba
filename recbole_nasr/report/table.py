"""The table at the end of a comparison: one row per model, as aligned text, Markdown and CSV."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from recbole_nasr.alignment import aligned, as_markdown
from recbole_nasr.runs.results import RunResult, more_is_better

Interval = tuple[float, float]

_FACTS = ("epochs", "best epoch", "seconds", "parameters")


def ranking_text(mode: str, *, masks_history: bool = False) -> str:
    """Return what a target was ranked among.

    Args:
        mode: That of RecBole's ``eval_args``.
        masks_history: Whether a full ranking leaves the items of the history out.

    Example:
        >>> ranking_text("full"), ranking_text("uni100")
        ('full ranking over all items', 'each target ranked among 100 items drawn uniformly, not among all')
    """
    how = {"uni": "drawn uniformly", "pop": "drawn by popularity"}.get(mode[:3])
    if how is None:
        but = " but those of the history" if masks_history else ""
        return f"full ranking over all items{but}" if mode == "full" else f"ranking of mode {mode}"
    return f"each target ranked among {mode[3:]} items {how}, not among all"


def table_rows(results: Sequence[RunResult]) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows with unrounded numbers.

    Columns are the model, every test metric of any model, the epochs trained, the epoch tested, the seconds of
    training (including a search) and the number of trainable parameters.
    """
    metrics = list(dict.fromkeys(name for result in results for name in result.test))
    rows: list[list[Any]] = []
    for result in results:
        facts = [
            result.epochs,
            result.best_epoch or None,
            sum(result.seconds.get(stage, 0.0) for stage in ("search", "verification", "training")),
            result.n_parameters,
        ]
        rows.append([result.name, *(result.test.get(name) for name in metrics), *facts])
    return ["model", *(heading(name) for name in metrics), *_FACTS], rows


def text_table(results: Sequence[RunResult], intervals: Sequence[Mapping[str, Interval]] = ()) -> str:
    """Return the table in aligned columns; with several models the best value of each metric is marked ``*``.

    Args:
        results: Finished runs, one for each row.
        intervals: Intervals of each result, by metric, shown below its numbers.
    """
    header, cells = _shown(results, mark="*")
    lines = [header]
    for number, row in enumerate(cells):
        lines.append(row)
        if own := intervals[number] if number < len(intervals) else None:
            metrics = header[1 : len(header) - len(_FACTS)]
            by_heading = {heading(name): _interval(*interval) for name, interval in own.items()}
            pad = " " * (len(results) > 1)  # where the row above has its mark
            lines.append(["", *(by_heading.get(name, "") + pad for name in metrics), *[""] * len(_FACTS)])
    return aligned(lines)


def markdown_table(results: Sequence[RunResult], intervals: Sequence[Mapping[str, Interval]] = ()) -> str:
    """Return the table as Markdown; with several models the best value of each metric is bold.

    Args:
        results: Finished runs, one for each row.
        intervals: Intervals of each result, by metric, shown after its numbers.
    """
    header, cells = _shown(results, mark="**")
    for row, own in zip(cells, intervals, strict=False):
        for name, interval in own.items():
            row[header.index(heading(name))] += f" ({_interval(*interval)})"
    return as_markdown([header, *cells])


def _interval(low: float, high: float) -> str:
    return "-".join(f"{end:.4f}".removeprefix("0") for end in (low, high))


def _shown(results: Sequence[RunResult], mark: str) -> tuple[list[str], list[list[str]]]:
    header, rows = table_rows(results)
    n_metrics = len(header) - 1 - len(_FACTS)
    best = _best(header, rows, range(1, n_metrics + 1))
    cells = []
    for row in rows:
        cell = [row[0]]
        for column in range(1, n_metrics + 1):
            number = "" if row[column] is None else f"{row[column]:.4f}"
            winner = len(rows) > 1 and number and row[column] == best[column]
            cell.append(_marked(number, mark) if winner else number + " " * (mark == "*" and len(rows) > 1))
        epochs, best_epoch, seconds, parameters = row[n_metrics + 1 :]
        cell += [str(epochs), str(best_epoch or "-"), f"{seconds:.1f}", f"{parameters:,}"]
        cells.append(cell)
    return header, cells


def _best(header: Sequence[str], rows: Sequence[Sequence[Any]], columns: Iterable[int]) -> dict[int, float | None]:
    """Return the best value of each metric, by its column; ``None`` if no row has one."""
    best = {}
    for column in columns:
        choose = max if more_is_better(header[column]) else min
        best[column] = choose((row[column] for row in rows if row[column] is not None), default=None)
    return best


def _marked(number: str, mark: str) -> str:
    return f"{mark}{number}{mark}" if mark == "**" else number + mark


def heading(metric: str) -> str:
    """Return the usual spelling of a metric: ``NDCG@20`` for ``ndcg@20``."""
    name, _, cut = metric.partition("@")
    known = {"ndcg": "NDCG", "mrr": "MRR", "map": "MAP"}
    return f"{known.get(name, name.capitalize())}@{cut}" if cut else name
