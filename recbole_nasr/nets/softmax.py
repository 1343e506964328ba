"""Cross-entropy over all items: at once, some rows at a time, or on sampled items."""

from __future__ import annotations

import threading
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from recbole_nasr.nets.memory import memory_share
from recbole_nasr.nets.padding import rows_with_targets

LOGITS_IN_CACHE = 1 << 19
"""Logits that each thread of a CPU holds at a time: 2 MiB, with what is made of them a half of most caches."""

FEWEST_ROWS_OF_PRODUCT = 64
"""Rows of a product below which a CPU is slower for it."""

MOST_LOGITS = (1 << 31) - 1
"""Logits of one tensor: above it torch's kernels count in 64 bits, slower, and its cross-entropy has read wrong memory
(pytorch/pytorch#85786). A half share of 140 GiB is more."""


class SoftmaxLoss(Protocol):
    """The summed cross-entropy of ``targets (M,)``, ignoring 0; item ``i`` is row ``i - 1`` of ``weight``."""

    def __call__(self, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, /) -> Tensor:
        """Return the sum for ``hidden (M, D)``, ``weight (V, D)`` and ``bias (V,)``."""


def full_softmax(hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
    """Return the summed cross-entropy over all items; logits may be bf16, their sums are fp32."""
    logits = F.linear(hidden, weight, bias).float()
    return F.cross_entropy(logits, targets - 1, ignore_index=-1, reduction="sum")


def rows_in_cache(n_items: int) -> int:
    """Return how many rows of logits over ``n_items`` items to compute at a time on a CPU."""
    return max(FEWEST_ROWS_OF_PRODUCT, LOGITS_IN_CACHE * torch.get_num_threads() // n_items)


def rows_at_a_time(n_items: int, device: torch.device, n_held: int = 1) -> int:
    """Return how many rows of logits over ``n_items`` items to hold at once in each of ``n_held`` sums.

    All of them together take half a share of the memory, and each sum no more than one tensor should hold. On a CPU it
    takes no more than the cache does, since writing logits to memory and reading them again takes longer than computing
    them.
    """
    fitting = max(1, min(memory_share(device) // 2 // (4 * n_held), MOST_LOGITS) // n_items)
    return min(fitting, rows_in_cache(n_items)) if device.type == "cpu" else fitting


class ExactSoftmax:
    """The full softmax: all rows at once, or in parts if the logits would not fit.

    What they have to fit into is the memory of a GPU and the cache of a CPU (:func:`rows_at_a_time`), which also leaves
    out rows without a target.

    Args:
        backend: Backend of ``torch.compile``, with which logits are read once, in any precision; empty for none.
    """

    def __init__(self, backend: str = "") -> None:
        self._at_once: SoftmaxLoss = torch.compile(full_softmax, backend=backend) if backend else full_softmax

    def __call__(self, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the summed cross-entropy over all items."""
        hidden, targets = rows_with_targets(hidden, targets)
        if hidden.size(0) <= rows_at_a_time(weight.size(0), hidden.device):
            return self._at_once(hidden, weight, bias, targets)
        return softmax_in_parts(hidden, weight, bias, targets)


def softmax_in_parts(
    hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, n_rows: int | None = None
) -> Tensor:
    """Return the result of :func:`full_softmax`, holding the logits of ``n_rows`` rows at a time.

    Gradients are computed with the loss, part by part, so that no logits are kept. It can be differentiated once,
    with respect to ``hidden``, ``weight`` and ``bias``.
    """
    size = rows_at_a_time(weight.size(0), hidden.device) if n_rows is None else n_rows
    loss: Tensor = _InParts.apply(hidden, weight, bias, targets, size)  # type: ignore[no-untyped-call]  # torch's
    return loss


class _Kept(threading.local):
    """The largest place for logits that this thread has needed on a CPU."""

    place = torch.empty(0)


_kept = _Kept()


def _place_for(like: Tensor, n_rows: int, n_items: int) -> Tensor:
    """Return a place ``(n_rows, n_items)`` for the logits of one part after the other, on the device of ``like``.

    On CPUs it is kept for the next step: the heap of glibc 2.36 does not reuse a freed block for an aligned one of its
    size once a small one lies in its rim, so that a process that keeps freed memory came to hold up to six of them.
    """
    if like.device.type != "cpu":
        return like.new_empty(n_rows, n_items, dtype=torch.float32)
    if _kept.place.numel() < n_rows * n_items:
        _kept.place = torch.empty(0)  # before the larger one is taken
        _kept.place = torch.empty(n_rows * n_items, dtype=torch.float32)
    return _kept.place[: n_rows * n_items].view(n_rows, n_items)


def _in_fp32(rows: Tensor) -> bool:
    return rows.dtype == torch.float32 and not torch.is_autocast_enabled(rows.device.type)


def _linear_into(place: Tensor, rows: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Write the logits of ``rows`` into ``place``, computed in bf16 where autocasting says so."""
    if _in_fp32(rows):
        return torch.addmm(bias, rows, weight.T, out=place)
    return place.copy_(F.linear(rows, weight, bias))


def _add_product(total: Tensor, slope: Tensor, rows: Tensor) -> None:
    """Add ``slope.T @ rows`` to ``total``, computed as the logits were; in fp32 without a copy of it."""
    if _in_fp32(rows):
        total.addmm_(slope.T, rows)
    else:
        total += slope.to(rows.dtype).T @ rows


class _InParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, size: int) -> Tensor:
        loss = torch.zeros((), device=hidden.device)
        grad_hidden, grad_weight, grad_bias = (
            torch.zeros_like(part, dtype=torch.float32) for part in (hidden, weight, bias)
        )
        place = _place_for(hidden, min(size, hidden.size(0)), weight.size(0))
        for start in range(0, hidden.size(0), size):
            rows, wanted = hidden[start : start + size], targets[start : start + size].unsqueeze(1)
            real, column = wanted > 0, (wanted - 1).clamp_min(0)
            logits = _linear_into(place[: rows.size(0)], rows, weight, bias)
            logits -= logits.amax(dim=1, keepdim=True)
            own = logits.gather(1, column)
            slope = logits.exp_()
            total = slope.sum(dim=1, keepdim=True)
            loss += torch.where(real, total.log() - own, 0.0).sum()
            slope /= total
            # Less one at the target: written as the least of two, which a GPU does without waiting even where torch is
            # to be deterministic; it would wait for numbers to be added to places.
            slope.scatter_reduce_(1, column, slope.gather(1, column) - 1, "amin")
            slope.mul_(real)
            grad_hidden[start : start + size] = slope.to(rows.dtype) @ weight.to(rows.dtype)
            _add_product(grad_weight, slope, rows)
            grad_bias += slope.sum(dim=0)
        ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias.to(bias.dtype))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return (*(grad * part for part in ctx.saved_tensors), None, None)


class SampledSoftmax:
    """Cross-entropy against the target and some sampled items, corrected for their sampling probabilities.

    ``M`` items are drawn with replacement from ``q``, the same for all rows of a step, in proportion to one plus the
    count of an item as a target of the training part. ``log(M · q)`` is subtracted from their logits, and a draw of a
    row's own target is ignored, so that the normaliser ``exp(o_target) + Σ exp(o_s) / (M · q_s)`` has that of the full
    softmax as its expectation. The loss, which has its logarithm, is therefore too small on average, by less
    the more items are drawn.

    Note:
        Sampled softmax: Bengio and Senécal (2008), Jean et al. (ACL 2015). That the target, which is always
        included, must not get the correction of the sampled items: Khrylchenko et al. (RecSys 2025).

    Args:
        counts: ``(V,)`` how often each item is a target; item ``i`` is at index ``i - 1``.
        n_samples: ``M``, in ``1..V - 1``.
        generator: Source of the draws, on the device of ``counts``; torch's own if not given.
    """

    def __init__(self, counts: Tensor, n_samples: int, generator: torch.Generator | None = None) -> None:
        share = (counts.double() + 1) / (counts.double() + 1).sum()
        self.n_samples, self.generator = n_samples, generator
        # Once, on the CPU: a GPU has no deterministic running sum of numbers that are not whole.
        self._below = share.cpu().cumsum(0)[:-1].contiguous().to(share.device)
        self._log_expected = (n_samples * share).log().float()

    def draw(self) -> Tensor:
        """Return the items drawn for one step, ``(M,)`` indices in ``0..V - 1``."""
        device = self._below.device
        points = torch.rand(self.n_samples, dtype=torch.float64, device=device, generator=self.generator)
        return torch.searchsorted(self._below, points, right=True)

    def __call__(self, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss of one draw."""
        hidden, targets = rows_with_targets(hidden, targets)
        return self.loss(self.draw(), hidden, weight, bias, targets)

    def loss(self, drawn: Tensor, hidden: Tensor, weight: Tensor, bias: Tensor, targets: Tensor) -> Tensor:
        """Return the summed loss against the items ``drawn (M,)``."""
        place = (targets - 1).clamp_min(0)
        own = (hidden.float() * weight[place].float()).sum(dim=1, keepdim=True) + bias[place].unsqueeze(1)
        others = F.linear(hidden, weight[drawn], bias[drawn]).float() - self._log_expected[drawn]
        others = others.masked_fill(drawn == place.unsqueeze(1), -torch.inf)
        losses = torch.cat([own, others], dim=1).logsumexp(dim=1) - own.squeeze(1)
        return torch.where(targets > 0, losses, 0.0).sum()
