"""What a command that runs models asks for, read from its words and the configuration files they name."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole.utils.argument_list import dataset_arguments, evaluation_arguments

from recbole_nasr.configuration.files import read_settings
from recbole_nasr.configuration.values import DATASET_ARGUMENTS
from recbole_nasr.errors import ConfigError, did_you_mean, is_finite, on_or_off
from recbole_nasr.heartbeat import LOST_AFTER_S, check_lost_after
from recbole_nasr.request.arguments import COMMANDS, TEXT_KEYS, expanded, expanded_name, parse_value, split_key

DEVICES = ("auto", "cpu", "cuda")

REQUEST_KEYS = (
    "model",
    "dataset",
    "config_files",
    "device",
    "run_name",
    "runs_dir",
    "quick",
    "prepare",
    "fresh",
    "checkpoint_interval",
    "lost_after",
)
"""Keys of a command that runs models which are for the command itself; all others are for the models."""

_DATA_KEYS = {"data_path", "encoding", *DATASET_ARGUMENTS, *dataset_arguments} - {"train_scheme"}
"""Keys that say on which data, ours and RecBole's."""

_EVALUATION_KEYS = {"mask_history", "tail_ratio", *evaluation_arguments}
"""Keys that say how a network is validated and tested; with others, results do not compare."""

_OF_ONE_MODEL = {
    *("MAX_ITEM_LIST_LENGTH", "seq_len", "POSITION_FIELD", "NEG_PREFIX", "unused_col"),  # what a model sees of a case
    *("preload_weight", "additional_feat_suffix", "group_field"),  # what it begins with, and whom a search holds out
    *("valid_metric", "valid_metric_bigger", "eval_batch_size"),  # which epoch is tested, and in which parts
}

SHARED_KEYS = (_DATA_KEYS | _EVALUATION_KEYS) - _OF_ONE_MODEL
"""Keys that decide the test cases or what is measured on them, and so are the same for all models of a comparison."""

_PLACE_KEYS = {"device", "gpu_id", "use_gpu", "runs_dir", "ops_module", *_DATA_KEYS}
"""Keys that say on which data and which device, and not how."""

_LONGEST_INTERVAL_S = 86_400
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
        quick: Whether to take the small settings of :data:`recbole_nasr.request.defaults.QUICK`.
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


def build_request(line: dict[str, Any]) -> Request:
    """Join the words of a command line with the configuration files it names.

    Raises:
        ConfigError: If a file cannot be read, the model or data set is missing, or one of our own keys has a
            value that it cannot have.
    """
    on_line = dict(line)
    in_files: dict[str, Any] = {}
    for name in _file_names(str(on_line.pop("config_files", ""))):
        in_files.update({key: expanded(key, value) for key, value in read_settings(name).items()})

    def take(key: str, default: Any) -> Any:
        from_file = in_files.pop(key, default)
        return on_line.pop(key, from_file)

    prepare = on_or_off("prepare", take("prepare", default=False))
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
        quick=on_or_off("quick", take("quick", default=False)),
        prepare=prepare,
        fresh=on_or_off("fresh", take("fresh", default=False)),
        checkpoint_interval=_seconds("checkpoint_interval", take("checkpoint_interval", default=30.0)),
        lost_after=check_lost_after(take("lost_after", default=LOST_AFTER_S)),
        file_settings=in_files,
        line_settings=on_line,
    )


def kept_words(command: Sequence[str], request: Request | None = None) -> list[str]:
    """Return the words of a command that those which follow from it need too, such as ``--data_path=data``.

    With the request also what configuration files say of where runs are written and on which device.
    """
    words = {word: word.partition("=")[0].removeprefix("--") for word in command}
    kept = [word for word, key in words.items() if key in _PLACE_KEYS]
    if request is None:
        return kept
    in_files = {key: value for key, value in request.file_settings.items() if key in ("gpu_id", "use_gpu")}
    in_files |= {"runs_dir": str(request.runs_dir)} if request.runs_dir != Request.runs_dir else {}
    in_files |= {"device": request.device} if request.device != Request.device else {}
    return kept + [_word(key, value) for key, value in in_files.items() if key not in words.values()]


def described_words(request: Request) -> list[str]:
    """Return as words what another model needs beside :func:`kept_words` to be run on the same data and tested alike.

    That is what configuration files, and not the command line, say of the data, such as ``load_col``, and what either
    says of the evaluation, such as ``topk``.
    """
    line = request.line_settings
    data = {key: value for key, value in request.file_settings.items() if key in _DATA_KEYS and key not in line}
    evaluation = {key: value for key, value in request.settings.items() if key in _EVALUATION_KEYS}
    described = {**data, **evaluation}
    empty = [key for key, value in described.items() if key in TEXT_KEYS and value is None]  # which no word can say
    return [_word(key, value) for key, value in described.items() if key not in empty]


def _word(key: str, value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)  # its double quotes are easier on a shell
    if key in TEXT_KEYS:
        return f"--{key}={text}"
    return f"--{key}={text if parse_value(text) == value else repr(value)}"


def _file_names(text: str) -> list[str]:
    """Split names at spaces as RecBole does, unless they are the name of a file with spaces; ``~`` is expanded.

    Raises:
        ConfigError: If commas stand between them.
    """
    whole = expanded_name("config_files", text)
    if Path(whole).is_file():
        return [whole]
    names = [expanded_name("config_files", name) for name in text.split()]
    for name in names:
        if "," in name and not Path(name).is_file():
            msg = (
                f'Several configuration files have spaces between them, --config_files="a.yaml b.yaml", but got {name}.'
            )
            raise ConfigError(msg)
    return names


def _check_command(line: dict[str, Any]) -> None:
    """Refuse a command line without a model that misspells another command."""
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


def _seconds(key: str, value: Any) -> float:
    if not is_finite(value) or not 0 <= value <= _LONGEST_INTERVAL_S:
        msg = f"`{key}` is a number of seconds from 0 (after every step) to {_LONGEST_INTERVAL_S}, but is {value!r}."
        raise ConfigError(msg)
    return float(value)
