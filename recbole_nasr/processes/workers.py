"""What RecBole needs to run in several processes: repairs that are in force in such processes only.

RecBole's own way (`run` with ``nproc``) insists on NVIDIA cards, writes checkpoints that other processes read too
early, and counts evaluation cases twice. Line numbers are those of RecBole 1.2.1; 1.2.0 has the same code.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import recbole.data.utils as recbole_data
import recbole.trainer.trainer as recbole_trainer
import recbole.utils.logger as recbole_logger
import torch
import torch.utils.data.distributed as torch_samplers
from recbole.config import Config
from recbole.data.dataloader import FullSortEvalDataLoader, NegSampleEvalDataLoader
from recbole.evaluator.collector import Collector
from recbole.trainer import Trainer

from recbole_nasr import distributed
from recbole_nasr.compat.events import NoEvents
from recbole_nasr.errors import ConfigError
from recbole_nasr.heartbeat import LOST_AFTER_S, check_lost_after
from recbole_nasr.patching import swapped
from recbole_nasr.processes.gpus import check_gpus, own_gpus

Function = Callable[..., Any]


def _choose_device(original: Function) -> Function:
    """Join the other processes with whatever devices there are (config/configurator.py:495-519).

    RecBole takes NCCL and one GPU per process for granted, and an assertion for an explanation.
    """

    def _init_device(self: Any) -> None:
        options = self.final_config_dict
        if "local_rank" not in options:
            original(self)
            return
        local_rank, n_processes = options.pop("local_rank"), options["nproc"]
        if "gpu_id" not in self.external_config_dict:
            options["gpu_id"] = own_gpus()
        original(self)  # as for a process alone: GPU or CPU
        if options["device"].type == "cuda":
            check_gpus(options["gpu_id"], n_processes)
            options["device"] = torch.device("cuda", local_rank)
            torch.cuda.set_device(local_rank)
        elif "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(1, (os.cpu_count() or 1) // n_processes))
        distributed.join(
            rank=local_rank + options["offset"],
            world_size=options["world_size"],
            device=options["device"],
            init_method=f"tcp://{options['ip']}:{options['port']}",
            lost_after=check_lost_after(options.get("lost_after", LOST_AFTER_S)),
        )
        options.update(local_rank=local_rank, single_spec=False)
        if distributed.rank() > 0:  # what one process says or writes is enough
            options.update(state="error", show_progress=False, verbose=False, log_wandb=False)
            options.update(save_dataset=False, save_dataloaders=False)

    return _init_device


def _on_any_device(original: Function) -> Function:
    """Average gradients on CPUs too (trainer/trainer.py:61-64): there DDP takes no ``device_ids``."""

    def parallel(module: Any, device_ids: list[int]) -> Any:
        on_cpu = next(module.parameters()).device.type == "cpu"
        return original(module, device_ids=None if on_cpu else device_ids)

    return parallel


def _keep_batch_norm(original: Function) -> Function:
    """Leave BatchNorm as it is on CPUs (trainer/trainer.py:61), where it cannot be synchronised."""

    def convert_sync_batchnorm(module: Any, *args: Any) -> Any:
        first = next(module.parameters(), None)  # None in parts of a model, for which torch calls this again
        return module if first is not None and first.device.type == "cpu" else original(module, *args)

    return convert_sync_batchnorm


def _share_file_name(original: Function) -> Function:
    """Let all processes mean the same checkpoint (trainer/trainer.py:132): each would name one of its own."""

    def initialise(self: Any, config: Any, model: Any) -> None:
        original(self, config, model)
        self.saved_model_file = distributed.from_first(self.saved_model_file)

    return initialise


def _save_once(original: Function) -> Function:
    """Write a checkpoint once, and let nobody read it before (trainer/trainer.py:285-313).

    RecBole's other processes go on at once and read half a file. And its checkpoint says that it belongs to one of
    several processes, so that `load_data_and_model` would look for the others; here it says nothing of them.
    """

    def _save_checkpoint(self: Any, *args: Any, **kwargs: Any) -> None:
        if distributed.rank() == 0:
            options = self.config.final_config_dict
            alone = {**options, "single_spec": True, "local_rank": 0}
            with swapped(self.config, "final_config_dict", alone):
                original(self, *args, **kwargs)
        distributed.from_all(None)

    return _save_checkpoint


class _OwnShare(torch.utils.data.Sampler[int]):
    """The cases of this process: a stretch of its own, so that together each case comes once, in order."""

    def __init__(self, cases: Sequence[int], **_options: Any) -> None:
        n_processes, n_cases = distributed.world_size(), len(cases)
        if n_cases < n_processes:
            msg = (
                f"Each process needs a case to evaluate, but there are {n_processes} processes and {n_cases} cases; "
                "start fewer."
            )
            raise ConfigError(msg)
        start, end = (n_cases * number // n_processes for number in (distributed.rank(), distributed.rank() + 1))
        self._cases = cases[start:end]

    def __iter__(self) -> Iterator[int]:
        return iter(self._cases)

    def __len__(self) -> int:
        return len(self._cases)


def _share_cases(original: Function) -> Function:
    """Evaluate each case once (data/dataloader/abstract_dataloader.py:60): torch's sampler repeats some."""

    def initialise(self: Any, *args: Any, **kwargs: Any) -> None:
        with swapped(torch_samplers, "DistributedSampler", _OwnShare):
            original(self, *args, **kwargs)

    return initialise


_PER_CASE = ("rec.items", "rec.topk", "rec.meanrank", "rec.score", "data.label")


def _collect_all(original: Function) -> Function:
    """Compute metrics from all cases (evaluator/collector.py:217-233, trainer/trainer.py:633-656).

    RecBole averages the rounded metrics of the processes, weighted by their batches; a coverage or a Gini index is
    no such average at all.
    """

    def get_data_struct(self: Any) -> Any:
        struct = original(self)
        # As arrays: a tensor would be unpickled by `torch.load`, which reads checkpoints only while RecBole evaluates.
        own = {key: struct.get(key).cpu().numpy() for key in _PER_CASE if key in struct}
        parts = distributed.from_all(own)
        for key in own:
            struct.set(key, torch.from_numpy(np.concatenate([part[key] for part in parts])))
        return struct

    return get_data_struct


def _part_together(original: Function) -> Function:
    """Part once all have come this far (quick_start/quick_start.py:156).

    With RecBole's first process goes the place where the processes meet, and the others would seem lost to each other.
    """

    def destroy_process_group(*args: Any, **kwargs: Any) -> None:
        distributed.from_all(None)
        distributed.stop_watching()
        original(*args, **kwargs)

    return destroy_process_group


def _already_exact(_original: Function) -> Function:
    """Skip that average (trainer/trainer.py:633-656), which also rounds to float32."""

    def _map_reduce(_self: Any, result: Any, _n_batches: int) -> Any:
        return result

    return _map_reduce


def _events_once(original: Function) -> Function:
    """Write TensorBoard events once (trainer/trainer.py:107)."""
    return lambda logger: original(logger) if distributed.rank() == 0 else NoEvents()


def _create_folder(_original: Function) -> Function:
    """Let another process create a folder at the same moment (utils/utils.py:53): RecBole looks, then creates."""
    return lambda dir_path: Path(dir_path).mkdir(parents=True, exist_ok=True)


_REPAIRS: tuple[tuple[Any, str, Callable[[Function], Function]], ...] = (
    (Config, "_init_device", _choose_device),
    (recbole_trainer, "DistributedDataParallel", _on_any_device),
    (torch.distributed, "destroy_process_group", _part_together),
    (torch.nn.SyncBatchNorm, "convert_sync_batchnorm", _keep_batch_norm),
    (recbole_trainer, "get_tensorboard", _events_once),
    *((module, "ensure_dir", _create_folder) for module in (recbole_logger, recbole_trainer, recbole_data)),
    (Trainer, "__init__", _share_file_name),
    (Trainer, "_save_checkpoint", _save_once),
    (Trainer, "_map_reduce", _already_exact),
    (Collector, "get_data_struct", _collect_all),
    (FullSortEvalDataLoader, "__init__", _share_cases),
    (NegSampleEvalDataLoader, "__init__", _share_cases),
)


@contextmanager
def in_several_processes(rank: int) -> Iterator[None]:
    """Make the repairs for the length of the block; all processes but the first say nothing on the screen.

    Args:
        rank: Number of this process over all machines.
    """
    with ExitStack() as stack:
        if rank > 0:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stdout(nowhere))
            stack.enter_context(redirect_stderr(nowhere))
        for owner, name, make in _REPAIRS:
            stack.enter_context(swapped(owner, name, make(getattr(owner, name))))
        yield
