"""How cost grows: one size at a time is doubled, everything else stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch

from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.package import package_step, package_trainer
from benchmarks.speed.sections.evaluation import evaluation_cases
from benchmarks.speed.sections.ranking import earlier_paths, stored_views
from benchmarks.speed.sections.retraining import SETTLING as STEPS_OF_TRAINING
from benchmarks.speed.sections.search_step import SETTLING as STEPS_OF_SEARCH
from benchmarks.speed.sections.search_step import PackageSteps
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import Shape, build_network, build_supernet, search_sequences, training_batch
from recbole_nasr.progress import Progress
from recbole_nasr.search.ranking import rank_paths
from recbole_nasr.trainer.ranks import full_ranks

Run = Callable[[], Any]
Build = Callable[[Shape, torch.device], Run]


def search_step(shape: Shape, device: torch.device) -> Run:
    """A step of the first block."""
    trainer, batch = (
        PackageSteps(build_supernet(shape, device), shape, 0),
        search_sequences(shape, shape.batch_size, device),
    )
    return lambda: trainer.step(batch.item_seq, batch.item_seq_len)


def ranking(shape: Shape, device: torch.device) -> Run:
    """The ranking of the first block on two views."""
    supernet, views = build_supernet(shape, device).eval(), stored_views(shape, device)
    paths = list(shape.space.paths(0))
    prefix = earlier_paths(shape, 0)
    return lambda: rank_paths(supernet, [prefix], views, paths, batch_size=256, progress=Progress())


def retraining(shape: Shape, device: torch.device) -> Run:
    """A step of the whole network."""
    trainer = package_trainer(shape, build_network(shape, device), device)
    trainer.model.train()
    batch = training_batch(shape, shape.batch_size, device)
    return lambda: package_step(trainer, batch)


def evaluation(shape: Shape, device: torch.device) -> Run:
    """Full ranking of all cases."""
    model = package_trainer(shape, build_network(shape, device).eval(), device).model
    loader = evaluation_cases(shape, 256)
    return lambda: full_ranks(model, loader, device=device)


SETTLING: dict[Build, dict[str, int]] = {search_step: STEPS_OF_SEARCH, retraining: STEPS_OF_TRAINING}
"""Calls until what is captured is captured; nothing else is."""


def _lines(base: Shape) -> Iterator[tuple[str, str, Build, list[tuple[int, Shape]]]]:
    """Yield what grows, what is measured, and the sizes."""

    def doubled(field: str) -> list[tuple[int, Shape]]:
        values = [getattr(base, field) * factor for factor in (1, 2, 4)]
        return [(value, replace(base, **{field: value})) for value in values]

    ops = base.operations
    yield "sequences", "evaluation", evaluation, doubled("cases")
    yield "sequences", "ranking", ranking, doubled("ranking_rows")
    yield "items", "retraining step", retraining, doubled("n_items")
    yield "items", "evaluation", evaluation, doubled("n_items")
    yield "length", "search step", search_step, doubled("length")
    yield (
        "width",
        "search step",
        search_step,
        doubled("hidden_size"),
    )
    yield (
        "depth",
        "retraining step",
        retraining,
        [(n * base.layers_per_block, replace(base, n_blocks=n)) for n in (1, 2, 4)],
    )
    yield "operations", "ranking", ranking, [(n, replace(base, operations=ops[:n])) for n in (1, 2, 4)]
    yield "paths of a step", "search step", search_step, [(n, replace(base, n_paths=n)) for n in (1, 2, 4)]
    yield (
        "ranked paths",
        "ranking",
        ranking,
        [(len(ops) ** n, replace(base, layers_per_block=n)) for n in range(1, base.layers_per_block + 1)],
    )


def cases(setting: Setting) -> Iterator[Case]:
    """Yield a case for each size that grows; its lines are the sizes."""
    base = setting.shapes[0]
    if setting.scale == "paper" and setting.device.type == "cpu":
        base = replace(base, batch_size=32, ranking_rows=4, cases=128, n_items=2000)
    for what, work, build, sizes in _lines(base):
        settle = SETTLING.get(build, {}).get(setting.device.type, 1)
        lines = [
            Implementation(name=str(value), run=build(shape, setting.device), settle=settle) for value, shape in sizes
        ]
        yield Case(section="growth", title=what, shape=base.name, unit=work, implementations=lines)
