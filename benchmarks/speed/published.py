"""The published code of the paper, from a checkout of the user's own, measured in a process of its own.

Nothing of it is part of this package. `published_worker` imports its modules by the path that is given, and calls them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.speed.cases import Implementation
from benchmarks.speed.gates import Check
from benchmarks.speed.shapes import Shape, item_sequences
from benchmarks.speed.timing import Seconds

ROOT = Path(__file__).resolve().parents[2]
AS_SHIPPED, LIKE_FOR_LIKE, READY = "published, as shipped", "published, like for like", "published, batches ready"


class Published:
    """A conversation with the process that runs the published code.

    Args:
        checkout: Folder of ``model.py``, ``train.py`` and ``dataset.py``.
        device: Where it computes.

    Raises:
        FileNotFoundError: If the folder does not look like the published code.
    """

    def __init__(self, checkout: Path, device: torch.device) -> None:
        missing = [
            name for name in ("model.py", "train.py", "dataset.py", "loss.py") if not (checkout / name).is_file()
        ]
        if missing:
            msg = f"`--official` must be a checkout of the published code, but {checkout} has no {', '.join(missing)}."
            raise FileNotFoundError(msg)
        self.folder = tempfile.TemporaryDirectory(prefix="nasr-published-")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.speed.published_worker", str(checkout.resolve()), str(device)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.opened: str | None = None

    def ask(self, command: str, **options: Any) -> dict[str, Any]:
        """Send a command and return its answer.

        Raises:
            RuntimeError: If the process failed; the message is its own.
        """
        if self.process.stdin is None or self.process.stdout is None:
            msg = "The process of the published code has no pipes."
            raise RuntimeError(msg)
        try:
            self.process.stdin.write(json.dumps({"command": command, **options}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer: dict[str, Any] = (
            json.loads(line) if line else {"error": "the process ended, perhaps for lack of memory"}
        )
        if "error" in answer:
            msg = f"The published code failed at {command} {options}: {answer['error']}"
            raise RuntimeError(msg)
        return answer

    def open(self, shape: Shape) -> None:
        """Give it data and sizes; what it had before is dropped."""
        if self.opened == shape.name:
            return
        table = Path(self.folder.name) / f"{shape.name}.csv"
        rows = max(4 * shape.batch_size, shape.ranking_rows, shape.cases)
        np.savetxt(table, left_padded(*item_sequences(shape, rows)).numpy(), fmt="%d", delimiter=",")
        heads = [int(name.removeprefix("transformer_h")) for name in shape.operations if name.startswith("transformer")]
        dilations = [
            [int(part) for part in name.removeprefix("tcn_d").split("_")]
            for name in shape.operations
            if name.startswith("tcn")
        ]
        codes = {name: index for index, name in enumerate(shape.operations)}
        encoding = [[codes[name] for name in block] for block in shape.architecture().blocks]
        sizes = {
            "num_item": shape.n_items,
            "max_len": shape.length,
            "d_model": shape.hidden_size,
            "d_layer": [shape.hidden_size],
            "num_block": shape.n_blocks,
            "layers_per_block": shape.layers_per_block,
            "paths_per_step": shape.n_paths,
            "heads": heads,
            "dilations": dilations,
            "train_batch_size": shape.batch_size,
        }
        self.ask("open", table=str(table), sizes=sizes, encoding=encoding, threads=torch.get_num_threads())
        self.opened = shape.name

    def line(
        self,
        shape: Shape,
        name: str,
        job: str,
        *,
        note: str,
        check: Callable[[], list[Check]] | None = None,
        **options: Any,
    ) -> Implementation:
        """Return a line of a case: job ``job`` of `published_worker`, timed over there."""

        def remote() -> Seconds:
            self.open(shape)
            answer = self.ask("time", job=job, options=options)
            return Seconds(answer["wall"], answer["device"])

        def counts() -> dict[str, int]:
            self.open(shape)
            answer = self.ask("count", job=job, options=options)
            return {"kernels": answer["kernels"], "peak_bytes": answer["peak_bytes"]}

        return Implementation(name=name, remote=remote, counts=counts, note=note, check=check)

    def close(self) -> None:
        """End the process and remove its files."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        try:
            self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.folder.cleanup()


def left_padded(items: Tensor, length: Tensor) -> Tensor:
    """Return right-padded sequences ``(n, L)`` padded on the left, as the published code reads them."""
    source = torch.arange(items.size(1)) - (items.size(1) - length).unsqueeze(1)
    return torch.where(source >= 0, items.gather(1, source.clamp_min(0)), 0)
