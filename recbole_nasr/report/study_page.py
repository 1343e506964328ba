"""``report.md`` of a study: results beside the paper's, differences with statistics, and how it was run."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from recbole_nasr.alignment import as_markdown
from recbole_nasr.machine import packages_text
from recbole_nasr.progress import plural
from recbole_nasr.report.study_footing import footing
from recbole_nasr.report.table import ranking_text
from recbole_nasr.report.trial_table import trial_table
from recbole_nasr.statistics import SIGNIFICANT
from recbole_nasr.studies.differences import Difference
from recbole_nasr.studies.plan import value_text
from recbole_nasr.studies.request import StudyRequest
from recbole_nasr.studies.shortfalls import REQUIREMENTS, shortfalls, unfinished_training
from recbole_nasr.studies.summaries import SUMMARIES
from recbole_nasr.studies.tables import FinishedRun, Row, mean_sd, metrics_of, rows_of

SMOKE_RUN = "**A smoke run (`--quick`): small networks, few epochs. It shows that everything works, no more.**"


def study_page(
    asked: StudyRequest,
    runs: Sequence[FinishedRun],
    found: Sequence[Difference],
    failures: Sequence[tuple[str, str]],
    unfinished: int,
    command: Sequence[str],
    figures: Sequence[str],
    trials: Sequence[FrozenTrial] = (),
) -> str:
    """Return the page as Markdown.

    Args:
        asked: The command.
        runs: The finished runs.
        found: Paired comparisons.
        failures: Name and reason of each run that failed.
        unfinished: How many runs are left.
        command: The words of the command.
        figures: File names of the figures beside the page.
        trials: Trials of `tune`, to be listed.
    """
    definition = asked.definition
    title = f"# {definition.title}: {' and '.join(asked.datasets)}"
    parts = [title, f"Paper: {definition.paper}. Claim: {definition.claim}"]
    if asked.request.quick:
        parts.append(SMOKE_RUN)
    rows = rows_of(runs)
    if runs:
        parts += [_warning(runs), *_results(asked, rows, found)]
        parts += [f"![{_caption(definition.title, name)}]({name})" for name in _pictures(figures)]
    if runs and definition.summary:
        heading, summary = SUMMARIES[definition.summary]
        parts += [f"## {heading}", "\n".join(summary(runs))]
    table = trial_table(trials)
    parts += ["## Trials", table] if table else []
    parts += still_open(failures, unfinished)
    if runs:
        parts += ["## What this page falls short of", _shortfalls(asked, runs, found, trials)]
    parts += ["## How it was run", _machine(asked, runs, command)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _caption(title: str, name: str) -> str:
    stem = Path(name).stem
    return {"figure": title, "differences": "Differences between rows, with 95 % intervals"}.get(
        stem, f"Optuna: {stem.removeprefix('optuna-')}"
    )


def _pictures(figures: Sequence[str]) -> list[str]:
    """Return one file per figure: the SVG if there is one."""
    drawn = {name.removesuffix(".svg") for name in figures if name.endswith(".svg")}
    return [name for name in figures if name.endswith(".svg") or name.removesuffix(".png") not in drawn]


def _warning(runs: Sequence[FinishedRun]) -> str:
    early = unfinished_training(runs)
    if not early:
        return ""
    rows = "; ".join(dict.fromkeys(run.row for run in early))
    which = "All" if len(early) == len(runs) else f"{len(early)} of {len(runs)}"
    names = "" if len(early) == len(runs) else f" ({rows})"
    return (
        f"**{which} runs were still improving when their epochs were used up{names}: their numbers say how fast a "
        "network learns rather than how good it gets.**"
    )


def _shortfalls(
    asked: StudyRequest, runs: Sequence[FinishedRun], found: Sequence[Difference], trials: Sequence[FrozenTrial]
) -> str:
    tried = sum(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in trials)
    short = shortfalls(asked, runs, compared=bool(found), trials=tried)
    met = [name for name in asked.definition.needs if name not in dict(short)]
    lines = [f"- {name} ({REQUIREMENTS[name]}): {reason}" for name, reason in short]
    lines += [f"- met: {', '.join(met)}"] if met else []
    return "\n".join(["What a claim of this kind needs is listed in `docs/studies.md`.", "", *lines])


def _results(asked: StudyRequest, rows: Sequence[Row], found: Sequence[Difference]) -> list[str]:
    parts = ["## Results", footing(rows), _explanation(rows, bold=bool(found)), _means(rows, found)]
    parts += _published(asked, rows)
    if found:
        parts += ["## Differences", _differences(asked, found)]
    elif asked.definition.reference or asked.definition.compare:
        parts.append("No paired comparison: it needs the ranks of the test cases of both rows on this machine.")
    return parts


def ranked_among(rows: Sequence[Row]) -> str:
    """Return what the targets of the test cases were ranked among in the runs of ``rows``, as part of a sentence."""
    given = [run.record.settings.get("eval_args") for row in rows for run in row.runs]
    modes = [args.get("mode") for args in given if isinstance(args, dict)]  # a record may be a stranger's
    sampled = {str(mode.get("test", "full")) for mode in modes if isinstance(mode, dict)} - {"full"}
    masked = {run.record.settings.get("mask_history") for row in rows for run in row.runs}
    somewhere = "" if masked == {True} else ", in some rows"
    full = "ranking all items" + (f"{somewhere} but those of the history" if True in masked else "")
    return " or ".join(map(ranking_text, sorted(sampled))) or full


def _explanation(rows: Sequence[Row], *, bold: bool) -> str:
    counts = sorted({len(row.runs) for row in rows})
    shown = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    text = (
        f"Test metrics, mean ± standard deviation over {shown} run{'s' * (counts[-1] > 1)}; every run chose its epoch "
        f"by validation and was tested once, {ranked_among(rows)}."
    )
    rule = (
        f" Bold: better than every other row of the data set, each at p < {SIGNIFICANT} after Holm over all "
        "comparisons of this page; nothing is bold without."
    )
    return text + rule * bold


def _means(rows: Sequence[Row], found: Sequence[Difference]) -> str:
    metrics = metrics_of(rows)
    valid = rows[0].runs[0].record.valid_metric
    header = ["row", "data", "runs", *metrics, f"valid {valid}", "epochs (best)", "step", "training", "parameters"]
    lines = []
    for row in rows:
        records = [run.record for run in row.runs]
        cells = [
            _pair(*row.mean_sd("test", name), bold=_is_best(row, name, rows, found)) if name in row.metrics else ""
            for name in metrics
        ]
        step = 1000 * mean_sd([record.step_seconds for record in records])[0]
        training = mean_sd([record.seconds["training"] for record in records])[0]
        epochs = [
            f"{_span([record.epochs for record in records])} ({_span([record.best_epoch for record in records])})"
        ]
        validated = _pair(*row.mean_sd("valid", valid)) if valid in records[0].valid else ""
        facts = [validated, *epochs, f"{step:.1f} ms", f"{training:.0f} s"]
        facts += [f"{round(mean_sd([record.n_parameters for record in records])[0]):,}"]
        lines.append([row.name, row.dataset, str(len(records)), *cells, *facts])
    return as_markdown([header, *lines], left=(0, 1))


def _is_best(row: Row, metric: str, rows: Sequence[Row], found: Sequence[Difference]) -> bool:
    """Return whether ``row`` is the reference and significantly better than every other row."""
    others = [other for other in rows if other is not row and other.dataset == row.dataset]
    ours = [d for d in found if (d.reference, d.dataset, d.metric) == (row.name, row.dataset, metric)]
    better = [d for d in ours if d.comparison.better(d.p_holm) > 0]
    return bool(others) and len(better) == len(others)


def _published(asked: StudyRequest, rows: Sequence[Row]) -> list[str]:
    papers = [asked.definition.published.get(row.dataset, {}).get(row.name, {}) for row in rows]
    both = [[name for name in row.metrics if name in paper] for row, paper in zip(rows, papers, strict=True)]
    metrics = [name for name in metrics_of(rows) if any(name in names for names in both)]
    lines = []
    for row, paper, names in zip(rows, papers, both, strict=True):
        numbers = [
            f"{row.mean_sd('test', name)[0]:.4f} / {paper[name]:.4f}" if name in names else "" for name in metrics
        ]
        lines += [[row.name, row.dataset, *numbers]] if names else []
    if not lines:
        return []
    if by := asked.definition.published_by:
        heading, note = "published numbers", f"Here / published by {by}."
    else:
        heading, data = "the paper", "The paper's data are larger than those of any release with a fixed name"
        note = f"Here / in the paper. {data}: compare orders, not values."
    return [f"## Beside {heading}", note, as_markdown([["row", "data", *metrics], *lines], left=(0, 1))]


def _differences(asked: StudyRequest, found: Sequence[Difference]) -> str:
    compared = asked.definition.compared
    first = f"`{compared[0]}={value_text(compared[1])}`" if compared else found[0].reference
    other = "the row that differs from it in this alone" if compared else "the other row"
    note = (
        f"{first} minus {other}, on the same test cases, each averaged over its runs: mean with its 95 % bootstrap "
        "interval over cases, and the p-value of the Wilcoxon signed-rank test, alone and after Holm over all "
        f"{len(found)} {plural(len(found), 'comparison')}. Bold: significant after Holm, and the interval on the side "
        "of the test. All this is about the networks trained here; *p (networks)* is about others: Welch's t-test "
        "between the means of networks over their trainings, or the trainings of a row's only network, alone."
    )
    lines = []
    for difference in found:
        low, high = difference.comparison.interval
        shown = f"{difference.comparison.mean_difference:+.4f} [{low:+.4f}, {high:+.4f}]"
        shown = f"**{shown}**" if difference.significant else shown
        tested = (difference.comparison.p_value, difference.p_holm, difference.p_networks)
        p_values = ["" if math.isnan(p) else f"{p:.2g}" for p in tested]
        count = f"{difference.n_sequences:,}"
        lines.append([difference.other, difference.dataset, difference.metric, shown, *p_values, count])
    header = ["other row", "data", "metric", "difference", "p", "p (Holm)", "p (networks)", "cases"]
    return f"{note}\n\n{as_markdown([header, *lines], left=(0, 1))}"


def still_open(failures: Sequence[tuple[str, str]], unfinished: int) -> list[str]:
    """Return the parts of a page on failed runs and on how many are left."""
    parts = []
    if failures:
        parts += ["## Failed", "\n".join(f"- {cell}: {' '.join(reason.split())}" for cell, reason in failures)]
    if unfinished:
        parts.append(f"**Not complete: {unfinished} more to run; repeat the command to continue.**")
    return parts


def _machine(asked: StudyRequest, runs: Sequence[FinishedRun], command: Sequence[str]) -> str:
    packages = packages_text([run.record.environment for run in runs])
    devices = ", ".join(sorted({run.record.device_name for run in runs})) or "none yet"
    reused = sum(run.reused for run in runs)
    count = f"{len(runs)} {plural(len(runs), 'run')}"
    lines = [
        f"```\n{shlex.join(command)}\n```",
        f"- {count}, {reused} of them taken from earlier records; seeds {', '.join(map(str, asked.seeds))}",
        f"- processors: {devices}",
        f"- {packages}",
        "- `runs.csv` has one row per run; the folder of each run has its configuration, log and checkpoint",
    ]
    return "\n".join(lines)


def _span(values: Sequence[int]) -> str:
    return str(values[0]) if min(values) == max(values) else f"{min(values)}-{max(values)}"


def _pair(mean: float, sd: float, *, bold: bool = False) -> str:
    text = f"{mean:.4f}" if math.isnan(sd) else f"{mean:.4f} ± {sd:.4f}"
    return f"**{text}**" if bold else text
