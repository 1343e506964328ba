"""The command line in the processes that torchrun starts: one run, of which the first process writes and speaks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from recbole_nasr import distributed
from recbole_nasr.errors import ConfigError
from recbole_nasr.heartbeat import LOST_AFTER_S
from recbole_nasr.processes.gpus import check_gpus, own_gpus
from recbole_nasr.processes.workers import in_several_processes


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that torchrun has started.

    Args:
        rank: Its number over all machines.
        local_rank: Its number on this machine.
        world_size: Processes on all machines.
        local_world_size: Processes on this machine.
    """

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    local_world_size: int = 1

    @classmethod
    def of_this_process(cls) -> Launch:
        """Read torchrun's environment variables; without torchrun this process is alone."""
        if not torch.distributed.is_available() or not torch.distributed.is_torchelastic_launched():
            return cls()
        names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
        return cls(*(int(os.environ[name]) for name in names))

    def name(self) -> str:
        """Return ``process 1 of 2: `` and so on, to put before a message; nothing for the first."""
        return f"process {self.rank} of {self.world_size}: " if self.rank else ""


@contextmanager
def joined_processes(device: str, gpu_id: str, lost_after: float = LOST_AFTER_S) -> Iterator[Launch]:
    """Connect the processes that torchrun has started for the length of the block.

    A process that is alone, or is connected already, just goes on.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        gpu_id: RecBole's key, as the user gave it.
        lost_after: Seconds without a sign of life after which a process counts as lost; 0 leaves it to torch.

    Raises:
        ConfigError: If the processes cannot have a GPU each.
    """
    launch = Launch.of_this_process()
    if launch.world_size == 1 or distributed.world_size() > 1:
        yield launch
        return
    chosen = torch.device("cpu")
    if device != "cpu" and torch.cuda.is_available():
        if gpu_id:
            msg = f"torchrun gives each process a GPU; choose them with CUDA_VISIBLE_DEVICES, not gpu_id={gpu_id}."
            raise ConfigError(msg)
        check_gpus(own_gpus(), launch.local_world_size)
        chosen = torch.device("cuda", launch.local_rank)
        torch.cuda.set_device(chosen)  # before anything else looks for GPUs: RecBole shows a process the first only
    distributed.join(rank=launch.rank, world_size=launch.world_size, device=chosen, lost_after=lost_after)
    try:
        with in_several_processes(launch.rank):
            yield launch
        distributed.leave()  # not after an error: the others may never answer
    finally:
        distributed.stop_watching()


def process_settings() -> dict[str, Any]:
    """Return RecBole's keys that say which of several processes this is; none for one alone."""
    launch = Launch.of_this_process()
    if launch.world_size == 1:
        return {}
    return {
        "local_rank": launch.local_rank,
        "nproc": launch.local_world_size,
        "offset": launch.rank - launch.local_rank,
        "world_size": launch.world_size,
        "ip": os.environ["MASTER_ADDR"],
        "port": os.environ["MASTER_PORT"],
    }


@contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """Yield ``folder`` in the first process, in the others one that is thrown away at the end."""
    if distributed.rank() == 0:
        yield folder
        return
    with TemporaryDirectory() as scratch:
        yield Path(scratch)
