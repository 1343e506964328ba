"""Finished runs on disk: finding one, and making its network work again without its data set."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from recbole.data import create_dataset
from recbole.utils import get_model

from recbole_nasr.checkpoint import load_checkpoint
from recbole_nasr.configuration import MODELS
from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.errors import CheckpointError, ConfigError, DataError, did_you_mean
from recbole_nasr.isolation import restored_visible_devices
from recbole_nasr.pipeline import CHECKPOINT
from recbole_nasr.results import ITEMS_FILE

_OTHER_DATA = "it was trained on other data; put the data of the run back, or train again"


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
        """Read what a run folder says about itself."""
        return cls(folder, folder / CHECKPOINT, _json(folder / "run.json"), _json(folder / "metrics.json"))


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
    """Yield all runs below ``<runs_dir>/<dataset>/``, newest first within a data set."""
    for path in sorted(runs_dir.glob("*/*/run.json"), key=lambda path: (path.parts[-3], path.parts[-2]), reverse=True):
        yield SavedRun.in_folder(path.parent)


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
    config = saved["config"]
    config["device"] = torch_device(device)
    items = run.folder / ITEMS_FILE
    vocabulary = Vocabulary.load(items) if items.is_file() else Vocabulary.of(load_data(config))
    return LoadedRun(run, _network(saved, config, vocabulary), config, vocabulary)


def torch_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for.

    Raises:
        ConfigError: If it is something else, or there is no GPU.
    """
    if name not in ("auto", "cpu", "cuda"):
        msg = f"`device` must be one of auto, cpu, cuda, but is {name!r}.{did_you_mean(name, ('auto', 'cpu', 'cuda'))}"
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
        with restored_visible_devices(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # RecBole's own
            return create_dataset(config)
    except (OSError, ValueError, KeyError) as error:
        msg = f"The data set {config['dataset']!r} of the run cannot be read from {config['data_path']}: {error}"
        raise DataError(msg) from error


class _ItemsOnly:
    """Stands for a data set where a model is built: all that a model of histories needs is the number of items."""

    def __init__(self, config: Any, n_items: int) -> None:
        self._model, self._field, self._n_items = config["model"], config["ITEM_ID_FIELD"], n_items

    def num(self, field: str) -> int:
        return self._n_items if field == self._field else self.__getattr__(f"the number of {field}")

    def __getattr__(self, name: str) -> Any:
        msg = (
            f"{self._model} scores with more than the items of a history ({name}), so it cannot recommend for "
            "histories alone; NASR, NASRSearch, SASRec, GRU4Rec and other models of item sequences can."
        )
        raise ConfigError(msg)


def _network(saved: dict[str, Any], config: Any, vocabulary: Vocabulary) -> Any:
    model = get_model(config["model"])(config, _ItemsOnly(config, len(vocabulary)))
    try:
        model.load_state_dict(saved["state_dict"])
    except RuntimeError as error:
        first = str(error).splitlines()[-1].strip()
        msg = f"The weights do not fit the network of {len(vocabulary) - 1:,} items ({first}): {_OTHER_DATA}."
        raise CheckpointError(msg) from error
    if config["model"] not in MODELS:  # ours keep there what training goes on from
        model.load_other_parameter(saved.get("other_parameter"))
    return model.to(config["device"]).eval()


def _json(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
