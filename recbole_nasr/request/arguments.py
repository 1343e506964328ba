"""The command line in RecBole's grammar, ``--key=value``, read without evaluating anything.

RecBole itself evaluates each value as Python: there ``--genotype=1-2-3`` becomes ``-4``. Here a value is a
Python literal, ``true``, ``false`` or ``null``, names in brackets, or else the text as written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recbole_nasr.errors import ConfigError

TEXT_KEYS = frozenset(
    {
        "model",
        "dataset",
        "config_files",
        "device",
        "gpu_id",
        "architecture",
        "run_name",
        "runs_dir",
        "data_path",
        "source",
        "ml_release",
        "user_column",
        "item_column",
        "time_column",
        "source_separator",
        "study",
        "target",
        "storage",
        "results",
        "time_budget",
        "pruner",
        "recommend",
        "user",
        "items",
        "input",
        "output",
        "export",
        "run",
        "compare",
        "ops_module",
    }
)
"""Keys whose value is text, whatever it looks like."""

PLACE_KEYS = frozenset(
    {
        "architecture",
        "data_path",
        "input",
        "ops_module",
        "output",
        "recommend",
        "results",
        "run",
        "runs_dir",
        "source",
        "storage",
        "study",
    }
)
"""Keys whose value may be one file or folder."""

FLAGS = ("help", "version", "quick", "prepare", "fresh", "retry_failed", "list")
"""Keys that may stand without a value."""

STUDY_KEYS = (
    "study",
    "target",
    "storage",
    "results",
    "n_trials",
    "time_budget",
    "seeds",
    "pruner",
    "space",
    "retry_failed",
    "n_architectures",
    "search_seeds",
    "n_trainings",
)
"""Keys that only mean something beside ``--study``."""

COLUMN_KEYS = ("user_column", "item_column", "time_column")
"""Keys that name the columns of a file of histories."""

_SCORING = ("k", "exclude_seen", "device", "ops_module")

RUN_COMMANDS = {
    "recommend": ("user", "items", "input", "output", *COLUMN_KEYS, *_SCORING),
    "export": ("run", "output", *_SCORING),
    "list": ("runs_dir", "dataset"),
    "compare": (),
}
"""Each command that uses finished runs, and the other keys it takes."""

COMMANDS = (*RUN_COMMANDS, "study", "prepare", "help", "version")
"""Keys that ask for something else than the run of a model."""

_SPELLED = {"true": True, "false": False, "null": None}
_NAME = r"(?!(?:inf|nan)\b)[A-Za-z_][\w.@-]*"
_NAMES = re.compile(rf"\[\s*{_NAME}(?:\s*,\s*{_NAME})*\s*\]")
_NUMBER_WITH_UNDERSCORES = re.compile(r"[\d_.eE+-]*\d_\d[\d_.eE+-]*")


class _Spelled(ast.NodeTransformer):
    """Reads true, false and null within lists and tables too, as they are written in YAML."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Return the value of ``true``, ``false`` or ``null``; any other name as it is."""
        return ast.Constant(_SPELLED[node.id]) if node.id in _SPELLED else node


def parse_value(text: str) -> Any:
    """Turn the text of a value into what it means.

    Names in brackets need no quotes, which a shell takes away; ``true``, ``false`` and ``null`` are no names.

    Example:
        >>> parse_value("1e-3"), parse_value("[10, 20]"), parse_value("true"), parse_value("1-4")
        (0.001, [10, 20], True, '1-4')
        >>> parse_value("[NDCG,Recall]")
        ['NDCG', 'Recall']
    """
    if text.lower() in _SPELLED:
        return _SPELLED[text.lower()]
    if _NUMBER_WITH_UNDERSCORES.fullmatch(text):
        return text
    try:
        value = ast.literal_eval(_Spelled().visit(ast.parse(text.lstrip(" \t"), mode="eval")))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return re.split(r"\s*,\s*", text[1:-1].strip()) if _NAMES.fullmatch(text) else text
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else text


def expanded(key: str, value: Any) -> Any:
    """Return the value of a key with the home folder in place of a leading ``~``, where the key names a place.

    A shell does this at the start of a word alone, and so not in ``--key=~/runs``.

    Raises:
        ConfigError: If it is the home folder of a user that this machine does not have.
    """
    is_place = split_key(key)[1] in PLACE_KEYS and isinstance(value, str)
    return expanded_name(key, value) if is_place else value


def expanded_name(key: str, name: str) -> str:
    """Return the name of a file or folder with the home folder in place of a leading ``~``.

    Raises:
        ConfigError: If it is the home folder of a user that this machine does not have.
    """
    try:
        return str(Path(name).expanduser()) if name.startswith("~") else name
    except RuntimeError:
        msg = (
            f"`--{key}` begins with the home folder of a user, {name!r}, but there is no such user; for a folder of "
            f"that name write --{key}=./{name}."
        )
        raise ConfigError(msg) from None


def split_key(key: str) -> tuple[str, str]:
    """Split ``MODEL.key``, a key for one model of a comparison; without a dot it is for all of them.

    Example:
        >>> split_key("SASRec.epochs"), split_key("epochs")
        (('SASRec', 'epochs'), ('', 'epochs'))
    """
    model, _, name = key.rpartition(".")
    return model, name


def _apart(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Take ``--compare RUN RUN``, the only key whose values stand in words of their own, out of the words."""
    words = list(words)
    if "--compare" not in words:
        return {}, words
    place = words.index("--compare")
    end = next((n for n in range(place + 1, len(words)) if words[n].startswith("-")), len(words))
    return {"compare": words[place + 1 : end]}, [*words[:place], *words[end:]]


def parse_line(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--key=value`` words, and ``--compare RUN RUN`` as a list.

    Raises:
        ConfigError: If a word has another form, a table lacks its quotes, a key is given twice with different
            values, or a place is in the home folder of nobody.
    """
    values, words = _apart(arguments)
    for word in words:
        key, equals, text = word[2:].partition("=")
        if word == "-h":
            key = "help"
        elif not word.startswith("--") or not key or (not equals and key not in FLAGS):
            msg = f"Arguments have the form `--key=value` (one word, no spaces), but got {word!r}; see --help."
            raise ConfigError(msg)
        value = (text if split_key(key)[1] in TEXT_KEYS else parse_value(text)) if equals else True
        if isinstance(value, str) and value[:1] + value[-1:] == "{}" and key not in TEXT_KEYS:
            msg = (
                f"`--{key}` must be a table such as {{'name': [1, 0.5, 'text', true]}}, but is {value}. "
                f'A shell takes quotes away: write --{key}="{{...}}", with double quotes around it all.'
            )
            raise ConfigError(msg)
        value = expanded(key, value)
        if key in values and values[key] != value:
            msg = f"`--{key}` is given twice, as {values[key]!r} and {value!r}; keep one."
            raise ConfigError(msg)
        values[key] = value
    return values
