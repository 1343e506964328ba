"""Views of item sequences: mask, crop, reorder (paper §4.1.2), whole batches at a time, nothing read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.errors import ConfigError, did_you_mean

View = tuple[Tensor, Tensor]
"""``(item_seq (B, L), item_seq_len (B,))``, right-padded."""


def _destroyed(item_seq_len: Tensor, ratio: float) -> Tensor:
    """Return how many items of each row to destroy: ``max(1, round(ratio * length))``, 0 for an empty row."""
    count = torch.round(item_seq_len * ratio).long().clamp_min(1)
    return torch.minimum(count, item_seq_len)


def _most_destroyed(item_seq: Tensor, ratio: float) -> int:
    """Return as many items as a full row can have destroyed, or one more; known without reading a length."""
    return min(item_seq.size(1), int(ratio * item_seq.size(1)) + 1)


def _lowest(keys: Tensor, n: int) -> Tensor:
    """Return the places of the ``n`` lowest of each row of ``keys``, fp32 and not negative, lowest first.

    A CPU sorts whole numbers, each the bits of a key, which are in the order of the keys, and behind them its place:
    that is faster than sorting places by keys.
    """
    if keys.device.type != "cpu":
        return keys.topk(n, dim=1, largest=False).indices
    width = 1 << (keys.size(1) - 1).bit_length()
    packed = torch.add(torch.arange(keys.size(1)), keys.view(torch.int32), alpha=width).numpy()
    packed.sort(axis=1)
    return torch.from_numpy(packed[:, :n] & (width - 1))


def _positions(item_seq: Tensor) -> Tensor:
    return torch.arange(item_seq.size(1), device=item_seq.device).expand_as(item_seq)


def _uniform_below(limit: Tensor, generator: torch.Generator) -> Tensor:
    """Draw one integer per row, uniform in ``0..limit - 1``; ``limit (B,)`` at least 1."""
    draw = torch.rand(limit.shape, generator=generator, device=limit.device)
    return torch.minimum((draw * limit).long(), limit - 1)


def mask(item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_token: int, generator: torch.Generator) -> View:
    """Replace exactly ``max(1, round(ratio * length))`` random items of each row by ``mask_token``."""
    keys = torch.rand(item_seq.shape, generator=generator, device=item_seq.device)
    keys = torch.where(_positions(item_seq) < item_seq_len.unsqueeze(1), keys, 2.0)  # padding sorts last
    most = _most_destroyed(item_seq, ratio)
    chosen = torch.arange(most, device=item_seq.device) < _destroyed(item_seq_len, ratio).unsqueeze(1)
    # What is not masked goes to a column of its own. One number is written: where torch is to be deterministic, a GPU
    # would wait for tensors to be written to places.
    places = torch.where(chosen, _lowest(keys, most), item_seq.size(1))
    return F.pad(item_seq, (0, 1)).scatter_(1, places, mask_token)[:, :-1], item_seq_len


def crop(item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_token: int, generator: torch.Generator) -> View:  # noqa: ARG001 - as `mask`
    """Keep a random contiguous fragment of each row, ``max(1, round(ratio * length))`` items shorter.

    The fragment moves to the start, as right-padding wants; a row of one item stays as it is. (The published code
    masks a span that may lie in the padding instead.)
    """
    removed = torch.minimum(_destroyed(item_seq_len, ratio), (item_seq_len - 1).clamp_min(0))
    start = _uniform_below(removed + 1, generator)
    length = item_seq_len - removed
    steps = _positions(item_seq)
    source = (steps + start.unsqueeze(1)).clamp_max(item_seq.size(1) - 1)
    kept = item_seq.gather(1, source)
    return torch.where(steps < length.unsqueeze(1), kept, 0), length


def reorder(item_seq: Tensor, item_seq_len: Tensor, ratio: float, mask_token: int, generator: torch.Generator) -> View:  # noqa: ARG001 - as `mask`
    """Shuffle a random contiguous span of ``max(1, round(ratio * length))`` items of each row."""
    span = _destroyed(item_seq_len, ratio)
    start = _uniform_below((item_seq_len - span + 1).clamp_min(1), generator)
    most = _most_destroyed(item_seq, ratio)
    inside = torch.arange(most, device=item_seq.device) < span.unsqueeze(1)
    keys = torch.rand(inside.shape, generator=generator, device=item_seq.device)
    order = torch.where(inside, keys, 2.0).argsort(dim=1)  # what is no part of a row's span sorts last
    steps = _positions(item_seq)
    offset = steps - start.unsqueeze(1)
    shuffled = start.unsqueeze(1) + order.gather(1, offset.clamp(0, most - 1))
    source = torch.where((offset >= 0) & (offset < span.unsqueeze(1)), shuffled, steps)
    return item_seq.gather(1, source), item_seq_len


AUGMENTATIONS: dict[str, Callable[[Tensor, Tensor, float, int, torch.Generator], View]] = {
    "mask": mask,
    "crop": crop,
    "reorder": reorder,
}


def check_augmentations(names: Sequence[str], ratio: float) -> None:
    """Refuse unknown names and ratios outside ``(0, 1]``.

    Raises:
        ConfigError: If a name is unknown, none is given, or the ratio is out of range.
    """
    if not names:
        msg = f"At least one augmentation is needed, of {', '.join(AUGMENTATIONS)}."
        raise ConfigError(msg)
    for name in names:
        if name not in AUGMENTATIONS:
            msg = f"Augmentations are {', '.join(AUGMENTATIONS)}, but got {name!r}.{did_you_mean(name, AUGMENTATIONS)}"
            raise ConfigError(msg)
    if not 0 < ratio <= 1:
        msg = f"`augmentation_ratio` must lie in (0, 1], but is {ratio}."
        raise ConfigError(msg)


def make_view(
    item_seq: Tensor,
    item_seq_len: Tensor,
    *,
    names: Sequence[str],
    ratio: float,
    mask_token: int,
    generator: torch.Generator,
) -> View:
    """Return one view of a batch; with several augmentations named, every row draws one of them.

    Args:
        item_seq: ``(B, L)`` item ids, right-padded; left unchanged.
        item_seq_len: ``(B,)`` lengths.
        names: Of :data:`AUGMENTATIONS`.
        ratio: Share of a sequence to destroy; the paper's is 0.25 for all three.
        mask_token: Id that stands for a masked item.
        generator: Source of randomness, on the device of ``item_seq``.
    """
    views = [AUGMENTATIONS[name](item_seq, item_seq_len, ratio, mask_token, generator) for name in names]
    if len(views) == 1:
        return views[0]
    choice = torch.randint(len(views), item_seq_len.shape, generator=generator, device=item_seq.device)
    rows = torch.arange(item_seq.size(0), device=item_seq.device)
    sequences = torch.stack([view[0] for view in views])[choice, rows]
    lengths = torch.stack([view[1] for view in views])[choice, rows]
    return sequences, lengths
