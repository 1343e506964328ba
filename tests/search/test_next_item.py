from __future__ import annotations

import copy
import math
from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from recbole_nasr.errors import DataError, NumericalError
from recbole_nasr.nets import HybridNet, NextItemHead, Supernet, padding
from recbole_nasr.ops import LayerSettings
from recbole_nasr.ops.base import GatedResidual
from recbole_nasr.progress import Progress
from recbole_nasr.search import SearchSequences, SearchSettings, next_item, next_item_scores
from recbole_nasr.search.next_item import NextItem, next_items
from recbole_nasr.search.next_item_scores import LOGIT_BYTES
from recbole_nasr.search.training import BlockTrainer
from recbole_nasr.space import Path, SearchSpace

MakeSequences = Callable[..., SearchSequences]
SPACE = SearchSpace(("transformer_h2", "transformer_h4", "tcn_d1_2", "tcn_d1_4"), (2, 1))
LAYERS = LayerSettings(hidden_size=8)
ALL = list(product(range(4), repeat=2))


def make(*, final_norm: bool = True, **settings: Any) -> tuple[Supernet, NextItem]:
    torch.manual_seed(4)
    net = Supernet(SPACE, n_items=30, max_length=10, settings=LAYERS, softmax=True, final_norm=final_norm)
    for module in net.modules():
        if isinstance(module, GatedResidual):
            nn.init.constant_(module.scale, 0.3 + 0.4 * float(torch.rand(())))
    objective = NextItem(net, SearchSettings(objective="next_item", **settings), 5)
    objective.start(0)
    return net, objective


def trainer_of(net: Supernet, objective: NextItem, prefixes: Any = ((),)) -> BlockTrainer:
    return BlockTrainer(net, prefixes, SPACE, objective.settings, 5, objective)


def network_of(net: Supernet, paths: list[Path]) -> HybridNet:
    """The plain network of an architecture with the weights of the supernet."""
    space = SearchSpace(SPACE.operations, tuple(len(path) for path in paths))
    normed = isinstance(net.head.norm, nn.LayerNorm)
    found = HybridNet(space.architecture(paths), n_items=30, max_length=10, settings=LAYERS, final_norm=normed)
    with torch.no_grad():
        found.embedding.items.weight.copy_(net.embedding.items.weight[:30])
    found.embedding.positions.load_state_dict(net.embedding.positions.state_dict())
    chosen = [net.block(b).layers[layer][op] for b, path in enumerate(paths) for layer, op in enumerate(path)]
    for layer, operation in zip(found.layers, chosen, strict=True):
        layer.load_state_dict(operation.state_dict())
    found.norm.load_state_dict(net.head.norm.state_dict())
    found.output.load_state_dict(net.head.output.state_dict())
    return found.eval()


def test_the_target_of_every_position_is_the_item_after_it() -> None:
    inputs, length, targets = next_items(torch.tensor([[3, 7, 2, 0], [5, 0, 0, 0]]), torch.tensor([3, 1]))
    assert inputs.tolist() == [[3, 7, 0], [0, 0, 0]]
    assert targets.tolist() == [[7, 2, 0], [0, 0, 0]]
    assert length.tolist() == [2, 0]


@pytest.mark.parametrize("final_norm", [True, False])
def test_the_loss_of_one_path_is_that_of_the_retrained_network(final_norm: bool, make_sequences: MakeSequences) -> None:
    net, objective = make(final_norm=final_norm)
    assert isinstance(net.head.norm, nn.LayerNorm) == final_norm
    net.eval()
    sequences = make_sequences(12)
    inputs, length, targets = next_items(sequences.item_seq, sequences.item_seq_len)
    expected = network_of(net, [(3, 1)]).loss(inputs, length, targets)
    torch.testing.assert_close(objective.loss(sequences.item_seq, sequences.item_seq_len, (), [(3, 1)]), expected)


def test_every_path_takes_its_share_of_the_rows(make_sequences: MakeSequences) -> None:
    net, objective = make()
    net.eval()
    sequences = make_sequences(6)
    inputs, length, targets = next_items(sequences.item_seq, sequences.item_seq_len)
    paths = [(0, 2), (3, 1), (1, 1)]
    n_targets = (targets > 0).sum()
    parts = [
        network_of(net, [path]).loss(inputs[rows], length[rows], targets[rows], n_targets)
        for path, rows in zip(paths, (slice(0, 2), slice(2, 4), slice(4, 6)), strict=True)
    ]
    loss = objective.loss(sequences.item_seq, sequences.item_seq_len, (), paths)
    torch.testing.assert_close(loss, torch.stack(parts).sum())
    few = objective.loss(sequences.item_seq[:2], sequences.item_seq_len[:2], (), paths)
    assert math.isfinite(few.item())  # a path without rows adds nothing


@pytest.mark.parametrize("index", [0, 1])
def test_a_step_changes_its_block_and_the_softmax_layer_and_with_block_0_the_embedding(
    index: int, make_sequences: MakeSequences
) -> None:
    net, objective = make(batch_size=6)
    before, sequences = copy.deepcopy(net.state_dict()), make_sequences(12)
    trainer_of(net, objective, [((0, 2),)] if index else [()]).step(sequences.item_seq, sequences.item_seq_len)
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    parts = {name.split(".")[0] if not name.startswith("blocks") else name[:8] for name in changed}
    assert parts == {f"blocks.{index}", "head", *(["embedding"] if index == 0 else [])}


@pytest.mark.parametrize("batch_size", [5, 64])
def test_scores_are_the_cross_entropy_of_the_plain_network(batch_size: int, make_sequences: MakeSequences) -> None:
    net, objective = make(ranking_batch_size=batch_size)
    sequences = make_sequences(12)
    objective.hold(sequences)
    prefixes = [((0, 2),), ((3, 3),)]
    found = objective.score(prefixes, [(0,), (2,)], Progress())
    assert found.values.shape == (2, 2, 12)
    assert found.views.shape == (0, 2, 2)
    inputs, length, targets = next_items(sequences.item_seq, sequences.item_seq_len)
    last = torch.zeros(12, 8)
    for b, p in product(range(2), range(2)):
        plain = network_of(net, [*prefixes[b], [(0,), (2,)][p]])
        with torch.no_grad():
            logits = plain.output(plain(inputs, length))
            last += plain.encode_last(inputs, length) / 4
        for row in range(12):
            n = int(length[row])
            expected = F.cross_entropy(logits[row, :n], targets[row, :n] - 1)
            assert found.values[b, p, row].item() == pytest.approx(expected.item(), abs=1e-5)
    torch.testing.assert_close(found.representation, last)


def test_ndcg_is_that_of_the_last_item_with_ties_counted_against_it(make_sequences: MakeSequences) -> None:
    sequences = make_sequences(12)
    inputs, length, targets = next_items(sequences.item_seq, sequences.item_seq_len)
    logits = network_of(make()[0], [ALL[6]]).scores(inputs, length)
    own = logits.gather(1, targets.gather(1, length.unsqueeze(1) - 1))
    ranks = (logits >= own).sum(dim=1).tolist()
    cut = sorted(ranks)[6]  # so that one rank is the last that counts
    net, objective = make(ranking_metric=f"ndcg@{cut}")
    objective.hold(sequences)
    found = objective.score([()], ALL, Progress()).values[0]
    assert found[6].tolist() == pytest.approx([1 - 1 / math.log2(rank + 1) if rank <= cut else 1 for rank in ranks])
    nn.init.zeros_(net.head.output.weight)  # all items equal: the last rank for each
    assert (objective.score([()], ALL, Progress()).values == 1).all()
    assert objective.metric == f"1 - NDCG@{cut} of the last item"


def test_padding_and_sequences_without_a_target_change_no_score(make_sequences: MakeSequences) -> None:
    _, objective = make()
    sequences = make_sequences(6)
    sequences.item_seq[0, 2:], sequences.item_seq_len[0] = 0, 2  # a single target
    objective.hold(sequences)
    expected = objective.score([()], ALL, Progress()).values
    single = torch.zeros(1, 10, dtype=torch.long)
    single[0, 0] = 4
    more = SearchSequences(
        torch.cat([single, sequences.item_seq]),
        torch.cat([torch.tensor([1]), sequences.item_seq_len]),
        torch.cat([torch.tensor([9]), sequences.group]),
    )
    noise = torch.where(more.item_seq > 0, more.item_seq, 7)
    objective.hold(SearchSequences(noise, more.item_seq_len, more.group))
    assert objective.group.tolist() == sequences.group.tolist()
    torch.testing.assert_close(objective.score([()], ALL, Progress()).values, expected)
    assert objective.work(16) == 16 * 6
    with pytest.raises(DataError, match=r"there are 0; use more data, or raise `search_holdout_ratio` or `MAX_ITEM"):
        objective.hold(SearchSequences(single, torch.tensor([1]), torch.tensor([0])))


@pytest.mark.parametrize("metric", ["loss", "ndcg@5"])
@pytest.mark.parametrize("n_logits", [1, 7, 16])
def test_stacked_paths_have_the_scores_of_one_path_at_a_time_however_many_logits_fit(
    metric: str, n_logits: int, make_sequences: MakeSequences, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, objective = make(ranking_metric=metric, ranking_batch_size=5)
    objective.hold(make_sequences(12))
    plain = objective.score([()], ALL, Progress())
    monkeypatch.setattr(next_item, "states_at_a_time", lambda *_: 16)
    monkeypatch.setattr(next_item_scores, "memory_share", lambda _: n_logits * 5 * 9 * 29 * LOGIT_BYTES)
    stacked = objective.score([()], ALL, Progress())
    torch.testing.assert_close(stacked.values, plain.values, atol=1e-5, rtol=0)
    torch.testing.assert_close(stacked.representation, plain.representation, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("metric", ["loss", "ndcg@5"])
def test_ranking_256_paths_takes_at_most_400_kernels_per_batch(
    metric: str,
    make_sequences: MakeSequences,
    monkeypatch: pytest.MonkeyPatch,
    count_kernels: Callable[[Callable[[], object]], int],
) -> None:
    space = SearchSpace(SPACE.operations, (4,))
    net = Supernet(space, n_items=30, max_length=10, settings=LAYERS, softmax=True)
    paths, counts = list(space.paths(0)), []
    monkeypatch.setattr(next_item, "states_at_a_time", lambda *_: 256)
    monkeypatch.setattr(padding, "READ_AT_ONCE", ())  # as on a GPU
    for batch_size in (12, 6):  # one batch, two batches
        settings = SearchSettings(objective="next_item", ranking_metric=metric, ranking_batch_size=batch_size)
        objective = NextItem(net, settings, 5)
        objective.hold(make_sequences(12))
        counts.append(count_kernels(partial(objective.score, [()], paths, Progress())))
    assert counts[1] - counts[0] <= 400
    assert counts[0] <= 450  # what is done once in a ranking is little


def test_ranking_leaves_the_supernet_as_it_was(make_sequences: MakeSequences) -> None:
    net, objective = make()
    net.train()
    state, rng = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    objective.hold(make_sequences(8))
    first, second = (objective.score([()], ALL, Progress()).values for _ in range(2))
    assert torch.equal(first, second)
    assert all(module.training for module in net.modules())
    assert all(torch.equal(value, state[key]) for key, value in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), rng)


def test_a_score_that_is_not_finite_names_its_path(make_sequences: MakeSequences) -> None:
    net, objective = make()
    objective.hold(make_sequences(8))
    nn.init.constant_(net.block(0).layers[0][3].blocks[0].first.taps.bias, torch.nan)
    with pytest.raises(NumericalError, match=r"path \(3, 0\) of block 1"):
        objective.score([()], ALL, Progress())


@pytest.mark.parametrize("prefixes", [[()], [((0, 2),)]])
def test_a_step_never_waits_for_the_device(
    prefixes: Any, make_sequences: MakeSequences, no_synchronisation: Any
) -> None:
    net, objective = make(batch_size=6, path_sampling="fair")
    sequences, trainer = make_sequences(12), trainer_of(net, objective, prefixes)
    with no_synchronisation:
        trainer.step(sequences.item_seq, sequences.item_seq_len)
        trainer.step(sequences.item_seq, sequences.item_seq_len)


def test_training_lowers_the_loss_of_every_path(make_sequences: MakeSequences) -> None:
    net, objective = make(batch_size=12, learning_rate=0.02, min_steps=40, path_sampling="fair")
    sequences = make_sequences(12)
    objective.hold(sequences)
    before = objective.score([()], ALL, Progress()).values.mean(dim=2)
    losses = trainer_of(net, objective).train(sequences, "train")
    assert len(losses) == 40
    assert (objective.score([()], ALL, Progress()).values.mean(dim=2) < before - 0.5).all()


def test_the_rank_of_the_best_item_is_1_and_ties_count_against_it() -> None:
    head = NextItemHead(4, LayerSettings(hidden_size=2))
    nn.init.constant_(head.output.weight, 0.0)
    with torch.no_grad():
        head.output.bias.copy_(torch.tensor([1.0, 3.0, 3.0]))
    assert head.ranks(torch.randn(3, 2), torch.tensor([1, 2, 3])).tolist() == [3, 2, 2]


def test_the_order_of_the_paths_changes_no_score_to_the_last_bit(make_sequences: MakeSequences) -> None:
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1)).tolist()
    found = []
    for paths in (ALL, [ALL[place] for place in order]):
        _, objective = make()
        objective.hold(make_sequences(9))
        found.append(objective.score([()], paths, Progress()).values[0])
    assert torch.equal(found[1], found[0][order])
