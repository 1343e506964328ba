"""A softmax layer that is the item embedding: what it scores, what its gradient is, what it costs."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recbole_nasr.nets import HybridNet, TiedOutput
from recbole_nasr.nets.footprint import network_weights
from recbole_nasr.nets.softmax import ExactSoftmax, SampledSoftmax, SoftmaxLoss, softmax_in_parts
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search.costs import measure_costs, n_parameters
from recbole_nasr.space import Architecture
from recbole_nasr.trainer.products import ranks_by_parts
from recbole_nasr.trainer.ranks import count_ranks

N_ITEMS, LENGTH, WIDTH = 20, 12, 8
SETTINGS = LayerSettings(hidden_size=WIDTH, dropout_prob=0.0)


def build(text: str = "transformer_h2,tcn_d1_2", *, tied: bool = True, n_items: int = N_ITEMS) -> HybridNet:
    torch.manual_seed(0)
    return HybridNet(
        Architecture.parse(text), n_items=n_items, max_length=LENGTH, settings=SETTINGS, tie_embeddings=tied
    )


@pytest.fixture
def net(open_gates: Callable[[nn.Module], nn.Module]) -> HybridNet:
    net = open_gates(build())
    nn.init.normal_(net.output.bias)
    return net


def with_a_layer_of_its_own(tied: HybridNet) -> HybridNet:
    """Return the same network, its softmax layer a copy of the embedding."""
    net = build(tied=False)
    weights = {**tied.state_dict(), "output.weight": tied.embedding.items.weight[1:].detach().clone()}
    net.load_state_dict(weights)
    return net


def next_items(item_seq: Tensor) -> Tensor:
    return torch.where(item_seq > 0, (item_seq + 3) % (N_ITEMS - 1) + 1, 0)


def test_the_score_of_an_item_is_its_embedding_times_the_representation_plus_its_bias(
    net: HybridNet, batch: tuple[Tensor, Tensor]
) -> None:
    hidden, scores = net.encode_last(*batch), net.scores(*batch)
    table, bias = net.embedding.items.weight, net.output.bias
    for item in range(1, N_ITEMS):
        torch.testing.assert_close(scores[:, item], (hidden * table[item]).sum(dim=1) + bias[item - 1])
    assert scores[:, 0].tolist() == [-math.inf] * len(scores)


LOSSES: dict[str, Callable[[], SoftmaxLoss]] = {
    "at once": ExactSoftmax,
    "compiled": lambda: ExactSoftmax("aot_eager"),
    "in parts": lambda: lambda *given: softmax_in_parts(*given, 7),
    "sampled": lambda: SampledSoftmax(torch.arange(N_ITEMS - 1), 6, torch.Generator().manual_seed(5)),
}


@pytest.mark.parametrize("softmax", LOSSES.values(), ids=LOSSES.keys())
def test_the_gradient_of_an_embedding_is_the_sum_over_its_two_uses(
    softmax: Callable[[], SoftmaxLoss], net: HybridNet, batch: tuple[Tensor, Tensor]
) -> None:
    apart, losses = with_a_layer_of_its_own(net), []
    for one in (net, apart):
        one.softmax = softmax()
        losses.append(one.loss(*batch, next_items(batch[0])))
        losses[-1].backward()
    torch.testing.assert_close(*losses)
    expected = apart.embedding.items.weight.grad + F.pad(apart.output.weight.grad, (0, 0, 1, 0))
    torch.testing.assert_close(net.embedding.items.weight.grad, expected)
    theirs = dict(apart.named_parameters())
    for name, weight in net.named_parameters():
        if name != "embedding.items.weight":
            torch.testing.assert_close(weight.grad, theirs[name].grad, msg=name)


def test_padding_gets_no_gradient_and_stays_zero(net: HybridNet, batch: tuple[Tensor, Tensor]) -> None:
    net.loss(*batch, next_items(batch[0])).backward()
    assert not net.embedding.items.weight.grad[0].any()
    assert net.embedding.items.weight.grad[1:].any(dim=1).all()
    torch.optim.Adam(net.parameters()).step()
    assert not net.embedding.items.weight[0].any()


@pytest.mark.parametrize("part", [1, 7, 100])
def test_items_in_parts_are_ranked_as_all_scores_at_once(
    part: int, net: HybridNet, batch: tuple[Tensor, Tensor]
) -> None:
    targets = torch.tensor([1, 19, 7, 4, 11])
    with torch.no_grad():
        found, bad = ranks_by_parts(net.encode_last(*batch), net.output, targets, n_items=part)
    assert found.tolist() == count_ranks(net.scores(*batch), targets).tolist()
    assert not bad


def test_a_tied_network_has_one_table_of_the_items_and_a_bias() -> None:
    tied, apart = build(), build(tied=False)
    assert n_parameters(apart) - n_parameters(tied) == (N_ITEMS - 1) * WIDTH
    layers = n_parameters(tied.layers)
    assert n_parameters(tied) == N_ITEMS * WIDTH + LENGTH * WIDTH + layers + 2 * WIDTH + (N_ITEMS - 1)
    assert set(apart.state_dict()) - set(tied.state_dict()) == {"output.weight"}
    names = tied.architecture.layers
    n_bytes = network_weights(names, SETTINGS, N_ITEMS, LENGTH, tied=True)
    assert network_weights(names, SETTINGS, N_ITEMS, LENGTH) - n_bytes == 4 * N_ITEMS * WIDTH


def test_costs_count_the_table_once_and_its_products_as_before() -> None:
    tables = [
        measure_costs(("tcn_d1_2",), settings=SETTINGS, n_items=N_ITEMS, max_length=LENGTH, tie_embeddings=tied)
        for tied in (True, False)
    ]
    tied, apart = (table.of(("tcn_d1_2", "tcn_d1_2")) for table in tables)
    assert tied["parameters"] == n_parameters(build("tcn_d1_2,tcn_d1_2"))
    assert apart["parameters"] - tied["parameters"] == (N_ITEMS - 1) * WIDTH
    assert tied["flops"] == apart["flops"]


def test_all_items_start_nearly_equal() -> None:
    net = build(n_items=1350)
    item_seq = torch.randint(1, 1350, (50, LENGTH))
    lengths = torch.full((50,), LENGTH)
    loss = net.loss(item_seq, lengths, torch.randint(1, 1350, (50, LENGTH)))
    assert loss.item() == pytest.approx(math.log(1349), rel=0.01)


def test_a_copy_of_the_network_reads_its_own_embedding(net: HybridNet, batch: tuple[Tensor, Tensor]) -> None:
    other = copy.deepcopy(net)
    assert isinstance(other.output, TiedOutput)
    torch.testing.assert_close(other.scores(*batch), net.scores(*batch))
    with torch.no_grad():
        other.embedding.items.weight.zero_()
    torch.testing.assert_close(other.scores(*batch)[0, 1:], other.output.bias)
    assert net.embedding.items.weight.any()
