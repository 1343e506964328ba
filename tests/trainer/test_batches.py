from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.data.chunks import TrainingChunks
from recbole_nasr.trainer.batches import SequenceBatches, search_sequences


def chunks_of(lengths: list[int]) -> TrainingChunks:
    """Chunk i has items 100 i + 1, 100 i + 2, ...; its target items are the last ``length`` of them."""
    length = torch.tensor(lengths)
    items = torch.cat([torch.arange(1, n + 2) + 100 * row for row, n in enumerate(lengths)])
    start = torch.cat([torch.zeros(1).long(), (length + 1).cumsum(0)[:-1]])
    return TrainingChunks(items, start, length, torch.arange(len(lengths)))


lengths_lists = st.lists(st.integers(1, 9), min_size=1, max_size=20)


@given(lengths_lists, st.data())
def test_a_batch_holds_inputs_and_their_next_items_padded_on_the_right(lengths: list[int], data: Any) -> None:
    chosen = data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1))
    batches = SequenceBatches.from_chunks(chunks_of(lengths), "cpu")
    item_seq, item_seq_len, targets = batches.gather(torch.tensor(chosen))
    assert item_seq.shape == targets.shape == (len(chosen), max(lengths))
    for position, row in enumerate(chosen):
        n = lengths[row]
        padding = [0] * (max(lengths) - n)
        assert item_seq_len[position] == n
        assert item_seq[position].tolist() == [100 * row + step for step in range(1, n + 1)] + padding
        assert targets[position].tolist() == [100 * row + step for step in range(2, n + 2)] + padding


@given(lengths_lists, st.integers(1, 8), st.integers(0, 5))
def test_an_epoch_takes_every_chunk_once_in_near_equal_batches(lengths: list[int], batch_size: int, seed: int) -> None:
    batches = SequenceBatches.from_chunks(chunks_of(lengths), "cpu")
    seen = list(batches.epoch(batch_size, torch.Generator().manual_seed(seed)))
    sizes = [len(batch[0]) for batch in seen]
    assert len(seen) == batches.n_steps(batch_size)
    assert max(sizes) <= batch_size
    assert max(sizes) - min(sizes) <= 1
    first = torch.cat([batch[0][:, 0] for batch in seen])
    assert sorted(first.tolist()) == [100 * row + 1 for row in range(len(batches))]


def test_the_order_depends_on_its_generator_alone() -> None:
    batches = SequenceBatches.from_chunks(chunks_of([3] * 30), "cpu")
    orders = [
        torch.cat([batch[0][:, 0] for batch in batches.epoch(7, torch.Generator().manual_seed(seed))]).tolist()
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1] != orders[2]


def test_gathering_never_waits_for_the_device(no_synchronisation: Any) -> None:
    batches = SequenceBatches.from_chunks(chunks_of([3, 5, 1]), "cpu")
    with no_synchronisation:
        batches.gather(torch.tensor([2, 0]))
        list(batches.epoch(2, torch.Generator()))


@given(lengths_lists, st.integers(1, 10))
def test_a_search_sees_the_last_items_of_each_chunk_its_last_target_included(
    lengths: list[int], max_length: int
) -> None:
    found = search_sequences(chunks_of(lengths), max_length)
    assert found.item_seq.size(1) == min(max_length, max(lengths) + 1)
    for row, n in enumerate(lengths):
        kept = min(n + 1, max_length)
        expected = [100 * row + step for step in range(1, n + 2)][-kept:]
        assert found.item_seq_len[row] == kept
        assert found.item_seq[row].tolist() == expected + [0] * (found.item_seq.size(1) - kept)


@pytest.mark.parametrize("scheme", ["autoregressive", "prefix"])
@pytest.mark.parametrize("max_length", [3, 50])
def test_a_search_sees_every_training_item_and_no_validation_or_test_item(
    scheme: str,
    max_length: int,
    write_inter: Callable[..., Path],
    assemble: Callable[..., SimpleNamespace],
) -> None:
    lengths = [4, 5, 9, 12]  # every interaction has an item of its own, so that items tell interactions apart
    rows = [(f"u{u}", f"{u}-{t}", float(t)) for u, n in enumerate(lengths) for t in range(n)]
    run = assemble("NASR", write_inter(rows), train_scheme=scheme, MAX_ITEM_LIST_LENGTH=max_length, epochs=0)
    dataset = run.train._dataset
    found = search_sequences(dataset.training_chunks(), max_length)
    tokens = {str(token) for token in dataset.id2token("item_id", found.item_seq[found.item_seq > 0].tolist())}
    training = {f"{u}-{t}" for u, n in enumerate(lengths) for t in range(n - 2)}
    assert tokens <= training
    # A chunk of max_length targets has one item more than fits: the search drops a history's very first.
    missing = {f"{u}-0" for u, n in enumerate(lengths) if (n - 3) % max_length == 0} if max_length == 3 else set()
    assert training - tokens == missing


def test_items_of_one_training_chunk_stay_in_order(
    write_inter: Callable[..., Path], assemble: Callable[..., SimpleNamespace]
) -> None:
    rows = [(f"u{u}", f"{u}-{t}", float(t)) for u in range(3) for t in range(10)]
    run = assemble("NASR", write_inter(rows), MAX_ITEM_LIST_LENGTH=4, epochs=0)
    dataset = run.train._dataset
    batches = SequenceBatches.from_chunks(dataset.training_chunks(), "cpu")
    item_seq, lengths, targets = batches.gather(torch.arange(len(batches)))
    pairs = set()
    for row, n in enumerate(lengths.tolist()):
        inputs = dataset.id2token("item_id", item_seq[row, :n].tolist())
        nexts = dataset.id2token("item_id", targets[row, :n].tolist())
        pairs |= set(zip(map(str, inputs), map(str, nexts), strict=True))
    assert pairs == {(f"{u}-{t}", f"{u}-{t + 1}") for u in range(3) for t in range(7)}


def test_targets_are_counted_as_often_as_batches_have_them(assemble: Callable[..., SimpleNamespace], toy: Path) -> None:
    run = assemble("NASR", toy, MAX_ITEM_LIST_LENGTH=3)
    batches = SequenceBatches.from_chunks(run.train._dataset.training_chunks(), "cpu")
    _, _, targets = batches.gather(torch.arange(len(batches)))
    expected = torch.bincount(targets.flatten(), minlength=11)
    expected[0] = 0
    assert batches.target_counts(11).tolist() == expected.tolist()
