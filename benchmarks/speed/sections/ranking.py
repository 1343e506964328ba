"""Ranking every path of a block against the ensemble of all."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.floors import ranking_work
from benchmarks.speed.gates import Check, close, same_order
from benchmarks.speed.published import AS_SHIPPED, LIKE_FOR_LIKE, Published
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SEED, Shape, build_supernet, search_sequences
from recbole_nasr.nets import Supernet, masked_mean
from recbole_nasr.progress import Progress
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.search.objective import Prefix
from recbole_nasr.search.ranking import rank_paths, run_paths
from recbole_nasr.space import Path

TOLERANCE = 1e-5
STATES_AT_A_TIME = 64


def cases(setting: Setting) -> Iterator[Case]:
    """Yield the ranking of the first and of the last block."""
    for shape in setting.shapes:
        yield _ranking(setting, shape, 0)
        if shape.n_blocks > 1:
            yield _ranking(setting, shape, shape.n_blocks - 1)


def stored_views(shape: Shape, device: torch.device) -> tuple[View, View]:
    """Return a student's and a target's view of the held-out sequences."""
    sequences = search_sequences(shape, shape.ranking_rows, device)
    rng = torch.Generator(device).manual_seed(SEED)
    first, second = (
        make_view(
            sequences.item_seq,
            sequences.item_seq_len,
            names=("mask",),
            ratio=0.25,
            mask_token=shape.n_items + 1,
            generator=rng,
        )
        for _ in range(2)
    )
    return first, second


def earlier_paths(shape: Shape, block: int) -> Prefix:
    """Return a path for every block before ``block``, all operations in turn."""
    n_ops = len(shape.operations)
    return tuple(tuple(layer % n_ops for layer in range(shape.layers_per_block)) for _ in range(block))


@torch.no_grad()
def one_view(supernet: Supernet, view: View, prefix: Prefix, paths: list[Path]) -> Tensor:
    """Return distances ``(P, N)`` when student and ensemble see the same view: one pass over the tree of paths."""
    block = supernet.siamese_block(len(prefix))
    hidden = supernet.prefix(*view, prefix)
    features = hidden.new_empty(len(paths), hidden.size(0), hidden.size(2))
    for index, output in run_paths(block, hidden, paths):
        features[index] = masked_mean(output, view[1])
    projected = [block.projector(feature) for feature in features]
    target = F.normalize(F.normalize(torch.stack(projected), dim=-1).mean(dim=0), dim=-1)
    predicted = torch.stack([F.normalize(block.predictor(vector), dim=-1) for vector in projected])
    return (predicted - target).square().sum(dim=-1)


def _ranking(setting: Setting, shape: Shape, block: int) -> Case:
    supernet = build_supernet(shape, setting.device).eval()
    views, prefix = stored_views(shape, setting.device), earlier_paths(shape, block)
    paths = list(shape.space.paths(block))

    def every_path(pair: tuple[View, View]) -> Tensor:
        return plain.rank_every_path(supernet, pair, prefix, paths)

    def fast(at_a_time: int | None = None) -> Tensor:
        found, _ = rank_paths(
            supernet, [prefix], views, paths, batch_size=256, progress=Progress(), at_a_time=at_a_time
        )
        return found

    @cache
    def expected(*, two: bool) -> Tensor:
        return every_path(views if two else (views[0], views[0]))

    def same(found: Tensor, *, two: bool) -> list[Check]:
        means = found.double().mean(dim=1), expected(two=two).double().mean(dim=1)
        order = same_order("order of the paths", *means, TOLERANCE)
        return [close("distances", found, expected(two=two), TOLERANCE), order]

    lines = [
        Implementation(name="reference", run=lambda: every_path(views), note="every path by itself, two views"),
        Implementation(name="fast", run=fast, check=lambda: same(fast(), two=True), note="as the package does it here"),
        Implementation(
            name="stacked",
            run=lambda: fast(STATES_AT_A_TIME),
            check=lambda: same(fast(STATES_AT_A_TIME), two=True),
            note="many paths in one call, as on a GPU",
        ),
    ]
    if block == 0:
        lines.append(
            Implementation(
                name="fast, one view",
                run=lambda: one_view(supernet, views[0], prefix, paths),
                check=lambda: same(one_view(supernet, views[0], prefix, paths), two=False),
                note="student and ensemble see the same view, as in the published code",
                work=ranking_work(shape, block, 1),
            )
        )
        if setting.published:
            lines += _published(setting.published, shape)
    return Case(
        section="ranking",
        title="first block" if block == 0 else "last block",
        shape=shape.name,
        unit=f"{len(paths)} paths on {shape.ranking_rows} sequences",
        implementations=lines,
        work=ranking_work(shape, block, 2),
        precision=setting.ranking_precision,
    )


def _published(published: Published, shape: Shape) -> list[Implementation]:
    options: dict[str, Any] = {"block": 0, "rows": shape.ranking_rows}

    def check() -> list[Check]:
        published.open(shape)
        answer = published.ask("compare_ranking", **options)
        found, expected = torch.tensor(answer["found"]), torch.tensor(answer["expected"])
        return [close("losses", found, expected, TOLERANCE), same_order("order", found, expected, TOLERANCE)]

    shipped = "its `val_stage`: every path by itself, twice on one view"
    shared = "its modules and its single view, ranked our way: shared beginnings once, the view once"
    return [
        published.line(shape, AS_SHIPPED, "ranking", note=shipped, **options),
        published.line(shape, LIKE_FOR_LIKE, "ranking_shared", note=shared, check=check, **options),
    ]
