"""What a network costs, layer by layer: parameters, FLOPs, and the latency measured on the machine at hand."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from recbole_nasr.nets import HybridNet
from recbole_nasr.ops import LayerSettings, build_operation
from recbole_nasr.ops.registry import operation_flops
from recbole_nasr.patching import swapped
from recbole_nasr.space import Architecture

COSTS = ("parameters", "flops", "latency_ms")
"""Kinds of cost, in the order of every table here."""

WARM_UP, REPEATS = 3, 31
"""Forward passes before and while a latency is measured."""

Costs = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CostTable:
    """Costs of the networks of a space; those of its layers add up.

    Parameters are those of the whole network. FLOPs are those of one recommendation: all layers on a sequence of full
    length, and the softmax layer once. The latency is that of one recommendation at batch 1; what its layers take is
    measured layer by layer, so that of a network is an estimate (as in the look-up tables of ProxylessNAS and FBNet).

    Args:
        operations: Names, one per row of ``per_layer``.
        per_layer: ``(operations, 3)``, what a layer costs.
        fixed: ``(3,)``, what every network costs besides.
        device: Where the latency was measured.
    """

    operations: tuple[str, ...]
    per_layer: Costs
    fixed: Costs
    device: str

    def of(self, layers: Sequence[str]) -> dict[str, float]:
        """Return the costs of the network of ``layers``.

        Raises:
            KeyError: If an operation is not in the table.
        """
        rows = dict(zip(self.operations, self.per_layer, strict=True))
        total = self.fixed + sum((rows[name] for name in layers), np.zeros(len(COSTS)))
        return dict(zip(COSTS, total.tolist(), strict=True))


def measure_costs(
    operations: Sequence[str],
    *,
    settings: LayerSettings,
    n_items: int,
    max_length: int,
    final_norm: bool = True,
    tie_embeddings: bool = False,
    device: torch.device | str = "cpu",
) -> CostTable:
    """Count and measure what each of ``operations`` costs; the global random state is left as it was.

    Args:
        operations: Distinct names.
        settings: Width and so on.
        n_items: Item ids in use, padding included.
        max_length: Length of the sequence that a recommendation is made from.
        final_norm: Whether the networks end in a LayerNorm.
        tie_embeddings: Whether their softmax layer is the item embedding.
        device: Where to measure.
    """
    rows = []
    with torch.random.fork_rng(devices=[]):
        hidden = torch.randn(1, max_length, settings.hidden_size).to(device)
        for name in operations:
            layer = build_operation(name, settings).to(device)
            flops = operation_flops(name, settings, max_length)
            rows.append((n_parameters(layer), flops, latency_ms(layer, hidden)))
        network = HybridNet(
            Architecture(((operations[0],),)),
            n_items=n_items,
            max_length=max_length,
            settings=settings,
            final_norm=final_norm,
            tie_embeddings=tie_embeddings,
        ).to(device)
    whole = (
        n_parameters(network),
        rows[0][1] + 2 * settings.hidden_size * (n_items - 1),
        network_latency_ms(network, max_length),
    )
    per_layer = np.array(rows, dtype=np.float64)
    fixed = np.maximum(np.array(whole, dtype=np.float64) - per_layer[0], 0.0)
    return CostTable(tuple(operations), per_layer, fixed, str(device))


def n_parameters(module: nn.Module) -> int:
    """Return the number of trainable numbers in ``module``."""
    return sum(weight.numel() for weight in module.parameters() if weight.requires_grad)


def network_latency_ms(network: HybridNet, max_length: int) -> float:
    """Return the median milliseconds in which ``network`` scores all items for one sequence of full length."""
    device = network.embedding.items.weight.device
    item_seq = torch.ones(1, max_length, dtype=torch.long, device=device)
    return latency_ms(network, item_seq, torch.tensor([max_length], device=device), method="scores")


def latency_ms(module: nn.Module, *inputs: Tensor, method: str = "forward") -> float:
    """Return the median milliseconds of a forward pass in eval mode; mode and gradients are left as they were."""
    device, training, taken = inputs[0].device, module.training, []
    run = getattr(module, method)
    module.eval()
    try:
        with torch.no_grad(), _not_compiled(module):
            for number in range(WARM_UP + REPEATS):
                _wait(device)
                start = time.perf_counter()
                run(*inputs)
                _wait(device)
                if number >= WARM_UP:
                    taken.append(time.perf_counter() - start)
    finally:
        module.train(training)
    return 1000 * median(taken)


@contextmanager
def _not_compiled(module: nn.Module) -> Iterator[None]:
    """Run compiled operations as plain ones, as the layers are that a budget adds up and a network that is used.

    Compiling them for a batch of 1 as well would take a GPU many seconds.
    """
    with ExitStack() as stack:
        for part in module.modules():
            if part._compiled_call_impl is not None:  # noqa: SLF001 - torch has no public way without its slow compiler
                stack.enter_context(swapped(part, "_compiled_call_impl", None))
        yield


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
