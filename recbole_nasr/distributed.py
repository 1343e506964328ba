"""Several processes that work on one run: what they tell each other.

Every process holds the whole data and the whole model and takes its share of each batch. All functions here are
collective: each process must call them, in the same order. With one process there is no group, and they return what
they were given.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from textwrap import shorten
from typing import Any, TypeVar
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn
from torch import distributed as dist

from recbole_nasr.errors import NASRError
from recbole_nasr.heartbeat import LOST_AFTER_S, Heartbeat, Identity, connect, end_process

T = TypeVar("T")


class LostProcessError(NASRError, RuntimeError):
    """Another process of the run ended or no longer answers."""


def world_size() -> int:
    """Return how many processes work on this run, on all machines."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Return the number of this process, from 0, over all machines."""
    return dist.get_rank() if world_size() > 1 else 0


_heartbeat: Heartbeat | None = None


def join(
    *,
    rank: int,
    world_size: int,
    device: torch.device,
    init_method: str = "env://",
    lost_after: float = LOST_AFTER_S,
) -> None:
    """Join the other processes, unless this one has; waits until all are there.

    From then on this process ends, with a message, when another one is lost.

    Args:
        rank: Number of this process.
        world_size: How many there are.
        device: Where they compute: gloo connects CPUs, NCCL GPUs.
        init_method: Where they meet, as in `torch.distributed.init_process_group`.
        lost_after: Seconds without a sign of life after which a process counts as lost; 0 leaves it to torch.
    """
    if dist.is_initialized():
        return
    # Also with GPUs, Python objects travel between CPUs.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    with _answered():
        dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=world_size)
    if lost_after:
        _watch_the_others(init_method, lost_after)


def _watch_the_others(init_method: str, lost_after: float) -> None:
    global _heartbeat  # noqa: PLW0603 - like the process group, there is one in a process
    number, n_processes = rank(), world_size()
    if n_processes == 1:
        return
    identities = from_all(Identity.of_this_process())
    where = urlsplit(init_method)
    host = where.hostname or os.environ["MASTER_ADDR"]
    port = where.port or int(os.environ["MASTER_PORT"])
    end = partial(end_process, n_processes=n_processes, lost_after=lost_after)
    with _answered():
        _heartbeat = Heartbeat(connect(host, port), number, identities, lost_after, end)
    from_all(None)  # all have counted once before the first looks
    _heartbeat.start()
    atexit.register(stop_watching)


def stop_watching() -> None:
    """Let the others be lost from now on, such as at the end."""
    global _heartbeat  # noqa: PLW0603 - as above
    if _heartbeat is not None:
        _heartbeat.stop()
    _heartbeat = None


def leave() -> None:
    """Part from the other processes, once all have come this far."""
    if dist.is_initialized():
        from_all(None)
        stop_watching()
        dist.destroy_process_group()


def from_first(value: T) -> T:
    """Return the ``value`` of process 0 in every process."""
    if world_size() == 1:
        return value
    box = [value]
    with _answered():
        dist.broadcast_object_list(box, src=0)
    return box[0]


def from_all(value: T) -> list[T]:
    """Return the ``value`` of every process, in their order; nobody goes on before all have come this far."""
    if world_size() == 1:
        return [value]
    boxes: list[T | None] = [None] * world_size()
    with _answered():
        dist.all_gather_object(boxes, value)
    return boxes  # type: ignore[return-value]  # all filled


def total(values: Tensor) -> Tensor:
    """Return the sum over processes of ``values``, a tensor of the same shape in each; changed in place."""
    if world_size() > 1:
        with _answered():
            dist.all_reduce(values)
    return values


def own_rows(n_rows: int) -> slice:
    """Return the stretch of ``n_rows`` rows that is for this process: in their order they make up the whole."""
    number, n_processes = rank(), world_size()
    return slice(n_rows * number // n_processes, n_rows * (number + 1) // n_processes)


def share(values: Sequence[T]) -> Sequence[T]:
    """Return the stretch of ``values`` that is for this process, as :func:`own_rows` has it."""
    return values[own_rows(len(values))]


def all_rows(own: Tensor, n_rows: int) -> Tensor:
    """Return the ``n_rows`` rows that the processes have together, each those of its :func:`share`, ``own``."""
    if world_size() == 1:
        return own
    everything = own.new_zeros(n_rows, *own.shape[1:])
    for row, values in zip(share(range(n_rows)), own, strict=True):
        everything[row] = values
    return total(everything)  # adding zeros changes no bit


def rows_of_all(own: Sequence[Tensor], n_rows: int) -> Sequence[Tensor]:
    """Return, of each of the tensors ``own``, the rows that the processes have together, in fp32, with gradients.

    It is for what must be computed from all rows, such as the statistics of BatchNorm: every process then computes the
    same, and divides the loss by :func:`world_size`, so that the shares of the processes add up. So do the gradients of
    the parameters behind the rows; that of the rows themselves is multiplied by their number, for only their process
    has it.

    Args:
        own: Tensors ``(B, ...)`` of equal shape, those rows of this process.
        n_rows: Rows of all processes.
    """
    if world_size() == 1:
        return own
    stacked = torch.stack(list(own)).float()
    everything: Tensor = _RowsOfAll.apply(stacked, n_rows)  # type: ignore[no-untyped-call]  # torch's
    return everything.unbind()


class _RowsOfAll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, own: Tensor, n_rows: int) -> Tensor:
        ctx.rows = own_rows(n_rows)
        everything = own.new_zeros(own.size(0), n_rows, *own.shape[2:])
        everything[:, ctx.rows] = own
        return total(everything)  # adding zeros changes no bit

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad[:, ctx.rows] * world_size(), None


def add_in_turn(sum_so_far: Tensor, own: Iterable[Tensor]) -> None:
    """Add the tensors ``own`` of each process to ``sum_so_far``, in place, in the order one process would add them.

    Each process computes its tensors at the same time as the others; only the additions wait for each other.
    """
    if world_size() == 1:
        for tensor in own:
            sum_so_far += tensor
        return
    computed = list(own)
    for number in range(world_size()):
        if number == rank():
            for tensor in computed:
                sum_so_far += tensor
        with _answered():
            dist.broadcast(sum_so_far, src=number)


def make_equal(tensors: Iterable[Tensor]) -> None:
    """Give every process the values that ``tensors`` have in process 0, in place."""
    if world_size() == 1:
        return
    for tensor in tensors:
        with _answered(), torch.no_grad():
            dist.broadcast(tensor, src=0)


def add_up_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its sum over processes; one that a process lacks counts as 0."""
    if world_size() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    flat = torch.cat([(p.new_zeros(p.numel()) if p.grad is None else p.grad.flatten()) for p in trained])
    parts = torch.split(total(flat), [parameter.numel() for parameter in trained])
    for parameter, part in zip(trained, parts, strict=True):
        parameter.grad = part.view_as(parameter)


@contextmanager
def first_process_first() -> Iterator[None]:
    """Let process 0 through the block alone, then the others: what it has written they find done."""
    if rank() > 0:
        from_all(None)
    yield
    if rank() == 0:
        from_all(None)


@contextmanager
def _answered() -> Iterator[None]:
    """Turn what torch says when a process is gone into one line."""
    try:
        yield
    except RuntimeError as error:  # torch's own DistError is one, and gloo raises it plain
        msg = (
            "The processes of a run work together to its end, but another one has stopped or does not answer; its own "
            f"message says why, run the command again. ({shorten(str(error), 160)})"
        )
        raise LostProcessError(msg) from error
