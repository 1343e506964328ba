"""Data: views of a batch, and the batch itself."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.speed import plain
from benchmarks.speed.cases import Case, Implementation
from benchmarks.speed.floors import view_work
from benchmarks.speed.gates import Check, equal
from benchmarks.speed.published import AS_SHIPPED
from benchmarks.speed.setting import Setting
from benchmarks.speed.shapes import SCALES, SEED, Shape, item_sequences, search_sequences, training_batch
from recbole_nasr.search.augmentation import View, make_view
from recbole_nasr.trainer.batches import SequenceBatches

RATIO = 0.25
PUBLISHED_NAMES = {"mask": "mask", "crop": "clip", "reorder": "permute"}


def cases(setting: Setting) -> Iterator[Case]:
    """Yield the three augmentations, and the gathering of a training batch."""
    for shape in SCALES[setting.scale]:  # the paper's batches, on any device
        for name in PUBLISHED_NAMES:
            yield _views(setting, shape, name)
        yield _batch(setting, shape)


def _views(setting: Setting, shape: Shape, name: str) -> Case:
    sequences = search_sequences(shape, shape.batch_size, setting.device)
    n_views, width, mask_token = 2 * shape.n_paths, sequences.item_seq.size(1), shape.n_items + 1
    rows = [row[:n].tolist() for row, n in zip(sequences.item_seq.cpu(), sequences.item_seq_len.tolist(), strict=True)]
    rng, generator = random.Random(SEED), torch.Generator(setting.device).manual_seed(SEED)

    def loop() -> list[View]:
        return [_loop_view(name, rows, width, mask_token, rng, setting.device) for _ in range(n_views)]

    repeated = sequences.item_seq.repeat(n_views, 1), sequences.item_seq_len.repeat(n_views)

    def fast() -> list[View]:
        items, lengths = make_view(*repeated, names=(name,), ratio=RATIO, mask_token=mask_token, generator=generator)
        return list(zip(items.chunk(n_views), lengths.chunk(n_views), strict=True))

    def lawful(make: Callable[[], list[View]]) -> Callable[[], list[Check]]:
        return lambda: [_law(name, rows, view, mask_token) for view in make()]

    lines = [
        Implementation(name="reference", run=loop, check=lawful(loop), note="a Python loop over rows and items"),
        Implementation(name="fast", run=fast, check=lawful(fast), note="all views of a step at once"),
    ]
    if setting.published:
        note = "its data set and loader, two branches of views"
        lines.append(setting.published.line(shape, AS_SHIPPED, "views", note=note, method=PUBLISHED_NAMES[name]))
    unit = f"{n_views} views of {shape.batch_size} sequences"
    work = view_work(n_views, shape.batch_size, width)
    return Case(section="data", title=name, shape=shape.name, unit=unit, implementations=lines, work=work)


def _loop_view(
    name: str, rows: list[list[int]], width: int, mask_token: int, rng: random.Random, device: torch.device
) -> View:
    if name == "mask":
        made = plain.mask_rows(rows, RATIO, mask_token, rng)
    else:
        made = (plain.crop_rows if name == "crop" else plain.reorder_rows)(rows, RATIO, rng)
    return plain.padded(made, width).to(device), torch.tensor([len(row) for row in made], device=device)


def _law(name: str, rows: list[list[int]], view: View, mask_token: int) -> Check:
    """Count the rows of a view that are not what the augmentation may make of the original."""
    rules = {"mask": _is_masked, "crop": _is_cropped, "reorder": _is_reordered}
    made = [row[:n].tolist() for row, n in zip(view[0].cpu(), view[1].tolist(), strict=True)]
    padding = sum(int(row[n:].ne(0).sum()) for row, n in zip(view[0].cpu(), view[1].tolist(), strict=True))
    broken = sum(not rules[name](old, new, mask_token) for old, new in zip(rows, made, strict=True))
    return Check(f"rows that break the law of {name}", float(broken + padding), 0.0)


def _destroyed(row: list[int]) -> int:
    return max(1, round(RATIO * len(row)))


def _is_masked(old: list[int], new: list[int], mask_token: int) -> bool:
    kept = sum(a == b for a, b in zip(old, new, strict=True))
    return len(old) == len(new) and new.count(mask_token) == len(old) - kept == _destroyed(old)


def _is_cropped(old: list[int], new: list[int], _mask_token: int) -> bool:
    starts = range(len(old) - len(new) + 1)
    return len(new) == len(old) - min(_destroyed(old), len(old) - 1) and any(
        old[start : start + len(new)] == new for start in starts
    )


def _is_reordered(old: list[int], new: list[int], _mask_token: int) -> bool:
    moved = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    return sorted(old) == sorted(new) and (not moved or moved[-1] - moved[0] < _destroyed(old))


def _batch(setting: Setting, shape: Shape) -> Case:
    n, device = 4 * shape.batch_size, setting.device
    items, length = item_sequences(shape, n)
    flat = items[items > 0]
    start = torch.cat([torch.zeros(1, dtype=torch.long), length.cumsum(0)[:-1]])
    width = shape.length - 3
    batches = SequenceBatches(flat.to(device), start.to(device), (length - 3).to(device), width)
    chosen = torch.randperm(n, generator=torch.Generator().manual_seed(SEED))[: shape.batch_size].to(device)
    everything = training_batch(shape, n, device)
    lists = [items[row, : length[row]].tolist() for row in chosen.tolist()]

    def loop() -> tuple[Tensor, Tensor, Tensor]:
        inputs = plain.padded([row[:-3] for row in lists], width)
        targets = plain.padded([row[1:-2] for row in lists], width)
        return inputs.to(device), torch.tensor([len(row) - 3 for row in lists], device=device), targets.to(device)

    def check() -> list[Check]:
        parts = zip(("items", "lengths", "targets"), batches.gather(chosen), everything, strict=True)
        return [equal(name, found, expected[chosen]) for name, found, expected in parts]

    lines = [
        Implementation(name="reference", run=loop, note="a Python loop over rows"),
        Implementation(name="fast", run=lambda: batches.gather(chosen), check=check),
    ]
    if setting.published:
        lines.append(setting.published.line(shape, AS_SHIPPED, "batch", note="its data set and loader"))
    unit = f"batch of {shape.batch_size} training rows"
    work = view_work(2, shape.batch_size, width)
    return Case(section="data", title="training batch", shape=shape.name, unit=unit, implementations=lines, work=work)
