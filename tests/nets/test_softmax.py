from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest
import torch
from torch import Tensor

from recbole_nasr.nets import memory, softmax
from recbole_nasr.nets.footprint import LiveBytes
from recbole_nasr.nets.softmax import ExactSoftmax, SampledSoftmax, full_softmax, rows_at_a_time, softmax_in_parts


def case(n_items: int = 7, n_rows: int = 9) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    parts = torch.randn(n_rows, 4), torch.randn(n_items, 4), torch.randn(n_items)
    targets = torch.randint(0, n_items + 1, (n_rows,))
    targets[:2] = torch.tensor([0, n_items])
    hidden, weight, bias = (part.requires_grad_() for part in parts)
    return hidden, weight, bias, targets


def test_the_full_softmax_is_the_sum_of_the_cross_entropies_of_real_targets() -> None:
    hidden, weight, bias, targets = case()
    expected = sum(
        -torch.log_softmax(weight @ row + bias, 0)[target - 1]
        for row, target in zip(hidden, targets, strict=True)
        if target > 0
    )
    torch.testing.assert_close(full_softmax(hidden, weight, bias, targets), expected)


@pytest.mark.parametrize("n_rows", [1, 2, 4, 9, 100])
def test_in_parts_loss_and_gradients_are_those_of_the_whole(n_rows: int) -> None:
    *parameters, targets = case()
    expected = full_softmax(*parameters, targets)
    found = softmax_in_parts(*parameters, targets, n_rows)
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        torch.autograd.grad(3 * found, parameters), torch.autograd.grad(3 * expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)


def test_in_parts_no_more_logits_are_held_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "HOST_SHARE", 2 * 7 * 4 * 3)
    cpu = torch.device("cpu")
    assert rows_at_a_time(7, cpu) == 3
    assert rows_at_a_time(1000, cpu) == 1
    *parameters, targets = case()
    with monkeypatch.context() as patch:
        patch.setattr(softmax, "full_softmax", None)
        found = ExactSoftmax()(*parameters, targets)
    torch.testing.assert_close(found, full_softmax(*parameters, targets))
    monkeypatch.setattr(memory, "HOST_SHARE", 2 * 7 * 4 * 9)
    assert rows_at_a_time(7, cpu) == 9
    monkeypatch.setattr(softmax, "softmax_in_parts", None)
    torch.testing.assert_close(ExactSoftmax()(*parameters, targets), full_softmax(*parameters, targets))


def test_on_a_cpu_the_logits_at_a_time_fit_into_the_cache_of_each_thread_unless_that_is_too_few_rows_for_a_product(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(memory, "HOST_SHARE", 1 << 40)
    assert rows_at_a_time(1024, torch.device("cpu")) == 1024
    assert rows_at_a_time(1 << 20, torch.device("cpu")) == softmax.FEWEST_ROWS_OF_PRODUCT


def test_one_tensor_of_logits_stays_below_what_32_bits_count_however_large_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(softmax, "memory_share", lambda _: (140 << 30) // 8)
    n_rows = rows_at_a_time(20_000, torch.device("cuda"))
    assert n_rows * 20_000 < 1 << 31 <= (n_rows + 1) * 20_000
    assert rows_at_a_time(20_000, torch.device("cuda"), n_held=4) == ((140 << 30) // 8 // 2) // (4 * 4 * 20_000)


@pytest.mark.parametrize("loss", [ExactSoftmax(), SampledSoftmax(torch.ones(7), 5)])
def test_on_a_cpu_rows_without_a_target_are_not_computed(loss: softmax.SoftmaxLoss) -> None:
    hidden, weight, bias, targets = case()
    hidden = torch.where((targets == 0).unsqueeze(1), torch.nan, hidden.detach()).requires_grad_()
    found = torch.autograd.grad(loss(hidden, weight, bias, targets), (hidden, weight, bias))
    assert all(gradient.isfinite().all() for gradient in found)
    assert not found[0][targets == 0].any()


def test_a_batch_without_a_target_has_no_loss_and_no_gradient() -> None:
    *parameters, targets = case()
    loss = ExactSoftmax()(*parameters, torch.zeros_like(targets))
    assert loss == 0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, parameters))


def test_in_parts_the_logits_of_one_part_are_alive_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax, "_kept", softmax._Kept())
    n_rows, n_items = 16, 4096
    hidden, weight, bias = torch.randn(4 * n_rows, 1), torch.randn(n_items, 1), torch.zeros(n_items)
    targets = torch.randint(1, n_items, (4 * n_rows,))
    with LiveBytes([hidden, weight, bias, targets]) as live:
        softmax_in_parts(hidden.requires_grad_(), weight.requires_grad_(), bias, targets, n_rows)
    part = 4 * n_rows * n_items
    assert part < live.peak < 1.5 * part  # gradients of the weights are the rest


STEPS = """
from pathlib import Path
import torch
from recbole_nasr.machine import keep_freed_memory
from recbole_nasr.nets.softmax import softmax_in_parts

keep_freed_memory()
n_rows, n_items = 128, 32768
hidden, weight = torch.randn(4 * n_rows, 2, requires_grad=True), torch.randn(n_items, 2, requires_grad=True)
bias, targets = torch.zeros(n_items, requires_grad=True), torch.randint(1, n_items, (4 * n_rows,))
peaks = []
for rows in (1, *[n_rows] * 12):
    softmax_in_parts(hidden[:4 * rows], weight, bias, targets[:4 * rows], rows).backward()
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    peaks.append(int(status["VmHWM"].split()[0]))  # KiB
print((peaks[-1] - peaks[0]) / (n_rows * n_items * 4 / 1024))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_steps_in_parts_of_a_process_that_keeps_freed_memory_hold_one_part() -> None:
    ended = subprocess.run([sys.executable, "-c", STEPS], check=True, capture_output=True, text=True)
    assert 0.5 < float(ended.stdout) < 1.5


@pytest.mark.parametrize("loss", [ExactSoftmax(), softmax_in_parts])
def test_in_half_precision_sums_and_gradients_of_weights_are_fp32(loss: softmax.SoftmaxLoss) -> None:
    *parameters, targets = case()
    expected = torch.autograd.grad(full_softmax(*parameters, targets), parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(*parameters, targets)
    assert found.dtype == torch.float32
    for ours, theirs in zip(torch.autograd.grad(found, parameters), expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, theirs, atol=0.05, rtol=0.05)


def test_the_sampled_normaliser_has_the_full_one_as_its_expectation() -> None:
    hidden, weight, bias, _ = (part.double() for part in case(n_items=4, n_rows=3))
    targets, counts = torch.tensor([1, 4, 2]), torch.tensor([5, 0, 2, 1])
    sampled, probability = SampledSoftmax(counts, 3), (counts + 1).double() / (counts + 1).sum()
    logits = hidden @ weight.T + bias
    own = logits.gather(1, targets.unsqueeze(1) - 1).squeeze(1)
    expectation = torch.zeros(3, dtype=torch.float64)
    for draw in product(range(4), repeat=3):  # all there are, each with its probability
        drawn = torch.tensor(draw)
        losses = torch.stack(
            [sampled.loss(drawn, hidden[row : row + 1], weight, bias, targets[row : row + 1]) for row in range(3)]
        ).double()
        expectation += probability[drawn].prod() * torch.exp(losses + own)
    torch.testing.assert_close(expectation, logits.exp().sum(dim=1), rtol=1e-5, atol=0)


def test_with_many_draws_loss_and_gradient_approach_the_full_softmax() -> None:
    *parameters, targets = case()
    sampled = SampledSoftmax(torch.bincount(targets, minlength=8)[1:], 200_000, torch.Generator().manual_seed(1))
    found, expected = sampled(*parameters, targets), full_softmax(*parameters, targets)
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0)
    for ours, theirs in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(expected, parameters), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.05)


def test_draws_follow_the_counts_plus_one() -> None:
    sampled = SampledSoftmax(torch.tensor([3, 0, 1]), 70_000, torch.Generator().manual_seed(1))
    share = torch.bincount(sampled.draw(), minlength=3) / 70_000
    assert share.tolist() == pytest.approx([4 / 7, 1 / 7, 2 / 7], abs=0.01)


def test_a_draw_of_the_own_target_counts_nothing() -> None:
    hidden, weight, bias, _ = case()
    targets = torch.full((9,), 3)
    loss = SampledSoftmax(torch.zeros(7), 2).loss(torch.tensor([2, 2]), hidden, weight, bias, targets)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
