"""Repairs of how RecBole reads and writes files: checkpoints, caches, downloads."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from recbole_nasr.compat.repair import repair
from recbole_nasr.errors import DataError, NASRError, WriteError
from recbole_nasr.patching import swapped, variant, wrap

_FAILED_WRITE = re.compile("Writer|inline_container|iostream|writ", re.IGNORECASE)  # torch has no error of its own

_PRETRAINED = {
    "sequential_recommender": ("S3Rec",),
    "general_recommender": ("ConvNCF", "NAIS", "NeuMF", "RaCT"),
    "context_aware_recommender": ("KD_DAGFM",),
}
"""Models that read another model's checkpoint in their constructor."""


@repair(
    "trainer/trainer.py",
    583,
    "torch.load(checkpoint_file, map_location=self.device)",
    why="torch 2.6 and later cannot read RecBole's checkpoints; older torch runs whatever they name.",
)
def restrict_torch_load() -> bool:
    """Read checkpoints with `recbole_nasr.checkpoints.reading` wherever RecBole reads one.

    They are pickles of protocol 4, which ``weights_only=True``, the default since torch 2.6, cannot read at all.
    RecBole reads them in trainer.py:323 and :583, quick_start.py:250, and where a model starts from the weights of
    another one, as in s3rec.py:120.
    """
    import recbole.quick_start as package
    import recbole.quick_start.quick_start as module
    from recbole.trainer import Trainer

    from recbole_nasr.checkpoints.reading import restricted_loading

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def reading(*args: Any, **kwargs: Any) -> Any:
            with restricted_loading():
                return original(*args, **kwargs)

        return reading

    wrap(Trainer, "evaluate", make)
    wrap(Trainer, "resume_checkpoint", make)
    wrap(module, "load_data_and_model", make)
    package.load_data_and_model = module.load_data_and_model
    for kind, names in _PRETRAINED.items():
        models = importlib.import_module(f"recbole.model.{kind}")
        for name in names:
            wrap(getattr(models, name), "__init__", make)
    return True


@repair(
    "trainer/trainer.py",
    308,
    "torch.save(state, saved_model_file, pickle_protocol=4)",
    why="A checkpoint is written over the one before; where the disk is full both are lost.",
)
def save_checkpoints_whole() -> bool:
    """Write a checkpoint beside the earlier one, which it replaces once it is complete."""
    import torch
    from recbole.trainer import Trainer

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def _save_checkpoint(*args: Any, **kwargs: Any) -> Any:
            with swapped(torch, "save", functools.partial(_save_whole, torch.save)):
                return original(*args, **kwargs)

        return _save_checkpoint

    wrap(Trainer, "_save_checkpoint", make)
    return True


def _save_whole(save: Callable[..., None], value: Any, path: str, **options: Any) -> None:
    target = Path(path)
    partial = target.with_name(f".{target.name}.partial")
    try:
        save(value, partial, **options)
        partial.replace(target)
    except (OSError, RuntimeError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and not _FAILED_WRITE.search(str(error)):
            raise
        raise WriteError.of(path, error) from error


@repair(
    "trainer/trainer.py",
    132,
    'saved_model_file = "{}-{}.pth".format(self.config["model"], get_local_time())',
    why="Trainings of a model that begin in one second share a checkpoint: one may test the weights of the other.",
)
def name_checkpoints_apart() -> bool:
    """Give the checkpoint of every trainer a name of its own: its process and number there follow the second."""
    from recbole.trainer import Trainer

    numbers = itertools.count(1)

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            path = Path(self.saved_model_file)
            self.saved_model_file = str(path.with_name(f"{path.stem}-{os.getpid()}-{next(numbers)}{path.suffix}"))

        return initialise

    wrap(Trainer, "__init__", make)
    return True


@repair(
    "data/utils.py",
    61,
    "dataset = pickle.load(f)",
    why="A file in saved/ that looks like a cached data set is read unasked, and runs whatever it names.",
)
def restrict_cache_load() -> bool:
    """Read what ``save_dataset`` and ``save_dataloaders`` wrote (also :122) with `recbole_nasr.checkpoints.reading`."""
    import recbole.data.utils as module

    from recbole_nasr.checkpoints.reading import load_cache

    module.pickle = variant(pickle, load=load_cache)
    return True


@repair(
    "data/utils.py",
    94,
    "dataloader.generator = None",
    why="A run with save_dataloaders shuffles with torch's own generator, and the next one, from the cache, otherwise.",
)
def keep_generators_of_loaders() -> bool:
    """Give the data loaders that were saved their generators back: RecBole takes them off for the file only."""
    import recbole.data.utils as module

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def save_split_dataloaders(config: Any, dataloaders: Sequence[Any]) -> None:
            before = [loader.generator for loader in dataloaders]
            try:
                original(config, dataloaders)
            finally:
                for loader, generator in zip(dataloaders, before, strict=True):
                    loader.generator = loader.sampler.generator = generator  # as RecBole does on reading

        return save_split_dataloaders

    wrap(module, "save_split_dataloaders", make)
    return True


@repair(
    "data/dataset/dataset.py",
    252,
    "torch.distributed.barrier()",
    why="After a download RecBole waits for other processes, and raises where there are none.",
)
def skip_lonely_barrier() -> bool:
    """Let a single process download a data set."""
    import torch
    from recbole.data.dataset import Dataset

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def _download(self: Any) -> None:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                original(self)
                return
            with swapped(torch.distributed, "barrier", lambda: None):
                original(self)

        return _download

    wrap(Dataset, "_download", make)
    return True


@repair(
    "data/dataset/dataset.py",
    239,
    "if decide_download(url):",
    why="A download that fails leaves an empty folder, which the next run takes for the data set.",
)
def undo_failed_download() -> bool:
    """Report in one line that a data set could not be downloaded, and remove the folder made for it."""
    from recbole.data.dataset import Dataset

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def _download(self: Any) -> None:
            folder = Path(self.dataset_path)
            before = folder.exists()
            try:
                original(self)
            except NASRError:
                raise
            except (OSError, RuntimeError, zipfile.BadZipFile) as error:
                if not before:
                    shutil.rmtree(folder, ignore_errors=True)
                msg = (
                    f"The data set {self.dataset_name!r} could not be downloaded ({error}); check the connection, or "
                    f"put {self.dataset_name}.inter into {self.dataset_path!r} yourself."
                )
                raise DataError(msg) from error

        return _download

    wrap(Dataset, "_download", make)
    return True
