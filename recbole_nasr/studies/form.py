"""The form of a study's file: what kind of value each key has, checked before anything else looks at it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_nasr.errors import LARGEST_INTEGER, ConfigError, is_finite, whole

MOST_NETWORKS = 10_000
"""Networks that `fidelity` may sample; each is trained."""

MOST_SEEDS = 1_000
"""Seeds of a row; each is a run."""

Rule = tuple[Callable[[Any], bool], str]


def _whole(low: int, high: int) -> Rule:
    return whole(low, high), f"an integer from {low} to {high}"


def _list_of(rule: Rule, *, empty: bool) -> Rule:
    holds, text = rule
    return (
        lambda value: (
            isinstance(value, (list, tuple))
            and (empty or bool(value))
            and len(value) <= MOST_SEEDS
            and all(map(holds, value))
        ),
        f"a list of at most {MOST_SEEDS} entries, each {text}",
    )


TEXT: Rule = (lambda value: isinstance(value, str), "text")
SWITCH: Rule = (lambda value: isinstance(value, bool), "true or false")
TABLE: Rule = (lambda value: isinstance(value, dict) and all(isinstance(key, str) for key in value), "a table")
RANGES: Rule = (
    lambda value: TABLE[0](value) and all(isinstance(values, list) and values for values in value.values()),
    "a table of lists, none of them empty",
)
FIGURE: Rule = (lambda value: TABLE[0](value) and all(map(TEXT[0], value.values())), "a table of texts")
PUBLISHED: Rule = (
    lambda value: (
        TABLE[0](value)
        and all(TABLE[0](rows) and all(TABLE[0](row) for row in rows.values()) for rows in value.values())
        and all(is_finite(number) for rows in value.values() for row in rows.values() for number in row.values())
    ),
    "a table of data sets, each a table of rows with a number for each metric",
)
SEED = _whole(0, LARGEST_INTEGER)

STUDY: dict[str, Rule] = {
    **dict.fromkeys(("title", "paper", "claim", "reference", "compare", "summary", "published_by"), TEXT),
    **dict.fromkeys(("settings", "space", "quick"), TABLE),
    "figure": FIGURE,
    "published": PUBLISHED,
    **dict.fromkeys(("grid", "one_at_a_time"), RANGES),
    "seeds": _list_of(SEED, empty=False),
    "search_seeds": _list_of(SEED, empty=True),
    "early_epochs": _list_of(_whole(1, LARGEST_INTEGER), empty=True),
    "n_trials": _whole(0, LARGEST_INTEGER),
    "n_trainings": _whole(1, MOST_SEEDS),
    "n_architectures": _whole(0, MOST_NETWORKS),
    "needs": _list_of(TEXT, empty=True),
    "runs": (lambda value: TABLE[0](value) and all(TABLE[0](row) for row in value.values()), "a table of tables"),
}
"""What each key of a study's file must be."""

ROW: dict[str, Rule] = {
    **dict.fromkeys(("model", "architecture_of"), TEXT),
    **dict.fromkeys(("settings", "defaults"), TABLE),
    "min_seeds": _whole(1, MOST_SEEDS),
    "tuned": _whole(0, LARGEST_INTEGER),
    "untrained": SWITCH,
}
"""What each key of one of its rows must be."""


def check_form(name: str, content: Mapping[str, Any]) -> None:
    """Check the values of a study's file, the names of whose keys are known to be right.

    Args:
        name: Of the study.
        content: What the file says; its table ``quick`` is checked likewise.

    Raises:
        ConfigError: For the first value of another kind.
    """
    _check(name, "", content, STUDY)
    for label, row in content.get("runs", {}).items():
        _check(name, f"runs.{label}.", row, ROW)
    if "quick" in content:
        check_form(f"{name} (quick)", content["quick"])


def _check(name: str, place: str, content: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for key, value in content.items():
        holds, rule = rules[key]
        if not holds(value):
            msg = f"The study {name} needs `{place}{key}` to be {rule}, but has {value!r:.80}."
            raise ConfigError(msg)
