from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from recbole_nasr.nets import HybridNet
from recbole_nasr.ops import LayerSettings, operation_class
from recbole_nasr.space import Architecture

MIXED = "transformer_h2,tcn_d1_2/gru4rec,transformer_h4,tcn_d1"
Open = Callable[[nn.Module], nn.Module]


def build(text: str = MIXED, **options: object) -> HybridNet:
    settings = LayerSettings(hidden_size=8, dropout_prob=0.3)
    return HybridNet(Architecture.parse(text), n_items=20, max_length=12, settings=settings, **options)


@pytest.fixture
def net(open_gates: Open) -> HybridNet:
    return open_gates(build()).eval()


def test_every_layer_is_the_operation_the_architecture_names() -> None:
    net = build()
    assert [type(layer) for layer in net.layers] == [operation_class(name)[0] for name in net.architecture.layers]


def test_no_representation_depends_on_a_later_item(net: HybridNet) -> None:
    item_seq = torch.randint(1, 20, (4, 10))
    other = item_seq.clone()
    other[:, 6:] = torch.randint(1, 20, (4, 4))
    lengths = torch.full((4,), 10)
    torch.testing.assert_close(net(item_seq, lengths)[:, :6], net(other, lengths)[:, :6], rtol=0, atol=1e-6)


def test_more_padding_changes_no_real_position_no_score_and_no_loss(
    net: HybridNet, batch: tuple[Tensor, Tensor]
) -> None:
    item_seq, lengths = batch
    wider = nn.functional.pad(item_seq, (0, 5))
    targets = torch.where(item_seq > 0, item_seq.flip(0).clamp_min(1), 0)
    real = item_seq > 0
    torch.testing.assert_close(net(wider, lengths)[:, :6][real], net(item_seq, lengths)[real])
    torch.testing.assert_close(net.scores(wider, lengths), net.scores(item_seq, lengths))
    torch.testing.assert_close(
        net.loss(wider, lengths, nn.functional.pad(targets, (0, 5))), net.loss(item_seq, lengths, targets)
    )


def test_what_stands_in_the_padding_changes_nothing(net: HybridNet, batch: tuple[Tensor, Tensor]) -> None:
    item_seq, lengths = batch
    real = item_seq > 0
    noise = torch.where(real, item_seq, torch.randint(1, 20, item_seq.shape))
    targets = torch.where(real, 7, 0)
    torch.testing.assert_close(net.scores(noise, lengths), net.scores(item_seq, lengths))
    torch.testing.assert_close(net.loss(noise, lengths, targets), net.loss(item_seq, lengths, targets))


def test_padding_gets_no_gradient(net: HybridNet, batch: tuple[Tensor, Tensor]) -> None:
    item_seq, lengths = batch
    noise = torch.where(item_seq > 0, item_seq.clamp_max(18), 19)
    net.loss(noise, lengths, torch.where(item_seq > 0, 7, 0)).backward()
    assert not net.embedding.items.weight.grad[19].any()
    assert net.embedding.items.weight.grad[item_seq[0, 0].clamp_max(18)].any()


def test_a_row_of_padding_alone_gives_finite_numbers(net: HybridNet) -> None:
    item_seq, lengths = torch.tensor([[0, 0, 0], [4, 5, 0]]), torch.tensor([0, 2])
    assert torch.isfinite(net(item_seq, lengths)).all()
    assert torch.isfinite(net.scores(item_seq, lengths)[:, 1:]).all()
    assert torch.isfinite(net.loss(item_seq, lengths, torch.tensor([[0, 0, 0], [5, 6, 0]])))


def test_padding_scores_minus_infinity_and_items_their_logits(net: HybridNet, batch: tuple[Tensor, Tensor]) -> None:
    scores = net.scores(*batch)
    assert scores.shape == (5, 20)
    assert torch.equal(scores[:, 0], torch.full((5,), -torch.inf))
    hidden = torch.stack([net(*batch)[row, length - 1] for row, length in enumerate(batch[1])])
    torch.testing.assert_close(scores[:, 1:], hidden @ net.output.weight.T + net.output.bias)


def test_the_loss_is_the_mean_log_likelihood_over_all_real_positions(
    net: HybridNet, batch: tuple[Tensor, Tensor]
) -> None:
    item_seq, lengths = batch
    targets = torch.where(item_seq > 0, (item_seq + 3) % 19 + 1, 0)
    logits = net.output(net(item_seq, lengths))
    terms = [
        logits[row, step].logsumexp(0) - logits[row, step, targets[row, step] - 1]
        for row, length in enumerate(lengths)
        for step in range(length)
    ]
    assert len(terms) == 21
    torch.testing.assert_close(net.loss(item_seq, lengths, targets), torch.stack(terms).mean())


def test_the_last_layer_can_go_without_its_norm(open_gates: Open, batch: tuple[Tensor, Tensor]) -> None:
    net = open_gates(build("tcn_d1_2", final_norm=False)).eval()
    torch.testing.assert_close(net(*batch), net.layers(net.embedding(*batch)))
    assert not any("norm" in name.split(".")[0] for name, _ in net.named_parameters())


def test_a_convolution_stack_sees_one_item_plus_18_per_layer(open_gates: Open) -> None:
    settings = LayerSettings(hidden_size=8)
    net = HybridNet(Architecture.parse("tcn_d1_2,tcn_d1_2"), n_items=60, max_length=50, settings=settings)
    net = open_gates(net).double().eval()
    item_seq = torch.arange(1, 51).unsqueeze(0)
    net.encode_last(item_seq, torch.tensor([50])).square().sum().backward()
    touched = net.embedding.items.weight.grad.abs().sum(dim=1) > 1e-12
    # Positions are in every row, items 1..50 stand in order; 1 + 2 * 18 = 37 are seen.
    assert touched.nonzero().flatten().tolist() == list(range(51 - 37, 51))
