"""One training step of a supernet block."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.flat import FlatContrastive, flat, with_flat_projector
from benchmarks.speed.floors import flat_projector_work, n_parameters, search_step_work
from benchmarks.speed.gates import Check, close, same_gradients
from benchmarks.speed.published import AS_SHIPPED, READY
from benchmarks.speed.sections.ranking import earlier_paths
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SEED, Shape, build_supernet, search_sequences
from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.nets.acceleration import choose
from recbole_nasr.rng import derive_seed, generator
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.sampling import PathSampler
from recbole_nasr.search.training import BlockTrainer

NetworkT = TypeVar("NetworkT", bound=nn.Module)
SETTLING = {"cuda": 200}
"""Calls until each number of places that uniform draws need has been captured; the rarest comes in 6 % of the steps."""

N_GATE_STEPS = {"cpu": 3, "cuda": 24}
"""On a GPU enough of them for captured steps to be compared too: the first ones of each kind are not captured."""

FIRST_TOLERANCE, GRADIENT_TOLERANCE = 1e-5, 1e-4
GATE_LEARNING_RATE, LATER_TOLERANCE = 1e-5, 1e-4
"""Adam divides a gradient by its size, so that one which is nothing but rounding, another on every processor, moves its
weight as far as any. At this rate the losses of 24 steps move by a hundredth, and apart by a hundred thousandth; at the
usual one they part by as much as they move."""


def cases(setting: Setting) -> Iterator[Case]:
    """Yield a step of the first and of the last block."""
    for shape in setting.shapes:
        yield _step(setting, shape, 0)
        if shape.n_blocks > 1:
            yield _step(setting, shape, shape.n_blocks - 1)


class Steps(Protocol):
    """Trains a block of a supernet."""

    def step(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Take a step on sequences ``(B, L)`` of lengths ``(B,)``; return the loss."""
        ...


class PlainTrainer:
    """The step as the definition has it: one path after another, all from the streams that the package draws from."""

    def __init__(
        self,
        supernet: Supernet,
        shape: Shape,
        block: int,
        pool: plain.Pool = masked_mean,
        *,
        learning_rate: float = 1e-3,
    ) -> None:
        self.pool = pool
        self.supernet, self.prefix, self.mask_token = supernet, earlier_paths(shape, block), shape.n_items + 1
        self.n_paths = shape.n_paths
        device = supernet.embedding.items.weight.device
        path_rng = random.Random(derive_seed(SEED, f"search/paths/{block}"))
        self.sampler = PathSampler(shape.space, block, "uniform", path_rng)
        self.rng = generator(SEED, f"search/views/{block}", device)
        supernet.eval().requires_grad_(requires_grad=False)
        modules = list(supernet.trained_with(block))
        for module in modules:
            module.train().requires_grad_(requires_grad=True)
        parameters = [parameter for module in modules for parameter in module.parameters()]
        self.optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)

    def step(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Take one step; return the loss."""
        paths = self.sampler.draw(self.n_paths)
        views = self._views(item_seq, item_seq_len, 2 * len(paths))
        shown, seen = views[: len(paths)], views[len(paths) :]
        self.optimizer.zero_grad(set_to_none=True)
        loss = plain.search_loss(self.supernet, shown, seen, self.prefix, paths, self.pool)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _views(self, item_seq: Tensor, item_seq_len: Tensor, n_views: int) -> list[View]:
        """Draw all views in one call, as the package does: a GPU gives several calls other numbers."""
        items, lengths = make_view(
            item_seq.repeat(n_views, 1),
            item_seq_len.repeat(n_views),
            names=("mask",),
            ratio=0.25,
            mask_token=self.mask_token,
            generator=self.rng,
        )
        return list(zip(items.chunk(n_views), lengths.chunk(n_views), strict=True))


class PackageSteps:
    """The package's own trainer of a block, with what suits the device: precision, compiled operations, CUDA graphs."""

    def __init__(
        self,
        supernet: Supernet,
        shape: Shape,
        block: int,
        precision: str = "auto",
        objective_class: type[Contrastive] = Contrastive,
        *,
        learning_rate: float = 1e-3,
    ) -> None:
        device = supernet.embedding.items.weight.device
        settings = SearchSettings(n_paths=shape.n_paths, batch_size=shape.batch_size, learning_rate=learning_rate)
        objective = objective_class(supernet, settings, SEED)
        objective.acceleration = choose(device, precision=precision)
        objective.acceleration.compile_operations(supernet)
        self.acceleration, prefixes = objective.acceleration, [earlier_paths(shape, block)]
        self.trainer = BlockTrainer(supernet, prefixes, shape.space, settings, SEED, objective)
        self.rows = torch.arange(shape.batch_size, device=device)

    def step(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """Take one step; return the loss."""
        with self.acceleration.products():
            return self.trainer.step(item_seq, item_seq_len, self.rows)


def without_dropout(network: NetworkT) -> NetworkT:
    """Switch dropout off in ``network``, and return it."""
    for module in network.modules():
        if hasattr(module, "dropout_prob"):
            module.dropout_prob = 0.0  # type: ignore[assignment]  # a number, no module
    return network


def same_steps(
    first: Callable[[Supernet], Steps],
    second: Callable[[Supernet], Steps],
    supernet: Supernet,
    batch: SearchSequences,
) -> list[Check]:
    """Compare the losses of some steps from equal weights, dropout off, and the gradients after the first."""
    supernets = [without_dropout(copy.deepcopy(supernet)) for _ in range(2)]
    trainers = [make(copied) for make, copied in zip((first, second), supernets, strict=True)]
    losses: list[list[Tensor]] = [[], []]
    gradients = None
    device = batch.item_seq.device.type
    for _ in range(N_GATE_STEPS[device]):
        for index, trainer in enumerate(trainers):
            losses[index].append(trainer.step(batch.item_seq, batch.item_seq_len).clone())
        gradients = gradients or same_gradients(supernets[0], supernets[1], GRADIENT_TOLERANCE)
    found, expected = (torch.stack(list(values)) for values in losses)
    return [
        close("loss of the first step", found[:1], expected[:1], FIRST_TOLERANCE),
        close("losses of the steps after it", found[1:], expected[1:], LATER_TOLERANCE),
        *([gradients] if gradients else []),
    ]


def _step(setting: Setting, shape: Shape, block: int) -> Case:
    supernet = build_supernet(shape, setting.device)
    batch = search_sequences(shape, shape.batch_size, setting.device)
    reference, fast = (
        PlainTrainer(copy.deepcopy(supernet), shape, block),
        PackageSteps(copy.deepcopy(supernet), shape, block),
    )

    def check() -> Sequence[Check]:
        return same_steps(
            lambda net: PackageSteps(net, shape, block, "fp32", learning_rate=GATE_LEARNING_RATE),
            lambda net: PlainTrainer(net, shape, block, learning_rate=GATE_LEARNING_RATE),
            supernet,
            batch,
        )

    lines = [
        Implementation(
            name="reference",
            run=lambda: reference.step(batch.item_seq, batch.item_seq_len),
            note="plain modules, one path after another",
        ),
        Implementation(
            name="fast",
            run=lambda: fast.step(batch.item_seq, batch.item_seq_len),
            check=check,
            settle=SETTLING.get(setting.device.type, 1),
        ),
    ]
    lines.append(_like_for_like(supernet, shape, block, batch))
    if setting.published:
        published, wider = setting.published, "its projector over all positions, all its parameters trained"
        lines += [
            published.line(shape, READY, "search_step", note=f"on ready batches; {wider}", block=block, loader=False),
            published.line(
                shape, AS_SHIPPED, "search_step", note=f"with its loader; {wider}", block=block, loader=True
            ),
        ]
    return Case(
        section="search_step",
        title="first block" if block == 0 else "last block",
        shape=shape.name,
        unit=f"step of {shape.n_paths} paths on {shape.batch_size} sequences",
        implementations=lines,
        work=search_step_work(shape, block, n_parameters(*supernet.trained_with(block))),
        precision=setting.training_precision,
    )


def _like_for_like(supernet: Supernet, shape: Shape, block: int, batch: SearchSequences) -> Implementation:
    """Return the package's step with a projector of the published code's size."""
    wide = with_flat_projector(copy.deepcopy(supernet), shape, block)
    steps = PackageSteps(copy.deepcopy(wide), shape, block, objective_class=FlatContrastive)

    def check() -> Sequence[Check]:
        return same_steps(
            lambda net: PackageSteps(net, shape, block, "fp32", FlatContrastive, learning_rate=GATE_LEARNING_RATE),
            lambda net: PlainTrainer(net, shape, block, flat, learning_rate=GATE_LEARNING_RATE),
            wide,
            batch,
        )

    trained = n_parameters(*wide.trained_with(block))
    return Implementation(
        name="fast, its projector",
        run=lambda: steps.step(batch.item_seq, batch.item_seq_len),
        check=check,
        settle=SETTLING.get(batch.item_seq.device.type, 1),
        note="a projector over all positions, as large as that of the published code",
        work=search_step_work(shape, block, trained) + flat_projector_work(shape),
    )
