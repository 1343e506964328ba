"""The figure of a study, of the same form as in the paper, readable in black and white."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import optuna
from matplotlib.figure import Figure
from optuna.exceptions import ExperimentalWarning
from optuna.trial import TrialState

from recbole_nasr.errors import is_finite
from recbole_nasr.progress import plural
from recbole_nasr.report.canvas import PARAMETERS, drawing, save_both
from recbole_nasr.space import Architecture
from recbole_nasr.studies.differences import Difference
from recbole_nasr.studies.plan import value_text
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.storage import quiet_optuna
from recbole_nasr.studies.summaries import shares_by_depth
from recbole_nasr.studies.tables import FinishedRun, Row, rows_of, searches

_MARKERS = "osD^vP*X"
_LINES = ("-", "--", ":", "-.")
_HATCHES = ("", "//", "..", "xx", "\\\\", "--")


def save_study_figure(asked: StudyRequest, runs: Sequence[FinishedRun], folder: Path) -> list[str]:
    """Draw the study as ``figure.svg`` and ``figure.png``; return their names; none for a study without a figure."""
    draw = KINDS.get(asked.definition.figure.get("kind", ""))
    if draw is None or not runs:
        return []
    with drawing(8, 4.5, font_size=10) as figure:
        draw(figure, asked, runs)
        return _save(figure, folder, "figure") if figure.axes else []  # none: no run of the kind that is drawn


def save_differences(found: Sequence[Difference], folder: Path) -> list[str]:
    """Draw the differences from the reference in one metric per data set, each with its interval; return file names.

    The metric is NDCG at the largest cutoff, by which training and this page choose.
    """
    if not found:
        return []
    metric = next((one.metric for one in reversed(found) if one.metric.startswith("ndcg")), found[0].metric)
    datasets = list(dict.fromkeys(one.dataset for one in found))
    shown = {name: [one for one in found if (one.dataset, one.metric) == (name, metric)] for name in datasets}
    with drawing(8, 1.2 + 0.32 * max(map(len, shown.values())), font_size=10) as figure:
        for number, (dataset, rows) in enumerate(shown.items()):
            axes = figure.add_subplot(1, len(datasets), number + 1)
            axes.set_title(dataset)
            _intervals(axes, metric, rows)
        return _save(figure, folder, "differences")


def _intervals(axes: Any, metric: str, rows: Sequence[Difference]) -> None:
    for place, one in enumerate(reversed(rows)):
        axes.plot(one.comparison.interval, [place, place], color="black", linewidth=1.2)
        fill = "black" if one.significant else "white"
        axes.plot(one.comparison.mean_difference, place, "o", color="black", markerfacecolor=fill)
    axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [one.other for one in reversed(rows)], fontsize=8)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    references = {one.reference for one in rows}
    minus = references.pop() if len(references) == 1 else "its counterpart"
    axes.set_xlabel(f"{metric}: {minus} minus the row\nfilled: significant after Holm", fontsize=8)


def _save(figure: Figure, folder: Path, name: str, **how: Any) -> list[str]:
    return [file.name for file in save_both(figure, folder / name, dpi=150, **how)]


def save_optuna_plots(study: optuna.Study, folder: Path) -> list[str]:
    """Draw Optuna's standard plots of a study that draws its settings; return their file names.

    Plots that need more finished trials or more than one key are left out.
    """
    import matplotlib.pyplot as plt
    from optuna.visualization import matplotlib as plots

    if not study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        return []
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    wanted: dict[str, Callable[[], Any]] = {
        "history": lambda: plots.plot_optimization_history(study),
        "importance": lambda: plots.plot_param_importances(study, evaluator=evaluator),
        "intermediate": lambda: plots.plot_intermediate_values(study),
        "parallel": lambda: plots.plot_parallel_coordinate(study),
        "slice": lambda: plots.plot_slice(study),
    }
    names = []
    with (
        warnings.catch_warnings(),
        quiet_optuna(),
        mpl.rc_context(PARAMETERS),  # Optuna sets a style for the whole process
    ):
        warnings.simplefilter("ignore", ExperimentalWarning)
        for name, draw in wanted.items():
            before = set(plt.get_fignums())
            try:
                drawn: Any = draw()
                axes = drawn if hasattr(drawn, "figure") else drawn.flat[0]
                names += _save(axes.figure, folder, f"optuna-{name}", bbox_inches="tight")
            except (ValueError, RuntimeError, ZeroDivisionError):
                continue
            finally:
                for number in set(plt.get_fignums()) - before:
                    plt.close(number)
    return names


def _rows(runs: Sequence[FinishedRun]) -> tuple[list[Row], str]:
    """Return the rows to draw, and their metric: what stopped the training of the first, which others may lack."""
    metric = runs[0].record.valid_metric
    return [row for row in rows_of(runs) if metric in row.metrics], metric


def _bars(figure: Figure, asked: StudyRequest, runs: Sequence[FinishedRun]) -> None:
    rows, metric = _rows(runs)
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    for number, dataset in enumerate(datasets):
        axes = figure.add_subplot(1, len(datasets), number + 1)
        here = [row for row in rows if row.dataset == dataset]
        means = [row.mean_sd("test", metric) for row in here]
        places = range(len(here))
        shades = ["#9fb2c6" if row.name == asked.definition.reference else "#e8eef4" for row in here]
        axes.bar(places, [mean for mean, _ in means], yerr=_errors(means), capsize=3, color=shades, edgecolor="black")
        axes.set_xticks(list(places), [row.name for row in here], rotation=35, ha="right", fontsize=8)
        _label(axes, metric, here, dataset)


def _errors(means: Sequence[tuple[float, float]]) -> list[float] | None:
    """Return the standard deviations; ``None``, for no error bars, if no row has two seeds."""
    known = [0.0 if math.isnan(sd) else sd for _, sd in means]
    return known if any(known) else None


def _label(axes: Any, metric: str, rows: Sequence[Row], dataset: str) -> None:
    axes.set_ylabel(f"test {metric}")
    axes.set_title(dataset)
    if any(len(row.runs) > 1 for row in rows):
        axes.set_xlabel("error bars: standard deviation over seeds", fontsize=8)


def _lines(figure: Figure, asked: StudyRequest, runs: Sequence[FinishedRun]) -> None:
    key, (rows, metric) = asked.definition.figure["x"], _rows(runs)
    axes = figure.add_subplot()
    places = _places(asked.definition.varied[key])
    _curves(axes, rows, key, metric, places)
    if all(is_finite(value) and value > 0 for value in asked.definition.varied[key]):
        axes.set_xscale("log", base=2)
    _ticks(axes, rows, key, places)
    axes.set_ylabel(f"test {metric}")
    axes.legend(fontsize=8)


def _places(values: Sequence[Any]) -> dict[str, float]:
    """Return where each value of a key stands on its axis: numbers at themselves, others in the order of the study."""
    numbers = all(map(is_finite, values))
    return {str(value): value if numbers else number for number, value in enumerate(values)}


def _place(row: Row, key: str, places: Mapping[str, float]) -> float:
    return places[str(row.runs[0].point[key])]


def _ticks(axes: Any, rows: Sequence[Row], key: str, places: Mapping[str, float]) -> None:
    shown = {_place(row, key, places): value_text(row.runs[0].point[key]) for row in rows}
    axes.set_xticks(sorted(shown), [shown[place] for place in sorted(shown)])
    axes.set_xlabel(key)


def _curves(axes: Any, rows: Sequence[Row], key: str, metric: str, places: Mapping[str, float]) -> None:
    """Draw ``metric`` against ``key``, one curve for the rows that differ in nothing else."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        curves.setdefault(row.name_without(key), []).append(row)
    for number, (name, own) in enumerate(curves.items()):
        ordered = sorted(own, key=lambda row: _place(row, key, places))
        means = [row.mean_sd("test", metric) for row in ordered]
        axes.errorbar(
            [_place(row, key, places) for row in ordered],
            [mean for mean, _ in means],
            yerr=_errors(means),
            color="black",
            capsize=3,
            marker=_MARKERS[number % len(_MARKERS)],
            linestyle=_LINES[number % len(_LINES)],
            markerfacecolor="white" if number % 2 else "black",
            label=name,
        )


def _panels(figure: Figure, asked: StudyRequest, runs: Sequence[FinishedRun]) -> None:
    keys, (rows, metric) = asked.definition.one_at_a_time, _rows(runs)
    default = {key: values[0] for key, values in keys.items()}
    first = None
    for number, (key, values) in enumerate(keys.items()):
        axes = figure.add_subplot(1, len(keys), number + 1, sharey=first)
        first = first or axes
        shown = [
            row for row in rows if all(row.runs[0].point[other] == default[other] for other in keys if other != key)
        ]
        places = _places(values)
        _curves(axes, shown, key, metric, places)
        _ticks(axes, shown, key, places)
    if first is not None:
        first.set_ylabel(f"test {metric}")
        if len(first.get_legend_handles_labels()[1]) > 1:
            first.legend(fontsize=8)


def _depth(figure: Figure, _asked: StudyRequest, runs: Sequence[FinishedRun]) -> None:
    rows = searches(runs)
    for number, row in enumerate(rows):
        axes = figure.add_subplot(1, len(rows), number + 1)
        _shares(axes, shares_by_depth([Architecture.parse(run.record.architecture) for run in row.runs]))
        axes.set_xlabel(f"layer; {row.name} on {row.dataset}" if len(rows) > 1 else "layer")
        axes.set_ylabel(f"share of {len(row.runs)} {plural(len(row.runs), 'search', 'es')}")


def _shares(axes: Any, shares: Mapping[str, Sequence[float]]) -> None:
    depth = len(next(iter(shares.values())))
    bottom = [0.0] * depth
    for number, (name, values) in enumerate(shares.items()):
        grey = str(0.95 - 0.5 * number / max(1, len(shares) - 1))
        hatch = _HATCHES[number % len(_HATCHES)]
        axes.bar(range(1, depth + 1), values, bottom=bottom, label=name, color=grey, edgecolor="black", hatch=hatch)
        bottom = [low + value for low, value in zip(bottom, values, strict=True)]
    axes.set_xticks(range(1, depth + 1))
    axes.legend(fontsize=8, ncols=min(4, len(shares)), loc="upper center", bbox_to_anchor=(0.5, 1.15))


KINDS = {"bars": _bars, "lines": _lines, "panels": _panels, "depth": _depth}
"""How each kind of figure is drawn."""
