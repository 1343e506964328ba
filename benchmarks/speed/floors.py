"""The least time a piece of work can take: bytes, operations and launches against what the machine can do.

``floor = max(bytes / bandwidth, FLOPs / peak, launches * launch time)``. All counts are for the network of this
package, which pools over real positions: there is no projector over all positions at once.

The counts suppose a perfect program. A layer is one kernel, which reads its input once and writes its output once; the
paths of a step share a kernel; a backward pass is one kernel per layer, which reads the layer's input and the gradient
of its output and writes that of its input; weights are read once by each pass; logits are never written to memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from benchmarks.speed.roofline import Roofline
from benchmarks.speed.shapes import Shape
from recbole_nasr.ops import build_operation
from recbole_nasr.ops.registry import operation_flops

LONG = 8
ADAM_TRANSFERS = 7  # weight, gradient and two moments are read; weight and two moments are written
FLOAT = 4


@dataclass(frozen=True)
class Work:
    """What has to be done.

    Args:
        flops: Multiplications and additions of matrix products.
        bytes: Bytes that cross the memory bus.
        launches: Kernels.
    """

    flops: float = 0.0
    bytes: float = 0.0
    launches: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.flops + other.flops, self.bytes + other.bytes, self.launches + other.launches)

    def times(self, factor: float) -> Work:
        """Return the work on ``factor`` times as many rows: as many launches, more of the rest."""
        return Work(self.flops * factor, self.bytes * factor, self.launches)

    def floor(self, roofline: Roofline, precision: str) -> dict[str, Any]:
        """Return the floor in seconds, which of the three it is, and all three."""
        parts = {
            "FLOPs": self.flops / roofline.flops[precision],
            "bytes": self.bytes / roofline.bandwidth,
            "launches": self.launches * roofline.launch_s,
        }
        limit = max(parts, key=lambda name: parts[name])
        counts = {"flops": self.flops, "bytes": self.bytes, "launches": self.launches}
        return {"seconds": parts[limit], "limit": limit, "parts_s": parts, "precision": precision, **counts}


def layer_work(shape: Shape, names: Sequence[str], rows: int, width: int, *, backward: bool = False) -> Work:
    """Return the work of one layer, the mean over operations ``names``, on ``rows`` sequences of ``width`` items.

    With ``backward`` both passes: the backward one has twice the FLOPs, and three transfers instead of two.
    """
    settings = shape.layer_settings
    flops = sum(operation_flops(name, settings, width) for name in names) / len(names)
    weights = sum(n_parameters(build_operation(name, settings)) for name in names) / len(names)
    hidden = rows * width * shape.hidden_size * FLOAT
    forward = Work(rows * flops, 2 * hidden + weights * FLOAT, 1)
    return forward + Work(2 * rows * flops, 3 * hidden + 2 * weights * FLOAT, 1) if backward else forward


def n_parameters(*modules: nn.Module) -> int:
    """Return how many numbers the modules learn."""
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def adam_work(n: int) -> Work:
    """Return the work of one Adam step on ``n`` parameters, all of them dense."""
    return Work(bytes=ADAM_TRANSFERS * FLOAT * n, launches=1)


def projector_work(shape: Shape, rows: int, *, predictor: bool) -> Work:
    """Return the work of pooling nothing but vectors: three ``D x D`` products, and the predictor's two narrow ones."""
    width = shape.hidden_size
    per_row = 2 * 3 * width * width + (2 * 2 * width * max(1, width // 4) if predictor else 0)
    return Work(rows * per_row, rows * 2 * width * FLOAT, 1)


def flat_projector_work(shape: Shape) -> Work:
    """Return what a projector ``L D -> L D -> D`` over all positions adds to a search step, each path in each branch.

    It runs forward for the target, and forward and backward, with twice the FLOPs, for what learns.
    """
    rows, flat = shape.batch_size * shape.n_paths, (shape.length - 2) * shape.hidden_size
    flops, weights = 2 * rows * flat * (flat + shape.hidden_size), flat * (flat + shape.hidden_size)
    return Work(4 * flops, 4 * (weights + rows * flat) * FLOAT, 3)


def embedding_work(shape: Shape, rows: int, width: int) -> Work:
    """Return the work of looking items up: an id and a vector read, a vector written."""
    return Work(bytes=rows * width * (LONG + 2 * shape.hidden_size * FLOAT), launches=1)


def search_step_work(shape: Shape, block: int, n_trained: int) -> Work:
    """Return the work of a search step.

    Every path has a view of its own in each of two branches. Earlier blocks are frozen and run forward; the block runs
    forward in the target branch, forward and backward in the one that learns. With block 0 the embedding's gradient is
    written too; ``n_trained`` parameters take an Adam step.
    """
    width, rows, per = shape.length - 2, shape.batch_size * shape.n_paths, shape.layers_per_block
    forward = layer_work(shape, shape.operations, rows, width)
    learning = layer_work(shape, shape.operations, rows, width, backward=True)
    work = embedding_work(shape, rows, width) + embedding_work(shape, rows, width) + adam_work(n_trained)
    for _ in range(2 * block * per + per):
        work += forward
    for _ in range(per):
        work += learning
    if block == 0:
        work += embedding_work(shape, rows, width)
    heads = projector_work(shape, rows, predictor=False) + projector_work(shape, rows, predictor=True).times(3)
    return work + heads


def ranking_work(shape: Shape, block: int, n_views: int) -> Work:
    """Return the work of ranking all paths of a block, every shared beginning computed once.

    ``n_ops + n_ops² + …`` layers instead of ``n_ops^layers * layers``: 340 instead of 1,024 for 4 layers of 4
    operations.
    """
    width, rows, n_ops = shape.length - 2, shape.ranking_rows, len(shape.operations)
    work = embedding_work(shape, rows, width)
    for _ in range(block * shape.layers_per_block):
        work += layer_work(shape, shape.operations, rows, width)
    for depth in range(1, shape.layers_per_block + 1):
        work += layer_work(shape, shape.operations, rows, width).times(n_ops**depth)
    leaves = rows * n_ops**shape.layers_per_block
    one_view = work + projector_work(shape, leaves, predictor=False)
    return Work(n_views * one_view.flops, n_views * one_view.bytes, n_views * one_view.launches)


def body_work(shape: Shape, rows: int, width: int, *, backward: bool) -> Work:
    """Return the work of the layers of :meth:`Shape.architecture`, the embedding before them included."""
    work = embedding_work(shape, rows, width)
    for name in shape.architecture().layers:
        work += layer_work(shape, [name], rows, width, backward=backward)
    return work + embedding_work(shape, rows, width) if backward else work


def softmax_work(shape: Shape, n_targets: int, *, backward: bool) -> Work:
    """Return the work of the full softmax: ``2 T D N`` FLOPs forward, twice that backward, its weights read by each."""
    weights, hidden = shape.n_items * (shape.hidden_size + 1) * FLOAT, n_targets * shape.hidden_size * FLOAT
    forward = Work(2.0 * n_targets * shape.hidden_size * shape.n_items, weights + hidden, 1)
    return forward + Work(2 * forward.flops, 2 * (weights + hidden), 1) if backward else forward


def retraining_work(shape: Shape, n_targets: int, n_trained: int) -> Work:
    """Return the work of a training step of the whole network: at real positions, which are those with a target."""
    body = body_work(shape, shape.batch_size, math.ceil(n_targets / shape.batch_size), backward=True)
    return body + softmax_work(shape, n_targets, backward=True) + adam_work(n_trained)


def view_work(n_views: int, n_sequences: int, width: int) -> Work:
    """Return the work of making views: the sequences read once, each view written once."""
    return Work(bytes=(n_views + 1) * n_sequences * width * LONG, launches=1)


def published_ranking_flops(shape: Shape, *, shared: bool) -> float:
    """Return the FLOPs of ranking a block in the published code, for one sequence.

    It runs every path twice, on one view, each with a projector over all positions, ``L D -> L D -> D``. Shared, every
    beginning of a path is computed once and the view once; the projector, which no two paths share, is left.
    """
    n_ops, per = len(shape.operations), shape.layers_per_block
    settings, flat = shape.layer_settings, shape.length * shape.hidden_size
    layer = sum(operation_flops(name, settings, shape.length) for name in shape.operations) / n_ops
    projector = 2 * flat * (flat + shape.hidden_size)
    if shared:
        return sum(n_ops**depth for depth in range(1, per + 1)) * layer + n_ops**per * projector
    return 2 * n_ops**per * (per * layer + projector)
