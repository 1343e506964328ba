"""The command line in RecBole's grammar, ``--key=value``, read without evaluating anything.

RecBole itself evaluates each value as Python: there ``--genotype=1-2-3`` becomes ``-4``. Here a value is a
Python literal, ``true`` or ``false``, or else the text as written.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_nasr.errors import ConfigError, did_you_mean
from recbole_nasr.heartbeat import LOST_AFTER_S, check_lost_after
from recbole_nasr.settings_file import read_settings

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

FLAGS = ("help", "version", "quick", "prepare", "fresh", "retry_failed", "list")
"""Keys that may stand without a value."""

COMMANDS = ("recommend", "export", "list", "compare", "study", "prepare", "help", "version")
"""Keys that ask for something else than the run of a model."""

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

DEVICES = ("auto", "cpu", "cuda")

_LONGEST_INTERVAL_S = 86_400
_NUMBER_WITH_UNDERSCORES = re.compile(r"[\d_.eE+-]*\d_\d[\d_.eE+-]*")
_FOLDER_PART = re.compile(r"[\w][\w.+-]{0,99}")


@dataclass(frozen=True)
class Request:
    """What one command asks for.

    Args:
        models: Names, in the order given; each is run once.
        dataset: Name of the data set.
        device: ``auto``, ``cpu`` or ``cuda``.
        run_name: Ending of the run folder's name; may be empty.
        runs_dir: Folder of all run folders.
        quick: Whether to take the small settings of :data:`recbole_nasr.defaults.QUICK`.
        prepare: Whether to stop after the preparation of the data and its report.
        fresh: Whether to start over where the same command has left an unfinished run.
        checkpoint_interval: Seconds between two saved states of a run.
        lost_after: Seconds without a sign of life after which one of several processes counts as lost.
        file_settings: Keys for the models that stand in configuration files.
        line_settings: Keys for the models that stand on the command line.
    """

    models: tuple[str, ...]
    dataset: str
    device: str = "auto"
    run_name: str = ""
    runs_dir: Path = Path("runs")
    quick: bool = False
    prepare: bool = False
    fresh: bool = False
    checkpoint_interval: float = 30.0
    lost_after: float = LOST_AFTER_S
    file_settings: dict[str, Any] = field(default_factory=dict)
    line_settings: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, Any]:
        """Keys for the models, the command line before the files; ``MODEL.key`` is for that model alone."""
        return {**self.file_settings, **self.line_settings}

    def settings_of(self, model: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the keys of the files and those of the command line, as ``model`` sees them."""
        return _seen_by(model, self.file_settings), _seen_by(model, self.line_settings)


def parse_value(text: str) -> Any:
    """Turn the text of a value into what it means.

    Example:
        >>> parse_value("1e-3"), parse_value("[10, 20]"), parse_value("true"), parse_value("1-4")
        (0.001, [10, 20], True, '1-4')
    """
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    if _NUMBER_WITH_UNDERSCORES.fullmatch(text):
        return text
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return text
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, (bool, int, float, str, list, dict)) else text


def split_key(key: str) -> tuple[str, str]:
    """Split ``MODEL.key``, a key for one model of a comparison; without a dot it is for all of them.

    Example:
        >>> split_key("SASRec.epochs"), split_key("epochs")
        (('SASRec', 'epochs'), ('', 'epochs'))
    """
    model, _, name = key.rpartition(".")
    return model, name


def join_compared(words: Sequence[str]) -> list[str]:
    """Turn ``--compare RUN RUN`` into the one word ``--compare=RUN,RUN``.

    Example:
        >>> join_compared(["--compare", "runs/a", "runs/b"])
        ['--compare=runs/a,runs/b']
    """
    words = list(words)
    if "--compare" not in words:
        return words
    place = words.index("--compare")
    end = next((n for n in range(place + 1, len(words)) if words[n].startswith("-")), len(words))
    return [*words[:place], f"--compare={','.join(words[place + 1 : end])}", *words[end:]]


def parse_line(arguments: Sequence[str]) -> dict[str, Any]:
    """Read ``--key=value`` words.

    Raises:
        ConfigError: If a word has another form, or a key is given twice with different values.
    """
    values: dict[str, Any] = {}
    for word in arguments:
        key, equals, text = word[2:].partition("=")
        if word == "-h":
            key = "help"
        elif not word.startswith("--") or not key or (not equals and key not in FLAGS):
            msg = f"Arguments have the form `--key=value` (one word, no spaces), but got {word!r}; see --help."
            raise ConfigError(msg)
        value = (text if split_key(key)[1] in TEXT_KEYS else parse_value(text)) if equals else True
        if key in values and values[key] != value:
            msg = f"`--{key}` is given twice, as {values[key]!r} and {value!r}; keep one."
            raise ConfigError(msg)
        values[key] = value
    return values


def build_request(line: dict[str, Any]) -> Request:
    """Join the words of a command line with the configuration files it names.

    Raises:
        ConfigError: If a file cannot be read, the model or data set is missing, or one of our own keys has a
            value that it cannot have.
    """
    on_line = dict(line)
    in_files: dict[str, Any] = {}
    for name in str(on_line.pop("config_files", "")).split():
        in_files.update(read_settings(name))

    def take(key: str, default: Any) -> Any:
        from_file = in_files.pop(key, default)
        return on_line.pop(key, from_file)

    prepare = _boolean("prepare", take("prepare", default=False))
    models = take("model", "") or ("NASR" if prepare else "")  # the data are the same for every model
    if not models:
        _check_command(on_line)
    names = models if isinstance(models, (list, tuple)) else str(models or "").split(",")
    return Request(
        models=_distinct([str(name).strip() for name in names if str(name).strip()]),
        dataset=_folder_part("dataset", _required("dataset", str(take("dataset", None) or "").strip(), "ml")),
        device=_choice("device", str(take("device", "auto")), DEVICES),
        run_name=_folder_part("run_name", str(take("run_name", None) or "")),
        runs_dir=Path(str(take("runs_dir", None) or "runs")),
        quick=_boolean("quick", take("quick", default=False)),
        prepare=prepare,
        fresh=_boolean("fresh", take("fresh", default=False)),
        checkpoint_interval=_seconds("checkpoint_interval", take("checkpoint_interval", default=30.0)),
        lost_after=check_lost_after(take("lost_after", default=LOST_AFTER_S)),
        file_settings=in_files,
        line_settings=on_line,
    )


def _check_command(line: dict[str, Any]) -> None:
    """Refuse a line without a model in which another command is misspelt."""
    for key in line:
        hint = did_you_mean(key, ("model", *COMMANDS))
        if hint:
            msg = f"`--{key}` is neither a command nor a model.{hint} See --help."
            raise ConfigError(msg)


def _seen_by(model: str, settings: dict[str, Any]) -> dict[str, Any]:
    split = {key: split_key(key) for key in settings}
    general = {key: settings[key] for key, (owner, _) in split.items() if not owner}
    return general | {name: settings[key] for key, (owner, name) in split.items() if owner == model}


def _required(key: str, value: str, example: str) -> str:
    if not value:
        msg = f"`--{key}` is missing; for instance --{key}={example}. See --help."
        raise ConfigError(msg)
    return value


def _distinct(models: list[str]) -> tuple[str, ...]:
    _required("model", ",".join(models), "NASRSearch")
    repeated = sorted({name for name in models if models.count(name) > 1})
    if repeated:
        msg = f"Each model of `--model` is run once, but {', '.join(repeated)} is named more than once."
        raise ConfigError(msg)
    return tuple(models)


def _choice(key: str, value: str, choices: Sequence[str]) -> str:
    if value not in choices:
        hint = " One of several cards is chosen with --gpu_id." if value.startswith("cuda") else ""
        hint = hint or did_you_mean(value, choices)
        msg = f"`{key}` must be one of {', '.join(choices)}, but is {value!r}.{hint}"
        raise ConfigError(msg)
    return value


def _folder_part(key: str, value: str) -> str:
    if value and not _FOLDER_PART.fullmatch(value):
        msg = f"`{key}` becomes part of a folder's name: letters, digits and `_.+-`, but it is {value!r}."
        raise ConfigError(msg)
    return value


def _boolean(key: str, value: Any) -> bool:
    if not isinstance(value, bool):
        msg = f"`{key}` is either on or off (--{key} alone switches it on), but is {value!r}."
        raise ConfigError(msg)
    return value


def _seconds(key: str, value: Any) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 <= value <= _LONGEST_INTERVAL_S:
        msg = f"`{key}` is a number of seconds from 0 (after every step) to {_LONGEST_INTERVAL_S}, but is {value!r}."
        raise ConfigError(msg)
    return float(value)
