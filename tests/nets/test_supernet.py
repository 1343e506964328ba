from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from recbole_nasr.nets import HybridNet, Supernet, masked_mean
from recbole_nasr.ops import LayerSettings, operation_class
from recbole_nasr.space import SearchSpace

SPACE = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (3, 2))
SETTINGS = LayerSettings(hidden_size=8)
PATHS = [(0, 2, 1), (3, 2)]


@pytest.fixture
def supernet(open_gates: Callable[[nn.Module], nn.Module]) -> Supernet:
    return open_gates(Supernet(SPACE, n_items=20, max_length=12, settings=SETTINGS)).eval()


def through(net: Supernet, view: tuple[Tensor, Tensor]) -> Tensor:
    return net.prefix(*view, PATHS)


def test_every_layer_holds_every_operation(supernet: Supernet) -> None:
    for index, n_layers in enumerate(SPACE.layers_per_block):
        block = supernet.block(index)
        assert len(block.layers) == n_layers
        for layer in block.layers:
            assert [type(op) for op in layer] == [operation_class(name)[0] for name in SPACE.operations]


def test_along_one_path_it_is_the_retrained_network(supernet: Supernet, batch: tuple[Tensor, Tensor]) -> None:
    net = HybridNet(SPACE.architecture(PATHS), n_items=20, max_length=12, settings=SETTINGS, final_norm=False)
    with torch.no_grad():
        net.embedding.items.weight.copy_(supernet.embedding.items.weight[:20])
    net.embedding.positions.load_state_dict(supernet.embedding.positions.state_dict())
    chosen = [
        supernet.block(block).layers[layer][op] for block, path in enumerate(PATHS) for layer, op in enumerate(path)
    ]
    for layer, operation in zip(net.layers, chosen, strict=True):
        layer.load_state_dict(operation.state_dict())
    assert torch.equal(through(supernet, batch), net.eval()(*batch))


def test_both_networks_start_from_the_same_distribution() -> None:
    wide = LayerSettings(hidden_size=32)
    supernet = Supernet(SPACE, n_items=500, max_length=12, settings=wide, softmax=True)
    net = HybridNet(SPACE.architecture(PATHS), n_items=500, max_length=12, settings=wide)
    pairs = [(supernet.embedding, net.embedding), (supernet.block(0).layers[0][0], net.layers[0])]
    pairs.append((supernet.head.output, net.output))
    for ours, theirs in pairs:
        others = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            spread, expected = (p.std(unbiased=False).item() for p in (parameter, others[name]))
            assert spread == pytest.approx(expected, rel=0.25, abs=1e-6), name


def test_the_mask_token_is_one_row_after_the_items(supernet: Supernet) -> None:
    assert supernet.mask_token == 20
    assert supernet.embedding.items.weight.shape == (21, 8)
    assert supernet.embedding.items.weight[20].any()


def test_no_output_depends_on_a_later_item(supernet: Supernet) -> None:
    item_seq, lengths = torch.randint(1, 21, (4, 10)), torch.full((4,), 10)
    other = item_seq.clone()
    other[:, 6:] = torch.randint(1, 21, (4, 4))
    before, after = through(supernet, (item_seq, lengths)), through(supernet, (other, lengths))
    torch.testing.assert_close(before[:, :6], after[:, :6], rtol=0, atol=1e-6)
    assert not torch.allclose(before[:, 6:], after[:, 6:])


def test_padding_reaches_neither_real_positions_nor_the_pooled_features(
    supernet: Supernet, batch: tuple[Tensor, Tensor]
) -> None:
    item_seq, lengths = batch
    noise = torch.where(item_seq > 0, item_seq, 20)
    wider = nn.functional.pad(noise, (0, 5), value=3)
    real = item_seq > 0
    expected = through(supernet, batch)
    torch.testing.assert_close(through(supernet, (noise, lengths))[real], expected[real])
    torch.testing.assert_close(
        masked_mean(through(supernet, (wider, lengths)), lengths), masked_mean(expected, lengths)
    )


def test_rows_of_padding_alone_give_finite_numbers(supernet: Supernet) -> None:
    view = torch.zeros(2, 4, dtype=torch.long), torch.tensor([0, 0])
    out = masked_mean(through(supernet, view), view[1])
    assert torch.isfinite(supernet.block(1).predictor(supernet.block(1).projector(out))).all()


def test_block_k_trains_itself_and_block_0_the_embedding_too(supernet: Supernet) -> None:
    assert list(supernet.trained_with(0)) == [supernet.embedding, supernet.block(0)]
    assert list(supernet.trained_with(1)) == [supernet.block(1)]


def test_a_path_of_another_length_is_an_error(supernet: Supernet, batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match="zip"):
        supernet.prefix(*batch, [(0, 1)])
