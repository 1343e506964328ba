from __future__ import annotations

import torch
from torch import nn

from recbole_nasr.nets import Predictor, Projector, masked_mean


def test_the_mean_is_over_real_positions_alone_even_beside_nan() -> None:
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 6.0], [torch.nan, torch.inf]]])
    assert masked_mean(hidden, torch.tensor([2])).tolist() == [[2.0, 4.0]]


def test_no_gradient_flows_into_the_padding() -> None:
    hidden = torch.randn(2, 4, 3, requires_grad=True)
    masked_mean(hidden, torch.tensor([1, 3])).sum().backward()
    assert (hidden.grad != 0).any(dim=2).tolist() == [[True, False, False, False], [True, True, True, False]]


def test_an_empty_row_has_mean_zero() -> None:
    assert masked_mean(torch.ones(1, 3, 2), torch.tensor([0])).tolist() == [[0.0, 0.0]]


def test_batch_norm_keeps_no_statistics() -> None:
    for net in (Projector(8), Predictor(8)):
        assert not list(net.buffers())
        hidden = torch.randn(16, 8)
        assert torch.equal(net.train()(hidden), net.eval()(hidden))


def test_projections_have_mean_0_and_variance_1_over_the_batch() -> None:
    out = Projector(8)(5 + 3 * torch.randn(64, 8))
    torch.testing.assert_close(out.mean(dim=0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(dim=0, unbiased=False), torch.ones(8), atol=1e-3, rtol=0)
    assert not list(Projector(8)[-1].parameters()), "training would change both"


def test_the_predictor_has_a_bottleneck_of_a_quarter_and_no_norm_at_its_end() -> None:
    wide = Predictor(64)
    assert [type(layer) for layer in wide] == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Linear]
    assert [tuple(layer.weight.shape) for layer in (wide[0], wide[-1])] == [(16, 64), (64, 16)]
    assert Predictor(2)(torch.randn(4, 2)).shape == (4, 2)
