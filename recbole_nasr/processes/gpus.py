"""Which GPUs this process may use, and whether they suffice for several processes."""

from __future__ import annotations

import os

import torch

from recbole_nasr.compat.devices import VISIBLE
from recbole_nasr.errors import ConfigError
from recbole_nasr.progress import plural


def own_gpus() -> str:
    """Return the numbers of the GPUs that this process may use, as RecBole's ``gpu_id`` names them."""
    given = os.environ.get(VISIBLE)
    return ",".join(map(str, range(torch.cuda.device_count()))) if given is None else given


def check_gpus(gpu_id: str, n_processes: int) -> None:
    """Refuse more processes than GPUs, since NCCL gives each process one of its own.

    Args:
        gpu_id: RecBole's key; empty for the CPU.
        n_processes: Processes on this machine.

    Raises:
        ConfigError: If the processes cannot have a GPU each.
    """
    if not gpu_id or not torch.cuda.is_available():
        return
    named = len(gpu_id.split(","))
    present = min(named, torch.cuda.device_count())
    if n_processes > present:
        msg = (
            f"Each process needs a GPU of its own, but there are {n_processes} processes and {present} "
            f"{plural(present, 'GPU')} (gpu_id={gpu_id}); start fewer, name more with gpu_id=0,1,…, or use CPUs with "
            "an empty gpu_id."
        )
        raise ConfigError(msg)
