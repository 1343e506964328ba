"""RecBole's quick start, importable without ray, and on several processes of any kind.

``from recbole_nasr.quick_start import run_recbole`` repairs and registers first, then hands out RecBole's own
functions. Two differ: `run` refuses what cannot work before it starts a process, and the processes it starts are
repaired as `recbole_nasr.processes.workers` says. Checkpoints are read as `recbole_nasr.compat` says.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from recbole.config import Config
from recbole.quick_start.quick_start import load_data_and_model, objective_function, run_recbole
from recbole.quick_start.quick_start import run as _recbole_run
from recbole.quick_start.quick_start import run_recboles as _recbole_run_recboles

from recbole_nasr.compat.isolation import restored_visible_devices
from recbole_nasr.errors import ConfigError
from recbole_nasr.heartbeat import LOST_AFTER_S, check_lost_after
from recbole_nasr.processes.gpus import check_gpus, own_gpus
from recbole_nasr.processes.workers import in_several_processes

__all__ = ["load_data_and_model", "objective_function", "run", "run_recbole", "run_recboles"]

_RECBOLES_PORT = "5678"


def run(
    model: Any,
    dataset: str,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,  # noqa: FBT001, FBT002 - RecBole's signature
    nproc: int = 1,
    world_size: int = -1,
    ip: str = "localhost",
    port: str | int = _RECBOLES_PORT,
    group_offset: int = 0,
) -> Any:
    """Train and test a model as `run_recbole` does, in ``nproc`` processes of this machine.

    Each process uses a GPU of its own (those of ``gpu_id``, or else the first ones), or the CPU where there is none or
    ``gpu_id`` is empty.

    Args:
        model: Name of the model.
        dataset: Name of the data set.
        config_file_list: YAML files.
        config_dict: Settings, above those of the files.
        saved: Whether to keep the best epoch, and test it.
        nproc: Processes to start here.
        world_size: Processes on all machines; those of this one when -1.
        ip: Address of the first machine.
        port: Port there; with one machine and RecBole's default, any free one.
        group_offset: Number of the first process of this machine.

    Returns:
        RecBole's dictionary of results; on a machine after the first that of its own first process, which is equal.

    Raises:
        ConfigError: If the numbers of processes make no sense, there are fewer GPUs than processes, or a key is
            unknown; nothing has been started then.
    """
    _check_numbers(nproc, world_size, group_offset)
    check_lost_after((config_dict or {}).get("lost_after", LOST_AFTER_S))
    settings = dict(config_dict or {})  # RecBole writes into it
    if nproc == 1 and world_size <= 0:
        return run_recbole(model, dataset, config_file_list, settings or None, saved)
    with restored_visible_devices():
        config = Config(model, dataset, config_file_list, dict(settings))
    check_gpus(str(config["gpu_id"]) if "gpu_id" in config.external_config_dict else own_gpus(), nproc)
    any_port = world_size in (-1, nproc) and str(port) == _RECBOLES_PORT
    with held_port() if any_port else nullcontext(port) as meeting:
        return _recbole_run(
            model, dataset, config_file_list, settings, saved, nproc, world_size, ip, str(meeting), group_offset
        )


def _check_numbers(nproc: int, world_size: int, group_offset: int) -> None:
    whole = all(type(number) is int for number in (nproc, world_size, group_offset))
    if not whole or nproc < 1:
        msg = f"`nproc` must be a whole number of processes, at least 1, but is {nproc!r} (world_size={world_size!r})."
        raise ConfigError(msg)
    if world_size > 0 and not 0 <= group_offset <= world_size - nproc:
        msg = (
            f"`world_size` counts the processes of all machines, but is {world_size} with nproc={nproc} processes here "
            f"that start at group_offset={group_offset}; give the sum over machines."
        )
        raise ConfigError(msg)


@contextmanager
def held_port() -> Iterator[int]:
    """Yield a port of this machine that the system gives to nobody else within the block, at which torch can listen.

    Processes take seconds to start, in which any connection of any program might get a port that is merely free.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # torch sets it too, so both may have the port
        holder.bind(("localhost", 0))
        port = int(holder.getsockname()[1])
        if os.name != "posix":  # there nobody could listen while it is held
            holder.close()
        yield port


def run_recboles(rank: int, *args: Any) -> Any:
    """Run RecBole's worker, one of several processes.

    `run` hands this function to spawned processes by its name; that the name lies in this package makes them
    import it, and thereby the repairs and models, before anything else.

    Args:
        rank: Number of the process on this machine.
        args: As RecBole's own `run_recboles` takes them.
    """
    with in_several_processes(rank + args[-1]["config_dict"].get("offset", 0)):
        return _recbole_run_recboles(rank, *args)
