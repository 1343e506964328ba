"""The supernet of networks whose softmax layer is the item embedding (``tie_embeddings``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recbole_nasr.nets import HybridNet, Supernet
from recbole_nasr.nets.acceleration import Acceleration
from recbole_nasr.nets.output import TiedOutput
from recbole_nasr.ops import LayerSettings
from recbole_nasr.search import SearchProblem, SearchSequences, SearchSettings, search
from recbole_nasr.search.next_item import NextItem, next_items
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import SearchSpace

MakeSequences = Callable[..., SearchSequences]
NAMES = ("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4")
SPACE = SearchSpace(NAMES, (2,))
LAYERS = LayerSettings(hidden_size=8, dropout_prob=0.0)
N_ITEMS, MASK = 30, 30


def tied_supernet(space: SearchSpace = SPACE) -> Supernet:
    torch.manual_seed(4)
    return Supernet(space, n_items=N_ITEMS, max_length=10, settings=LAYERS, softmax=True, tie_embeddings=True)


def objective_of(net: Supernet, **settings: Any) -> NextItem:
    objective = NextItem(net, SearchSettings(objective="next_item", **settings), 5)
    objective.start(0)
    return objective


def test_a_tied_supernet_has_the_loss_and_gradients_of_the_tied_network(make_sequences: MakeSequences) -> None:
    net = tied_supernet()
    found = HybridNet(
        SPACE.architecture([(3, 1)]), n_items=N_ITEMS, max_length=10, settings=LAYERS, tie_embeddings=True
    )
    with torch.no_grad():
        found.embedding.items.weight.copy_(net.embedding.items.weight[:N_ITEMS])
    found.embedding.positions.load_state_dict(net.embedding.positions.state_dict())
    for layer, mixed, op in zip(found.layers, net.block(0).layers, (3, 1), strict=True):
        layer.load_state_dict(mixed[op].state_dict())
    sequences = make_sequences(12)
    expected = found.loss(*next_items(sequences.item_seq, sequences.item_seq_len))
    loss = objective_of(net).loss(sequences.item_seq, sequences.item_seq_len, (), [(3, 1)])
    torch.testing.assert_close(loss, expected)
    expected.backward()
    loss.backward()
    gradient = net.embedding.items.weight.grad
    torch.testing.assert_close(gradient[:N_ITEMS], found.embedding.items.weight.grad)
    assert not gradient[MASK].any()  # the mask token is no item, so nothing scores it
    torch.testing.assert_close(net.head.output.bias.grad, found.output.bias.grad)


def test_after_the_first_block_the_table_is_frozen_and_the_bias_learns(make_sequences: MakeSequences) -> None:
    net = tied_supernet(SearchSpace(NAMES, (1, 1)))
    assert isinstance(net.head.output, TiedOutput)
    objective = objective_of(net, epochs=2, batch_size=5, n_paths=2)
    objective.start(1)
    table, bias = net.embedding.items.weight.detach().clone(), net.head.output.bias.detach().clone()
    BlockTrainer(net, [((0,),)], SearchSpace(NAMES, (1, 1)), objective.settings, 5, objective).train(
        make_sequences(13), "test"
    )
    assert torch.equal(net.embedding.items.weight, table)
    assert not torch.equal(net.head.output.bias, bias)


def test_steps_of_one_shape_learn_what_plain_ones_do(make_sequences: MakeSequences) -> None:
    losses, states = [], []
    for acceleration in (Acceleration(), Acceleration(graphs=True)):  # on a CPU the same step, not captured
        net = tied_supernet().double()  # so that Adam, which divides by small numbers, cannot enlarge rounding
        objective = objective_of(net, epochs=2, batch_size=5, n_paths=3)
        objective.acceleration = acceleration
        trainer = BlockTrainer(net, [()], SPACE, objective.settings, 5, objective)
        losses.append(trainer.train(make_sequences(13), "test"))
        states.append(net.state_dict())
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)
    for name, value in states[1].items():
        torch.testing.assert_close(value, states[0][name], atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("scope", ["whole", "block"])
def test_a_search_for_tied_networks_scores_with_the_item_embedding(scope: str, make_sequences: MakeSequences) -> None:
    scores = []
    for tied in (False, True):
        problem = SearchProblem(
            sequences=make_sequences(24),
            space=SearchSpace(NAMES, (1, 1)),
            n_items=N_ITEMS,
            layer_settings=LAYERS,
            settings=SearchSettings(objective="next_item", scope=scope, epochs=1, batch_size=8, holdout_ratio=0.25),
            seed=3,
            tie_embeddings=tied,
        )
        scores.append(search(problem).blocks[0].scores)
    assert (scores[0] != scores[1]).any()
