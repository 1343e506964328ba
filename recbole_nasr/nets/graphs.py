"""A step of training as one CUDA graph: captured once for each shape of its inputs, then replayed."""

from __future__ import annotations

import functools
import logging
import warnings
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recbole_nasr.rng import RandomPlace

_LOG = logging.getLogger("recbole_nasr")

WARM_UP = 3
"""Steps that run normally before one is captured; they count like any other."""


_BROKEN: list[torch.cuda.CUDAGraph] = []
"""Captures that broke off, never deleted: torch's allocator of host memory still asks them which streams they are."""

_ENDS = ("_cuda_endAllocateToPool", "_cuda_endAllocateCurrentStreamToPool")
"""Names of one function of torch's, the second up to torch 2.5 or so."""


@dataclass(frozen=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    output: Tensor

    def replay(self, inputs: Sequence[Tensor]) -> Tensor:
        for held, given in zip(self.inputs, inputs, strict=True):
            held.copy_(given, non_blocking=True)
        self.graph.replay()
        return self.output.clone()


class GraphedStep:
    """Calls a function of tensors; on a GPU it is captured once and then replayed.

    The function must do the same work whenever its inputs have the same shapes and ``key``: it may read its inputs and
    tensors at fixed addresses, but no value on the host, and must update weights and the state of an optimiser in
    place. The first steps of each shape are run normally, on a separate stream as capturing requires; in the last of
    them torch refuses any operation that waits for the device, which a graph cannot record. Without a GPU, or if
    something cannot be captured, the function is just called, with the random numbers that the attempt had.

    Args:
        function: Maps tensors to one tensor.
        name: Name of the step, for messages.
        generators: Random generators that the function draws from, besides torch's own.
        required: Raise the error that prevents a capture, instead of showing it and continuing without.
    """

    def __init__(
        self,
        function: Callable[..., Tensor],
        name: str,
        *,
        generators: Sequence[torch.Generator] = (),
        required: bool = False,
    ) -> None:
        self._function, self._name, self._generators, self._required = function, name, tuple(generators), required
        self._captured: dict[Hashable, _Captured] = {}
        self._n_warm: dict[Hashable, int] = {}
        self._enabled = torch.cuda.is_available()
        self._pool: Any = None

    def __call__(self, *inputs: Tensor, key: Hashable = None) -> Tensor:
        """Return what the function returns for ``inputs``.

        Args:
            inputs: All on one device.
            key: Identifies everything else that the work of the function depends on.
        """
        if not self._enabled or not _on_gpu(inputs[0]):
            return self._function(*inputs)
        with torch.cuda.device(inputs[0].get_device()):  # streams are those of the present device
            return self._warmed_up_or_replayed(inputs, key)

    def release(self) -> None:
        """Free the memory of all captures; a later call captures again."""
        self._captured.clear()
        self._n_warm.clear()
        self._pool = None

    def _warmed_up_or_replayed(self, inputs: tuple[Tensor, ...], key: Hashable) -> Tensor:
        shapes = key, tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        captured = self._captured.get(shapes)
        if captured is not None:
            return captured.replay(inputs)
        n_warm = self._n_warm[shapes] = self._n_warm.get(shapes, 0) + 1
        if n_warm < WARM_UP:
            return self._aside(inputs)
        before = RandomPlace(inputs[0].device, self._generators)
        try:
            if n_warm == WARM_UP:
                with waiting_refused():
                    return self._aside(inputs)
            captured = self._captured[shapes] = self._capture(inputs)
            return captured.replay(inputs)
        except RuntimeError as error:
            self._give_up(error)
        before.go_back()  # what the failed attempt has drawn is drawn again
        return self._function(*inputs)  # only now nothing of the failed attempt is left

    def _give_up(self, error: RuntimeError) -> None:
        if self._required:
            raise error
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        _LOG.warning("cuda_graphs: off for the %s, which could not be captured: %s", self._name, reason)
        self._enabled = False
        self.release()

    def _aside(self, inputs: Sequence[Tensor]) -> Tensor:
        """Run the function on another stream; the current one waits for it."""
        present = torch.cuda.current_stream()
        aside = _side_stream(present.device)
        aside.wait_stream(present)
        try:
            with torch.cuda.stream(aside):
                output = self._function(*inputs)
        finally:  # after an error, too, the step is run again
            present.wait_stream(aside)
        output.record_stream(present)
        return output

    def _capture(self, inputs: Sequence[Tensor]) -> _Captured:
        """Capture the function without running it."""
        held = tuple(tensor.clone() for tensor in inputs)
        # Graphs are replayed one after the other and leave nothing for each other, so they may share their memory.
        self._pool = self._pool or torch.cuda.graph_pool_handle()
        graph = self._new_graph()
        try:
            # A capture that breaks off would leave its own stream the present one.
            with torch.cuda.stream(torch.cuda.current_stream()), self._recording(graph, self._pool):
                output = self._function(*held)
        except RuntimeError as error:
            if _end_allocation(held[0].get_device(), self._pool):
                _BROKEN.append(graph)
            self._free_generators(held[0].device)
            raise _first(error) from None
        return _Captured(graph, held, output)

    def _new_graph(self) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        return graph

    def _free_generators(self, device: torch.device) -> None:
        """Release the generators after a failed capture, since torch takes them to be still captured.

        They would refuse all further draws ("Offset increment outside graph capture encountered unexpectedly").
        """
        torch.cuda.synchronize(device)
        with self._recording(self._new_graph()):
            torch.zeros(1, device=device)

    @staticmethod
    def _recording(graph: torch.cuda.CUDAGraph, pool: Any = None) -> torch.cuda.graph:
        stream = _side_stream(torch.cuda.current_stream().device)  # torch's own is one of the first device used
        return torch.cuda.graph(graph, pool=pool, stream=stream)


def _end_allocation(device: int, pool: Any) -> bool:
    """Tell torch's allocator that the capture into ``pool`` is over; return whether it did not know.

    Up to version 2.11 torch does not tell it where a capture was broken off by what cannot be captured, and it would
    refuse from then on to give memory back, which every further capture begins with (pytorch/pytorch#180395).
    """
    named = (getattr(torch._C, name, None) for name in _ENDS)  # noqa: SLF001 - no other way
    end = next(filter(None, named), None)
    if end is None:  # a torch that calls it otherwise, and so one that may need it no longer
        return True
    try:
        end(device, pool)
    except RuntimeError:  # not recording to this pool
        return False
    torch._C._cuda_releasePool(device, pool)  # noqa: SLF001 - as above
    return True


def _first(error: RuntimeError) -> BaseException:
    """Return what broke a capture off; at its end torch raises another error, which only says that there was one."""
    return error.__context__ if isinstance(error.__context__, RuntimeError) else error


def being_captured(tensor: Tensor) -> bool:
    """Return whether operations on ``tensor`` are being captured instead of run."""
    return _on_gpu(tensor) and torch.cuda.is_current_stream_capturing()


@functools.cache
def _side_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream of ``device`` for warm-up and capture; there is one, since libraries keep memory for each."""
    return torch.cuda.Stream(device)


def _on_gpu(tensor: Tensor) -> bool:
    return tensor.is_cuda


@contextmanager
def waiting_refused() -> Iterator[None]:
    """Let torch raise an error if an operation waits for the GPU, such as reading a value back."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it does not notice everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)
