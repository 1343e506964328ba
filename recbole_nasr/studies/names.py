"""Names within a study's file that must stand for something: rows, keys, summaries, figures, requirements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from recbole_nasr.errors import ConfigError, did_you_mean
from recbole_nasr.studies.definition import Run, StudyDefinition
from recbole_nasr.studies.request import SEARCHED, TRAINED
from recbole_nasr.studies.shortfalls import REQUIREMENTS
from recbole_nasr.studies.summaries import SUMMARIES
from recbole_nasr.studies.tables import row_name

FIGURES = ("bars", "lines", "panels", "depth", "fidelity", "optuna")
"""Kinds of figures; the last two come with what the study does."""


_NOT_DRAWN = ("grid", "one_at_a_time")
_NOT_SAMPLED = (*_NOT_DRAWN, "summary")


def check_names(definition: StudyDefinition) -> None:
    """Check what would otherwise be noticed on the page alone, once everything has run.

    Args:
        definition: Of a form that is known to be right.

    Raises:
        ConfigError: For the first name that stands for nothing, with the nearest one that does.
    """
    labels = [run.label for run in definition.runs]
    _check_read(definition)
    for run in definition.runs:
        _check(definition, f"runs.{run.label}.architecture_of", run.architecture_of, labels, "one of its rows")
        _check_source(definition, run)
        if run.architecture_of and definition.varied:
            _refuse(definition, "`architecture_of` only without `grid` and `one_at_a_time`", [*definition.varied])
    if not definition.space:
        rows = [row_name(label, point) for label in labels for point in definition.points()]
        for name, n in Counter(rows).items():
            if n > 1:  # they would be taken for one row with several runs
                _refuse(definition, "rows whose names, with four digits of a fraction, differ", name)
        _check(definition, "reference", definition.reference, rows, "one of its rows")
    _check(definition, "compare", definition.compare, definition.varied, "one of the keys it varies")
    if definition.compare and definition.reference:
        _refuse(definition, "`reference` or `compare`, not both", definition.compare)
    _check(definition, "summary", definition.summary, SUMMARIES, "one of the summaries")
    for name in definition.needs:
        _check(definition, "needs", name, REQUIREMENTS, "requirements of docs/studies.md")
    _check_figure(definition)


def _check_read(definition: StudyDefinition) -> None:
    """Refuse what a study that draws its runs, or that samples networks, has no use for."""
    kinds = (("space", _NOT_DRAWN), ("search_seeds", _NOT_SAMPLED))
    kind, unread = next(((key, keys) for key, keys in kinds if getattr(definition, key)), ("", ()))
    given = [key for key in unread if getattr(definition, key)]
    if kind:
        given += [f"runs.{run.label}.defaults" for run in definition.runs if run.defaults]
        given += [f"runs.{run.label}.min_seeds" for run in definition.runs if run.min_seeds > 1]
    if given:
        _refuse(definition, f"no key that does nothing beside `{kind}`", ", ".join(given))


def _check_source(definition: StudyDefinition, run: Run) -> None:
    """Check that the row whose architecture ``run`` takes over has one; ``run`` would wait for ever."""
    if not run.architecture_of:
        return
    (source,) = (other for other in definition.runs if other.label == run.architecture_of)
    place = f"`runs.{run.label}.architecture_of` to be a row"
    if source.architecture_of or source.model not in (SEARCHED, TRAINED):
        _refuse(definition, f"{place} of the model {SEARCHED} or {TRAINED} with a network of its own", source.label)


def _check_figure(definition: StudyDefinition) -> None:
    kind = definition.figure.get("kind", "")
    _check(definition, "figure.kind", kind, FIGURES, "one of the kinds")
    if kind == "lines":
        x = definition.figure.get("x")
        _check(definition, "figure.x", x or "nothing", definition.varied, "one of the keys it varies")
    if kind == "panels" and not definition.one_at_a_time:
        _refuse(definition, "`figure: {kind: panels}` only with `one_at_a_time`", "nothing")


def _check(definition: StudyDefinition, key: str, name: str, known: Collection[str], what: str) -> None:
    if name and name not in known:
        rule = f"`{key}` to be {what} ({'; '.join(known) or 'there is none'})"
        _refuse(definition, rule, name, did_you_mean(name, list(known)))


def _refuse(definition: StudyDefinition, rule: str, found: object, hint: str = "") -> None:
    msg = f"The study {definition.name} needs {rule}, but has {found!r}.{hint}"
    raise ConfigError(msg)
