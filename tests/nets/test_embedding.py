from __future__ import annotations

import pytest
import torch
from torch import nn

from recbole_nasr.nets import SequenceEmbedding
from recbole_nasr.nets.embedding import initialise


def test_an_item_is_embedded_by_its_id_and_its_distance_from_the_last() -> None:
    embedding = SequenceEmbedding(20, 5, 4)
    out = embedding(torch.tensor([[3, 7, 9, 0, 0], [5, 0, 0, 0, 0]]), torch.tensor([3, 1]))
    items, positions = embedding.items.weight, embedding.positions.weight
    torch.testing.assert_close(out[0, 0], items[3] + positions[2])
    torch.testing.assert_close(out[0, 2], items[9] + positions[0])
    torch.testing.assert_close(out[1, 0], items[5] + positions[0])


def test_the_last_item_has_position_0_whatever_the_padding() -> None:
    embedding = SequenceEmbedding(20, 9, 4)
    short = embedding(torch.tensor([[3, 7]]), torch.tensor([2]))
    padded = embedding(torch.tensor([[3, 7, 0, 0, 0]]), torch.tensor([2]))
    assert torch.equal(short, padded[:, :2])


def test_the_padding_row_is_zero_and_never_trained() -> None:
    embedding = SequenceEmbedding(20, 5, 4)
    assert not embedding.items.weight[0].any()
    embedding(torch.tensor([[3, 0]]), torch.tensor([1])).sum().backward()
    assert not embedding.items.weight.grad[0].any()
    assert embedding.items.weight.grad[3].any()


def test_embeddings_have_the_standard_deviation_of_recboles_sasrec() -> None:
    embedding = SequenceEmbedding(3000, 50, 16)
    assert embedding.items.weight[1:].std().item() == pytest.approx(0.02, rel=0.02)
    assert embedding.positions.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_matrices_are_xavier_uniform_and_biases_zero() -> None:
    linear = nn.Linear(30, 10)
    linear.apply(initialise)
    bound = (6 / 40) ** 0.5
    assert not linear.bias.any()
    assert linear.weight.abs().max() <= bound
    assert linear.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    nn.Linear(3, 3, bias=False).apply(initialise)
