"""One training step of the whole network."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.floors import n_parameters, retraining_work
from benchmarks.speed.gates import Check, close, same_gradients
from benchmarks.speed.package import package_step, package_trainer
from benchmarks.speed.published import AS_SHIPPED, READY
from benchmarks.speed.sections.search_step import (
    FIRST_TOLERANCE,
    GATE_LEARNING_RATE,
    GRADIENT_TOLERANCE,
    LATER_TOLERANCE,
    without_dropout,
)
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SHORT, Shape, build_network, training_batch
from recbole_nasr.nets import HybridNet

MAX_NORM = 5.0
SETTLING = {"cuda": 8}
"""Calls until the step is captured."""

N_GATE_STEPS = {"cpu": 2, "cuda": 8}
"""On a GPU the last of them are captured ones."""


def cases(setting: Setting) -> Iterator[Case]:
    """Yield a step at every size, and one on sequences that are mostly short."""
    for shape in setting.shapes:
        yield _step(setting, shape)
    if setting.scale == "paper":
        yield _step(replace(setting, published=None), SHORT)  # its sequences are of one length


def _same_steps(shape: Shape, network: HybridNet, device: torch.device, batch: Sequence[Tensor]) -> list[Check]:
    """Compare the losses of some steps from equal weights, dropout off, and the gradients after the first."""
    reference = without_dropout(copy.deepcopy(network)).train()
    settings = {"precision": "fp32", "learning_rate": GATE_LEARNING_RATE}
    ours = package_trainer(shape, without_dropout(copy.deepcopy(network)), device, **settings)
    ours.model.train()
    adam = torch.optim.Adam(reference.parameters(), lr=GATE_LEARNING_RATE)
    expected, found = [], []
    for step in range(N_GATE_STEPS[device.type]):
        expected.append(plain.training_step(reference, adam, batch, MAX_NORM))
        found.append(package_step(ours, batch).clone())
        if step == 0:
            gradients = same_gradients(ours.model.network, reference, GRADIENT_TOLERANCE)
    losses, wanted = torch.stack(found), torch.stack(expected)
    return [
        close("loss of the first step", losses[:1], wanted[:1], FIRST_TOLERANCE),
        close("losses of the steps after it", losses[1:], wanted[1:], LATER_TOLERANCE),
        gradients,
    ]


def _step(setting: Setting, shape: Shape) -> Case:
    device, network = setting.device, build_network(shape, setting.device)
    batch = training_batch(shape, shape.batch_size, device)
    plain_network = copy.deepcopy(network).train()
    optimizer = torch.optim.Adam(plain_network.parameters(), lr=1e-3)
    trainer = package_trainer(shape, network, device)
    trainer.model.train()

    lines = [
        Implementation(
            name="reference",
            run=lambda: plain.training_step(plain_network, optimizer, batch, MAX_NORM),
            note="plain modules, the whole batch at once",
        ),
        Implementation(
            name="fast",
            run=lambda: package_step(trainer, batch),
            check=lambda: _same_steps(shape, network, device, batch),
            settle=SETTLING.get(device.type, 1),
        ),
    ]
    if setting.published:
        published = setting.published
        lines += [
            published.line(shape, READY, "retraining", note="on ready batches", loader=False),
            published.line(shape, AS_SHIPPED, "retraining", note="with its loader", loader=True),
        ]
    n_targets = int((batch[2] > 0).sum())
    return Case(
        section="retraining",
        title="16 layers" if len(network.layers) == 16 else f"{len(network.layers)} layers",
        shape=shape.name,
        unit=f"step of {shape.batch_size} sequences",
        implementations=lines,
        work=retraining_work(shape, n_targets, n_parameters(network)),
        precision=setting.training_precision,
    )
