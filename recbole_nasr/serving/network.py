"""What is exported: numbers of items in, the best next ones out; with ways to run it from a file."""

from __future__ import annotations

import inspect
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recbole_nasr.data.table import Column
from recbole_nasr.errors import ConfigError
from recbole_nasr.nets import HybridNet

FORMATS = {"torch": "model.pt2", "onnx": "model.onnx"}
"""Each format and its file."""

Runner = Callable[[Column, Column], tuple[Column, Column]]
"""``item_seq (B, L)`` and ``item_seq_len (B,)``, int64, to ``ids (B, k)`` int64 and ``scores (B, k)`` float32."""

_NAMES: dict[str, Any] = {"input_names": ["item_seq", "item_seq_len"], "output_names": ["ids", "scores"]}
_TRACED_BATCH = 2  # of one row, torch would take the batch for a constant
_LARGEST_FILE = 1_500_000_000  # bytes; ONNX keeps at most 2 GB in one file


class TopKNetwork(nn.Module):
    """A network and the selection of its best items.

    Args:
        network: In eval mode.
        k: Items to return.
        exclude_seen: Leave out the items of the sequence.
    """

    def __init__(self, network: HybridNet, k: int, *, exclude_seen: bool) -> None:
        super().__init__()
        self.network = network
        self.k = k
        self.exclude_seen = exclude_seen

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> tuple[Tensor, Tensor]:
        """Return numbers and logits ``(B, k)`` of the best items after right-padded ``item_seq (B, L)``.

        Where fewer items are left, numbers are 0 and logits ``-inf``.
        """
        scores = self.network.scores(item_seq, item_seq_len)
        if self.exclude_seen:
            scores = scores.scatter(1, item_seq, -torch.inf)
        best, ids = scores.topk(self.k)
        return ids.masked_fill(best == -torch.inf, 0), best


def check_format(name: str) -> None:
    """Refuse a format that cannot be written here, before any work.

    Raises:
        ConfigError: If there is no such format, or packages for it are missing.
    """
    if name not in FORMATS:
        msg = f"`export` must be one of {', '.join(FORMATS)}, but is {name!r}."
        raise ConfigError(msg)
    if name == "onnx":
        try:
            import onnx  # noqa: F401 - whether it is there
            import onnxruntime  # noqa: F401 - as above
            import onnxscript  # noqa: F401 - as above
        except ImportError as error:
            msg = f"--export=onnx needs the package {error.name}; pip install onnx onnxscript onnxruntime."
            raise ConfigError(msg) from error


def write_network(network: TopKNetwork, name: str, max_length: int, folder: Path) -> Path:
    """Write ``network`` in the format ``name``; the batch is free, sequences have ``max_length`` places."""
    path = folder / FORMATS[name]
    example = (torch.ones(_TRACED_BATCH, max_length, dtype=torch.int64), torch.full((_TRACED_BATCH,), max_length))
    batch = torch.export.Dim("batch", min=1)
    free = {"item_seq": {0: batch}, "item_seq_len": {0: batch}}
    with torch.no_grad(), _quiet():
        if name == "torch":
            # Not strict is the default of later releases; torch 2.4 loses its way in tied weights otherwise.
            torch.export.save(torch.export.export(network, example, dynamic_shapes=free, strict=False), path)
        elif _old_exporter() or any(isinstance(module, nn.RNNBase) for module in network.modules()):
            # The current exporter unrolls a recurrence over all positions, which takes minutes; the older one has an
            # operator for it.
            torch.onnx.export(network, example, path, **_NAMES, dynamic_axes=_free_batches(), dynamo=False)
        else:
            size = sum(weight.numel() * weight.element_size() for weight in network.parameters())
            large: dict[str, Any] = {"external_data": size > _LARGEST_FILE}
            torch.onnx.export(
                network, example, path, **_NAMES, **large, dynamic_shapes=free, dynamo=True, verbose=False
            )
    return path


def _old_exporter() -> bool:
    """Return whether this is torch 2.4; asked late, since torch imports its exporters when they are first named."""
    return "external_data" not in inspect.signature(torch.onnx.export).parameters


def _free_batches() -> dict[str, dict[int, str]]:
    return {name: {0: "batch"} for names in _NAMES.values() for name in names}


def eager_runner(network: nn.Module) -> Runner:
    """Return a function that runs a network as it is."""

    def run(item_seq: Column, item_seq_len: Column) -> tuple[Column, Column]:
        with torch.inference_mode():
            ids, scores = network(torch.from_numpy(item_seq), torch.from_numpy(item_seq_len))
        return ids.numpy(), scores.numpy()

    return run


def file_runner(path: Path) -> Runner:
    """Return a function that runs a file written by :func:`write_network`, with as many threads as torch has."""
    if path.name == FORMATS["torch"]:
        return eager_runner(torch.export.load(path).module())
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session: Any = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(item_seq: Column, item_seq_len: Column) -> tuple[Column, Column]:
        ids, scores = session.run(None, {"item_seq": item_seq, "item_seq_len": item_seq_len})
        return ids, scores

    return run


def random_histories(n_rows: int, max_length: int, n_items: int) -> tuple[Column, Column]:
    """Return random right-padded histories of all lengths from 1 up: ``(n_rows, max_length)`` and ``(n_rows,)``."""
    generator = np.random.default_rng(0)
    length = np.arange(n_rows, dtype=np.int64) % max_length + 1
    item_seq = generator.integers(1, n_items, (n_rows, max_length))
    return np.where(np.arange(max_length) < length[:, None], item_seq, 0), length


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters log and warn about packages that are not needed here."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
