"""Experiment trackers beside TensorBoard: Weights & Biases through RecBole's own switch, MLflow through one like it.

TensorBoard events are always written, by RecBole's trainers, into the run folder. ``log_wandb`` (with
``wandb_project``) is RecBole's; here each run gets a W&B run of its own, named like its folder and kept in it.
``log_mlflow`` (with ``mlflow_experiment``) is ours; MLflow's own ``MLFLOW_TRACKING_URI`` says where its runs are kept.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from recbole_nasr.distributed import rank
from recbole_nasr.errors import ConfigError
from recbole_nasr.search import BlockRanking

OnValidation = Callable[[int, float], None]
"""Called with the index of an epoch, from 0, and its validation score."""

TRACKERS = {"log_wandb": "wandb", "log_mlflow": "mlflow"}
"""The key of each tracker, and the package it needs."""

DEFAULT_EXPERIMENT = "recbole-nasr"
"""MLflow's experiment, where ``mlflow_experiment`` is not given."""

_LONGEST_PARAMETER = 500  # characters, in every version of MLflow


def check_trackers(config: Mapping[str, Any] | Any) -> None:
    """Refuse a tracker that is not installed, before any work.

    Raises:
        ConfigError: If its key is neither true nor false, or its package is missing.
    """
    for key, package in TRACKERS.items():
        value = config[key]
        if value not in (None, False, True):
            msg = f"`{key}` must be True or False, but is {value!r}."
            raise ConfigError(msg)
        if value and importlib.util.find_spec(package) is None:
            msg = f"--{key}=True needs the package {package}, which is not installed here: pip install {package}."
            raise ConfigError(msg)


class Tracker:
    """What a run tells MLflow; nothing where ``log_mlflow`` is off.

    Args:
        mlflow: The package; None where it is off.
    """

    def __init__(self, mlflow: Any = None) -> None:
        self._mlflow = mlflow

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers, those of an epoch or a block with its number as ``step``."""
        if self._mlflow is not None:
            # MLflow allows no @ in a name.
            self._mlflow.log_metrics({name.replace("@", "_at_"): float(v) for name, v in values.items()}, step=step)

    def epochs(self, trainer: Any, metric: str, then: OnValidation | None) -> OnValidation:
        """Return a callback for validated epochs that logs loss and score, then calls ``then``."""

        def call(epoch_index: int, score: float) -> None:
            loss = trainer.train_loss_dict.get(epoch_index, 0.0)  # some models have a loss of several parts
            total = sum(loss) if isinstance(loss, tuple) else loss
            self.metrics({"train_loss": total, f"valid_{metric.lower()}": score}, step=epoch_index + 1)
            if then is not None:
                then(epoch_index, score)

        return call

    def search(self, blocks: Iterable[BlockRanking]) -> None:
        """Log what a search found, block by block from 1, and the losses of every block by epoch."""
        for number, block in enumerate(blocks, start=1):
            self.metrics({f"search_{name}": value for name, value in block.numbers().items()}, step=number)
            for epoch, loss in enumerate(block.losses, start=1):
                self.metrics({f"search_loss_of_block_{number}": loss}, step=epoch)

    def files(self, folder: Path) -> None:
        """Keep the small files of a finished run folder with the run, but not ``run.json``, which is written last."""
        if self._mlflow is not None:
            for pattern in ("*.json", "*.yaml", "*.md", "*.svg", "*.png"):
                for path in sorted(path for path in folder.glob(pattern) if path.name != "run.json"):
                    self._mlflow.log_artifact(str(path))


@contextmanager
def tracked(config: Mapping[str, Any] | Any, parameters: Mapping[str, Any], folder: Path) -> Iterator[Tracker]:
    """Track one run until the block ends, whichever way it ends.

    Args:
        config: Configuration of the run.
        parameters: The configuration in force, as plain data.
        folder: The run folder.
    """
    with ExitStack() as stack:
        if config["log_wandb"]:
            stack.enter_context(_own_wandb_run(config, parameters, folder))
        yield stack.enter_context(_mlflow_run(config, parameters, folder)) if config["log_mlflow"] else Tracker()


@contextmanager
def _own_wandb_run(config: Mapping[str, Any] | Any, parameters: Mapping[str, Any], folder: Path) -> Iterator[None]:
    """Start the run that RecBole then logs to, and finish it, so that the next model does not go on with it."""
    wandb = importlib.import_module("wandb")
    if wandb.run is not None:  # the user's own, around this one
        yield
        return
    wandb.init(project=config["wandb_project"], name=folder.name, dir=str(folder), config=dict(parameters))
    try:
        yield
    finally:
        wandb.finish()


@contextmanager
def _mlflow_run(config: Mapping[str, Any] | Any, parameters: Mapping[str, Any], folder: Path) -> Iterator[Tracker]:
    if rank():  # of several processes the first one tells
        yield Tracker()
        return
    mlflow = importlib.import_module("mlflow")
    mlflow.set_experiment(str(config["mlflow_experiment"] or DEFAULT_EXPERIMENT))
    with mlflow.start_run(run_name=folder.name):
        mlflow.log_params({key: str(value)[:_LONGEST_PARAMETER] for key, value in parameters.items()})
        mlflow.set_tags({"model": config["model"], "dataset": config["dataset"], "folder": str(folder)})
        yield Tracker(mlflow)
