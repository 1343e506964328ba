from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recbole_nasr.nets import Supernet, memory
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences, SearchSettings
from recbole_nasr.search.contrastive import Contrastive
from recbole_nasr.search.frozen import FrozenOutputs
from recbole_nasr.search.next_item import NextItem
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace

MakeSequences = Callable[..., SearchSequences]
MakeNet = Callable[..., Supernet]
FIRST, SECOND, OTHER = ((0, 2),), ((0, 2), (3,)), ((1, 1),)


@pytest.fixture
def net(make_net: MakeNet) -> Supernet:
    return make_net((2, 1, 1)).eval()


@pytest.fixture
def frozen(net: Supernet, make_sequences: MakeSequences) -> FrozenOutputs:
    sequences = make_sequences(13)
    return FrozenOutputs(net, sequences.item_seq, sequences.item_seq_len)


def count_calls(net: nn.Module, index: int) -> list[int]:
    calls: list[int] = []
    net.block(index).layers[0].register_forward_hook(lambda _module, args, _output: calls.append(args[0].size(0)))
    return calls


@torch.no_grad()
@pytest.mark.parametrize("rows", [slice(3, 9), torch.tensor([12, 0, 7])])
def test_held_outputs_are_those_of_the_blocks(rows: slice | Tensor, net: Supernet, frozen: FrozenOutputs) -> None:
    frozen.advance([FIRST, OTHER], 5)
    frozen.advance([SECOND], 5)
    expected = net.prefix(frozen.item_seq, frozen.item_seq_len, SECOND)
    torch.testing.assert_close(frozen.rows(SECOND, rows), expected[rows], atol=1e-6, rtol=1e-6)
    assert frozen.prefixes == (SECOND,)


@torch.no_grad()
def test_each_block_runs_once_over_the_sequences(net: Supernet, frozen: FrozenOutputs) -> None:
    first, second = count_calls(net, 0), count_calls(net, 1)
    frozen.advance([FIRST], 5)
    frozen.advance([FIRST], 5)
    frozen.advance([SECOND], 5)
    frozen.rows(SECOND, slice(0, 4))
    assert first == second == [5, 5, 3]


@torch.no_grad()
def test_outputs_that_do_not_fit_are_computed_when_they_are_wanted(
    net: Supernet, frozen: FrozenOutputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    n_bytes = 13 * 10 * 8 * 4
    monkeypatch.setattr(memory, "HOST_SHARE", n_bytes)
    frozen.advance([FIRST], 5)
    assert frozen.prefixes == (FIRST,)
    expected = frozen.rows(FIRST, slice(0, 4))
    for limit, prefixes in ((n_bytes, [FIRST, OTHER]), (n_bytes - 1, [FIRST])):
        monkeypatch.setattr(memory, "HOST_SHARE", limit)
        frozen.advance(prefixes, 5)
        assert frozen.prefixes == ()
        torch.testing.assert_close(frozen.rows(FIRST, slice(0, 4)), expected, atol=1e-6, rtol=1e-6)


def test_before_the_first_block_nothing_is_held(net: Supernet, frozen: FrozenOutputs) -> None:
    frozen.advance([()], 5)
    assert frozen.prefixes == ()
    assert torch.equal(frozen.rows((), slice(0, 4)), net.embedding(frozen.item_seq[:4], frozen.item_seq_len[:4]))


def next_item_net() -> Supernet:
    torch.manual_seed(3)
    names = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
    settings = LayerSettings(hidden_size=8, dropout_prob=0.0)
    net = Supernet(SearchSpace(names, (2, 1)), n_items=30, max_length=10, settings=settings, softmax=True)
    for module in net.modules():
        if isinstance(module, GatedResidual):
            nn.init.constant_(module.scale, 0.5)
    return net


def trained(make_sequences: MakeSequences, share: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Supernet, list[int]]:
    # Not the share of the logits, which would change their rounding.
    monkeypatch.setattr("recbole_nasr.search.frozen.memory_share", lambda _: share)
    net, settings = next_item_net(), SearchSettings(objective="next_item", batch_size=6, n_paths=2)
    space = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1))
    trainer = BlockTrainer(net, [((0, 2),)], space, settings, 5, NextItem(net, settings, 5))
    calls = count_calls(net, 0)
    trainer.train(make_sequences(12), "test")
    return net, calls


def test_next_item_training_runs_frozen_blocks_once_and_learns_the_same(
    make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, plain_calls = trained(make_sequences, 0, monkeypatch)
    held, held_calls = trained(make_sequences, 1 << 20, monkeypatch)
    assert plain_calls == [6] * 4  # two epochs of two steps
    assert held_calls == [12]
    for name, value in held.state_dict().items():
        torch.testing.assert_close(value, plain.state_dict()[name], atol=1e-5, rtol=1e-4, msg=name)


def test_a_ranking_from_held_outputs_has_the_same_bits(
    net: Supernet, make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Any] = []
    calls = count_calls(net, 0)
    for share in (0, 1 << 20):
        monkeypatch.setattr(memory, "HOST_SHARE", share)
        objective = Contrastive(net, SearchSettings(ranking_batch_size=5, report_view_pairs=0), 5)
        objective.hold(make_sequences(13))
        objective.start(1)
        paths = [(op,) for op in range(4)]
        objective.score([FIRST], paths, Progress())
        objective.start(2)
        before = len(calls)
        found.append(objective.score([SECOND], paths, Progress()).values)
        assert (len(calls) > before) == (share == 0)
    assert torch.equal(*found)
