"""Finished runs on disk: finding one, and making its network work again without its data set."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.data import create_dataset

from recbole_nasr.checkpoints.reading import load_checkpoint
from recbole_nasr.compat.isolation import restored_visible_devices
from recbole_nasr.configuration.values import MODELS
from recbole_nasr.data.benchmark_files import histories_field
from recbole_nasr.data.prepare import is_prepared_dataset
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.documents import RUN_SCHEMA, RUN_VERSION, read_document
from recbole_nasr.errors import CheckpointError, ConfigError, DataError, NewerFileError, did_you_mean
from recbole_nasr.request.request import DEVICES
from recbole_nasr.runs.folder import check_file_versions
from recbole_nasr.runs.pipeline import CHECKPOINT
from recbole_nasr.runs.results import ITEMS_FILE
from recbole_nasr.runs.results import SCHEMA as METRICS_SCHEMA
from recbole_nasr.serving.rebuilding import rebuilt_network

_LONGEST = 1_000_000


@dataclass(frozen=True)
class SavedRun:
    """A run folder, or a checkpoint of RecBole that stands alone.

    Args:
        folder: The run folder, or where the checkpoint is.
        checkpoint: The file with the weights; it may be missing where the run was cut short.
        facts: Content of ``run.json``; empty without.
        metrics: Content of ``metrics.json``; empty without.
    """

    folder: Path
    checkpoint: Path
    facts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def in_folder(cls, folder: Path) -> SavedRun:
        """Read what a run folder says about itself; damaged files count as missing.

        Raises:
            NewerFileError: If a newer version wrote it.
        """
        facts = _document(folder / "run.json", RUN_SCHEMA)
        metrics = _document(folder / "metrics.json", METRICS_SCHEMA)
        for key in ("test", "valid", "data"):
            if key in metrics:
                metrics[key] = _numbers(metrics[key])
        if not isinstance(metrics.get("mask_history", False), bool):
            del metrics["mask_history"]
        return cls(folder, folder / CHECKPOINT, facts, metrics)


@dataclass(frozen=True)
class LoadedRun:
    """A network ready to score, and what its numbers mean.

    Args:
        run: Where it comes from.
        model: In eval mode, on its device.
        config: RecBole's configuration of the run.
        vocabulary: Its items.
    """

    run: SavedRun
    model: Any
    config: Any
    vocabulary: Vocabulary

    @property
    def max_length(self) -> int:
        """Items of a history that the network reads, the last ones."""
        return int(self.config["MAX_ITEM_LIST_LENGTH"])

    @property
    def is_ours(self) -> bool:
        """Whether the network is one of this package, which a server can have."""
        return self.config["model"] in MODELS


def find_run(name: str | Path) -> SavedRun:
    """Find a run by its folder or its checkpoint.

    Raises:
        ConfigError: If there is none.
    """
    path = Path(name).expanduser()
    if path.is_file() and path.suffix == ".pth":
        run = SavedRun.in_folder(path.parent)
        return SavedRun(path.parent, path, run.facts, run.metrics)
    if (path / "run.json").is_file() or (path / CHECKPOINT).is_file():
        return SavedRun.in_folder(path)
    near = [str(run.folder) for run in saved_runs(path.parent.parent)] if path.parent.parent.is_dir() else []
    hint = did_you_mean(str(path), near) or " See --list."
    msg = f"A run is a folder with run.json and {CHECKPOINT}, or a checkpoint .pth, but {str(path)!r} is none.{hint}"
    raise ConfigError(msg)


def saved_runs(runs_dir: Path) -> Iterator[SavedRun]:
    """Yield all runs below ``<runs_dir>/<dataset>/``: data sets by name, and the newest run of each first."""
    newest_first = sorted(runs_dir.glob("*/*/run.json"), key=lambda path: path.parts[-2], reverse=True)
    for path in sorted(newest_first, key=lambda path: path.parts[-3]):
        yield _listed_run(path.parent)


def _listed_run(folder: Path) -> SavedRun:
    try:
        return SavedRun.in_folder(folder)
    except NewerFileError:
        return SavedRun(folder, folder / CHECKPOINT, {"status": "of a newer version"})


def load_run(name: str | Path, device: str = "auto") -> LoadedRun:
    """Make the network of a run work again.

    Args:
        name: Its folder or checkpoint.
        device: ``auto`` (a GPU where there is one), ``cpu`` or ``cuda``.

    Raises:
        ConfigError: If there is no such run or device, or its model needs more than the items of a history.
        CheckpointError: If its weights are missing, damaged, or of another data set.
        DataError: If its items are not kept in its folder, and its data set cannot be read.
    """
    run = find_run(name)
    if not run.checkpoint.is_file():
        status = run.facts.get("status", "unknown")
        msg = f"{run.folder} has no weights ({run.checkpoint.name} is missing, its status is {status!r}); run it again."
        raise CheckpointError(msg)
    saved = load_checkpoint(run.checkpoint, map_location="cpu")
    config = _config(saved, run.checkpoint)
    config["device"] = torch_device(device)
    items = run.folder / ITEMS_FILE
    vocabulary = Vocabulary.load(items) if items.is_file() else Vocabulary.of(load_data(config))
    return LoadedRun(run, rebuilt_network(saved, config, vocabulary), config, vocabulary)


def _config(saved: dict[str, Any], path: Path) -> Any:
    """Return the configuration of a checkpoint, once it has what reading histories needs."""
    config, weights = saved.get("config"), saved.get("state_dict")
    if config is None or not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        msg = f"{path} must have a configuration and weights, as RecBole's checkpoints do; it lacks one."
        raise CheckpointError(msg)
    length = config["MAX_ITEM_LIST_LENGTH"]
    if type(length) is not int or not 1 <= length <= _LONGEST:
        msg = f"`MAX_ITEM_LIST_LENGTH` in {path} must be from 1 to {_LONGEST:,}, not {length!r:.40}; it was not read."
        raise CheckpointError(msg)
    for key in ("ITEM_ID_FIELD", "LIST_SUFFIX", "ITEM_LIST_LENGTH_FIELD", "data_path"):
        if not isinstance(config[key], str):
            msg = f"`{key}` in {path} must be text, but is {type(config[key]).__name__}; it was not read."
            raise CheckpointError(msg)
    _check_numbering(config, path)
    return config


def _check_numbering(config: Any, path: Path) -> None:
    """Refuse a network whose histories had other numbers than its targets, as earlier versions could train it."""
    histories = histories_field(config)
    if config["benchmark_filename"] and histories not in (config["alias_of_item_id"] or ()):
        msg = (
            f"The run of {path} numbered the items of histories and targets in two ways: its benchmark files were read "
            f"without alias_of_item_id: [{histories}]. It cannot read a history; run it again with that key."
        )
        raise CheckpointError(msg)


def torch_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises:
        ConfigError: If it is something else, or there is no GPU.
    """
    if name not in DEVICES:
        msg = f"`device` must be one of {', '.join(DEVICES)}, but is {name!r}.{did_you_mean(name, DEVICES)}"
        raise ConfigError(msg)
    if name == "cuda" and not torch.cuda.is_available():
        msg = f"--device=cuda asks for a GPU, but torch {torch.__version__} sees none here; use --device=cpu."
        raise ConfigError(msg)
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_data(config: Any) -> Any:
    """Read the data set of a run, before it is split.

    Raises:
        DataError: If it is not where it was.
    """
    try:
        _check_place(config)
        with restored_visible_devices(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # RecBole's own
            return create_dataset(config)
    except (OSError, ValueError, KeyError) as error:
        msg = (
            f"The data set {config['dataset']!r} of the run cannot be read from {config['data_path']}: "
            f"{str(error).rstrip('.')}; put the data back, or run the command in the folder where the run was made."
        )
        raise DataError(msg) from error


def _check_place(config: Any) -> None:
    """Refuse data that would be downloaded, or prepared outside the current folder, because a checkpoint says so."""
    folder = Path(config["data_path"])
    ours = is_prepared_dataset(config["dataset"], config) and folder.resolve().is_relative_to(Path.cwd())
    if not folder.is_dir() and not ours:
        msg = f"there is no folder {folder}"
        raise FileNotFoundError(msg)


def _document(path: Path, schema: str) -> dict[str, Any]:
    try:
        content = read_document(path, schema, RUN_VERSION)
        check_file_versions(content, path.parent)
    except (OSError, ValueError):
        return {}
    return content


def _numbers(value: Any) -> dict[str, Any]:
    """Return the entries of a table that are numbers, none where it is no table."""
    entries = value.items() if isinstance(value, dict) else ()
    return {key: one for key, one in entries if isinstance(one, (int, float)) and not isinstance(one, bool)}
