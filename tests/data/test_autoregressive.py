from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from recbole.data import data_preparation
from recbole.data.dataset import SequentialDataset

from recbole_nasr.data.autoregressive import NASRDataset
from recbole_nasr.data.benchmark_files import check_numbering
from recbole_nasr.errors import ConfigError, DataError
from recbole_nasr.runs.data import load_data

from .conftest import HEADER, write_atomic
from .test_lazy import assert_same_rows, eval_args


def rows_of(part: Any) -> list[dict[str, Any]]:
    """All rows as lists of item names, the padding cut off."""
    names = part.field2id_token["item_id"]
    batch = part[list(range(len(part)))]
    return [
        {
            "inputs": [names[i] for i in batch["item_id_list"][row, :length]],
            "targets": [names[i] for i in batch["item_id_target_list"][row, :length]],
            "last": names[batch["item_id"][row]],
            "padding": int(
                batch["item_id_list"][row, length:].sum() + batch["item_id_target_list"][row, length:].sum()
            ),
        }
        for row, length in enumerate(batch["item_length"].tolist())
    ]


def test_a_training_row_has_the_next_item_as_target_at_every_position(toy_config: Any) -> None:
    train = NASRDataset(toy_config([[1, 2, 3, 4, 5, 6]], MAX_ITEM_LIST_LENGTH=10)).build()[0]
    assert rows_of(train) == [{"inputs": ["i1", "i2", "i3"], "targets": ["i2", "i3", "i4"], "last": "i4", "padding": 0}]


def test_a_long_history_becomes_chunks_that_end_at_the_last_training_item(toy_config: Any) -> None:
    train = NASRDataset(toy_config([[1, 2, 3, 4, 5, 6, 7, 8]], MAX_ITEM_LIST_LENGTH=2)).build()[0]
    got = [(row["inputs"], row["targets"]) for row in rows_of(train)]
    assert got == [(["i1"], ["i2"]), (["i2", "i3"], ["i3", "i4"]), (["i4", "i5"], ["i5", "i6"])]


def test_training_rows_never_hold_the_last_two_items_of_a_history(toy_config: Any) -> None:
    train = NASRDataset(toy_config([[1, 2, 3, 8, 9], [2, 3, 1, 8, 9], [8, 9]])).build()[0]
    by_user = {frozenset(row["inputs"] + row["targets"]) for row in rows_of(train)[:2]}
    assert by_user == {frozenset({"i1", "i2", "i3"})}


def test_chunks_use_exactly_the_targets_of_recboles_training_rows(make_config: Any, recbole_100k: list[Any]) -> None:
    theirs, ours = recbole_100k, NASRDataset(make_config("ml-100k", MAX_ITEM_LIST_LENGTH=20)).build()
    chunks = ours[0].training_chunks()
    assert int(chunks.length.sum()) == len(theirs[0]) == 97171
    assert int(chunks.length.max()) == 20
    assert ours[0].item_counter == theirs[0].item_counter
    assert (ours[0].inter_matrix("csr") != theirs[0].inter_matrix("csr")).nnz == 0
    for part in (1, 2):
        assert_same_rows(theirs[part], ours[part])


def test_chunks_and_training_rows_say_the_same(toy_config: Any) -> None:
    train = NASRDataset(toy_config([[1, 2, 3, 4, 5, 6, 7], [3, 2, 1, 4]], MAX_ITEM_LIST_LENGTH=3)).build()[0]
    chunks, batch = train.training_chunks(), train[list(range(len(train)))]
    for row, (start, length) in enumerate(zip(chunks.start.tolist(), chunks.length.tolist(), strict=True)):
        inputs = chunks.items[start : start + length]
        targets = chunks.items[start + 1 : start + length + 1]
        assert torch.equal(batch["item_id_list"][row, :length], inputs)
        assert torch.equal(batch["item_id_target_list"][row, :length], targets)
        assert batch["item_id"][row] == targets[-1]


def test_the_prefix_scheme_gives_recboles_training_rows_and_the_same_chunks(toy_config: Any) -> None:
    histories = [[1, 2, 3, 4, 5, 6], [3, 2, 1, 4]]
    prefix = NASRDataset(toy_config(histories, train_scheme="prefix")).build()
    assert_same_rows(SequentialDataset(toy_config(histories)).build()[0], prefix[0])
    chunks = NASRDataset(toy_config(histories)).build()[0].training_chunks()
    for field in ("items", "start", "length", "group"):
        assert torch.equal(getattr(prefix[0].training_chunks(), field), getattr(chunks, field))


def test_windows_of_one_person_share_a_group(toy_config: Any, tmp_path: Any) -> None:
    config = toy_config([[1, 2, 3, 4], [2, 3, 4, 1], [3, 4, 1, 2], [4, 1, 2, 3]], group_field="source_user")
    config["load_col"] = None
    write_atomic(
        tmp_path,
        "toy.user",
        "user_id:token\tsource_user:token",
        [("u0", "a"), ("u1", "b"), ("u2", "a"), ("u3", "")],
    )
    group = NASRDataset(config).build()[0].training_chunks().group.tolist()
    assert group[0] == group[2]
    assert len({group[0], group[1], group[3]}) == 3  # u3 has no person: it is one of its own


def test_without_the_feature_every_user_is_a_group(toy_config: Any) -> None:
    chunks = (
        NASRDataset(toy_config([[1, 2, 3, 4, 5], [2, 3, 4, 1]], MAX_ITEM_LIST_LENGTH=1)).build()[0].training_chunks()
    )
    assert chunks.group.tolist() == [1, 1, 2]


def test_a_group_field_that_the_user_names_must_exist(toy_config: Any) -> None:
    config = toy_config([[1, 2, 3, 4]], group_field="sorce_user")
    config.external_config_dict["group_field"] = "sorce_user"  # as a key that the user gave
    with pytest.raises(ConfigError, match="group_field must name a user feature that is loaded, 'sorce_user' is none"):
        NASRDataset(config).build()


def test_a_group_that_is_not_a_token_is_refused(toy_config: Any, tmp_path: Any) -> None:
    write_atomic(tmp_path, "toy.user", "user_id:token\tage:float", [("u0", 3)])
    with pytest.raises(ConfigError, match="group_field"):
        NASRDataset(toy_config([[1, 2, 3, 4]], load_col=None, group_field="age")).build()


def test_only_the_training_part_has_chunks(toy_config: Any) -> None:
    for part in NASRDataset(toy_config([[1, 2, 3, 4]])).build()[1:]:
        with pytest.raises(DataError, match="training part"):
            part.training_chunks()


def test_a_sequence_of_four_items_is_enough(toy_config: Any) -> None:
    assert [len(part) for part in NASRDataset(toy_config([[1, 2, 3, 4]])).build()] == [1, 1, 1]


@pytest.mark.parametrize(
    ("histories", "part"),
    [([[1, 2, 3], [2, 3, 1]], "validation"), ([[1, 2], [3, 1]], "validation"), ([[1], [2]], "training")],
)
def test_histories_too_short_to_split_are_refused_before_training(toy_config: Any, histories: Any, part: str) -> None:
    with pytest.raises(DataError, match=f"the {part} part has none.*4 items"):
        NASRDataset(toy_config(histories)).build()


def test_a_part_that_the_split_does_not_ask_for_may_be_empty(toy_config: Any) -> None:
    config = toy_config([[1, 2, 3]], eval_args=eval_args({"LS": "test_only"}))
    assert [len(part) for part in NASRDataset(config).build()] == [1, 0, 1]


def test_an_unknown_training_scheme_is_refused(toy_config: Any) -> None:
    with pytest.raises(ConfigError, match="Did you mean 'prefix'"):
        NASRDataset(toy_config([[1, 2, 3, 4]], train_scheme="prefx")).build()


def test_recboles_loaders_batch_the_view_and_it_can_be_saved(toy_config: Any) -> None:
    config = toy_config([[1, 2, 3, 4, 5], [2, 3, 4, 1]], train_batch_size=1)
    train, valid, test = data_preparation(config, NASRDataset(config))
    for batch in pickle.loads(pickle.dumps(train)):  # noqa: S301  # our own bytes
        assert batch["item_id_target_list"].shape == batch["item_id_list"].shape == (1, 50)
    assert [len(loader.dataset) for loader in (train, valid, test)] == [2, 2, 2]


def test_benchmark_files_are_refused_with_what_to_do(tmp_path: Any, make_config: Any) -> None:
    header = "user_id:token\titem_id_list:token_seq\titem_id:token"
    for part in ("train", "valid", "test"):
        write_atomic(tmp_path, f"toy.{part}.inter", header, [("u", "a b", "c")])
    keys = {"benchmark_filename": ["train", "valid", "test"], "alias_of_item_id": ["item_id_list"]}
    with pytest.raises(DataError, match="benchmark_filename"):
        NASRDataset(make_config("toy", tmp_path, load_col=None, **keys)).build()
    for scheme in ("autoregressive", "prefix"):  # a search never uses prefixes
        config = make_config("toy", tmp_path, load_col=None, model="NASRSearch", train_scheme=scheme, **keys)
        with pytest.raises(DataError, match="NASRSearch needs whole histories"):
            NASRDataset(config).build()


CASES = "user_id:token\titem_id_list:token_seq\titem_id:token"
BENCHMARK = {"benchmark_filename": ["train", "valid", "test"], "load_col": None, "train_scheme": "prefix"}


def write_benchmark(folder: Any, header: str, rows: list[tuple[str, ...]]) -> None:
    for part in ("train", "valid", "test"):
        write_atomic(folder, f"toy.{part}.inter", header, rows)


@pytest.mark.parametrize("load", [NASRDataset, SequentialDataset, load_data], ids=["ours", "RecBole's", "a run"])
@pytest.mark.parametrize("alias", [None, ["session_id"]])
def test_benchmark_files_whose_histories_have_other_numbers_than_the_targets_are_refused(
    load: Any, alias: list[str] | None, tmp_path: Any, make_config: Any
) -> None:
    write_benchmark(tmp_path, f"{CASES}\tsession_id:token", [("u", "a b", "c", "s"), ("u", "a b c", "d", "s")])
    needed = ", ".join([*(alias or []), "item_id_list"])
    with pytest.raises(DataError, match=rf"other numbers.* but it is .*; set alias_of_item_id: \[{needed}\]"):
        load(make_config("toy", tmp_path, alias_of_item_id=alias, **BENCHMARK))


@pytest.mark.parametrize("load", [NASRDataset, SequentialDataset])
def test_with_the_alias_an_item_has_one_number_in_histories_and_targets(
    load: Any, tmp_path: Any, make_config: Any
) -> None:
    write_benchmark(tmp_path, CASES, [("u", "a b", "c"), ("u", "a b c", "d")])
    data = load(make_config("toy", tmp_path, alias_of_item_id=["item_id_list"], **BENCHMARK))
    check_numbering(data)
    assert data.inter_feat["item_id"][0] == data.inter_feat["item_id_list"][1][2]


def test_benchmark_files_are_split_already_so_one_case_of_a_person_in_each_is_enough(
    tmp_path: Any, make_config: Any
) -> None:
    write_benchmark(tmp_path, CASES, [("u", "a b", "c"), ("v", "b c", "a")])
    keys = {"alias_of_item_id": ["item_id_list"], "topk": [2], "valid_metric": "NDCG@2"}
    counts, _ = load_data(make_config("toy", tmp_path, **keys, **BENCHMARK))
    assert (counts.train_rows, counts.valid_cases, counts.test_cases) == (2, 2, 2)


@pytest.mark.parametrize("load", [NASRDataset, SequentialDataset, load_data], ids=["ours", "RecBole's", "a run"])
@pytest.mark.parametrize(("item", "also"), [("item_id", r"\."), ("sku", " and ITEM_ID_FIELD: item_id, not sku")])
def test_benchmark_files_without_histories_say_what_a_sequential_model_needs(
    load: Any, item: str, also: str, tmp_path: Any, make_config: Any
) -> None:
    write_benchmark(tmp_path, f"user_id:token\t{item}:token", [("u", "a"), ("u", "b")])
    needed = (
        r"no column 'item_id_list' is loaded; .*item_id_list:token_seq.* set alias_of_item_id: \[item_id_list\] and "
        r"load_col: \{inter: \[user_id, item_id_list, item_id\]\}"
    )
    with pytest.raises(DataError, match=needed + also):
        load(make_config("toy", tmp_path, ITEM_ID_FIELD=item, **BENCHMARK))


def test_random_order_of_the_file_does_not_change_the_rows(tmp_path: Any, make_config: Any) -> None:
    rows = [(f"u{user}", f"i{time}", 1, time) for user in range(2) for time in range(6)]
    parts = []
    for order in (rows, rows[:1] + rows[:0:-1]):
        write_atomic(tmp_path, "toy.inter", HEADER, order)
        parts.append(rows_of(NASRDataset(make_config("toy", tmp_path)).build()[0]))
    assert parts[0] == parts[1]
