"""Prepared data: the arrays, the text and RecBole's own class must give the same cases, whatever the split."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.dataset import SequentialDataset

from recbole_nasr.data import compact_loading
from recbole_nasr.data.autoregressive import NASRDataset
from recbole_nasr.data.compact import load_compact
from recbole_nasr.data.prepare import ensure_prepared
from recbole_nasr.data.report import load_report
from recbole_nasr.errors import ConfigError, DataError

from .test_lazy import assert_same_parts, assert_same_rows

SPLITS: dict[str, dict[str, Any]] = {
    "per user": {},
    "per window": {"sequence_unit": "window", "window_length": 6, "MAX_ITEM_LIST_LENGTH": 6},
    "by time": {"split_by": "time", "time_quantiles": [0.6, 0.8]},
    "by time, in windows": {"split_by": "time", "sequence_unit": "window", "window_length": 9, "window_stride": 7},
}
ODD_NAMES = ["NA", 'say "hi"', "tab\there", "50%", "null", " spaced ", "坂本", "a,b", "line\u2028end", "7_0"]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 users with 5 to 30 events among 60 items, in no order; times tie, and differ by seconds in 2020."""
    rng = np.random.default_rng(3)
    sizes = rng.integers(5, 31, 40)
    rows = [
        (f"user {user}", ODD_NAMES[item] if item < len(ODD_NAMES) else f"i{item}", 1_600_000_000 + int(time))
        for user, size in enumerate(sizes)
        for item, time in zip(rng.integers(0, 60, size), rng.integers(0, 900, size), strict=True)
    ]
    order = rng.permutation(len(rows))
    cells = ('"{}","{}",{}'.format(*(str(cell).replace('"', '""') for cell in rows[place])) for place in order)
    path = tmp_path_factory.mktemp("source") / "events.csv"
    path.write_text("\n".join(["user,item,time", *cells]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def make(source: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that makes a configuration for the events, whose data it prepares."""

    def config(model: str = "SASRec", **keys: Any) -> Any:
        common = {"data_path": str(tmp_path), "source": str(source), "train_neg_sample_args": None, "state": "ERROR"}
        made = Config(model, "events", config_dict={**common, **keys})
        made["data_path"] = str(ensure_prepared(made))
        return Config(model, "events", config_dict={**common, **keys})

    return config


@pytest.mark.parametrize("split", SPLITS)
def test_arrays_text_and_recbole_give_identical_cases(
    make: Callable[..., Any], split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = make("NASR", **SPLITS[split])
    assert compact_loading.reads_compact(config)
    arrays = NASRDataset(config)
    before = len(arrays)
    arrays_parts = arrays.build()
    monkeypatch.setattr("recbole_nasr.data.lazy.reads_compact", lambda _: False)
    text = NASRDataset(config)
    assert len(text) == before
    text_parts = text.build()
    theirs = SequentialDataset(make("SASRec", **SPLITS[split])).build()
    assert_same_parts(text_parts, arrays_parts)
    for part in (1, 2):
        assert_same_rows(theirs[part], arrays_parts[part])
        assert len(theirs[part])
    assert arrays_parts[0].item_counter == theirs[0].item_counter
    for field in ("user_id", "item_id", "source_user"):
        assert arrays.field2id_token[field].tolist() == text.field2id_token[field].tolist()
        assert arrays.field2token_id[field] == text.field2token_id[field]
    for name in ("field2type", "field2source", "field2seqlen", "field2bucketnum"):
        assert getattr(arrays, name) == getattr(text, name), name
    assert torch.equal(arrays.user_feat["source_user"], text.user_feat["source_user"])
    for name in ("start", "length", "group"):
        chunks = (part[0].training_chunks() for part in (arrays_parts, text_parts))
        assert torch.equal(*(getattr(chunk, name) for chunk in chunks)), name


def test_a_split_by_time_has_no_training_target_after_a_cut(make: Callable[..., Any], source: Path) -> None:
    config = make("SASRec", **SPLITS["by time"])
    folder = Path(config["data_path"])
    report = load_report(folder)
    parts = create_dataset(config).build()
    assert [len(part) for part in parts] == report.split["cases"]
    valid_from, test_from = report.split["cuts"]
    rows = [line.rsplit(",", 1) for line in source.read_text(encoding="utf-8").split("\n")[1:-1]]
    times = sorted(float(time) for _, time in rows)
    # A case is any event but the first of its user; those at a cut belong to the later part.
    assert sum(part_size for part_size in report.split["cases"]) == report.actions - report.sequences
    assert times[0] < valid_from < test_from <= times[-1]
    latest = [float(part.inter_feat["timestamp"].max()) for part in parts]
    first = [float(part.inter_feat["timestamp"].min()) for part in parts]
    assert latest[0] < first[1]
    assert latest[1] < first[2]


def test_every_written_time_is_exact_in_the_numbers_recbole_holds(make: Callable[..., Any]) -> None:
    for keys in SPLITS.values():
        compact = load_compact(Path(make(**keys)["data_path"]))
        assert (compact.time == np.floor(compact.time)).all()
        assert compact.time.max() < 2**24


def test_keys_that_change_what_is_read_leave_the_arrays_unread(make: Callable[..., Any]) -> None:
    for keys in ({"user_inter_num_interval": "[6,inf)"}, {"normalize_all": True}, {"load_col": {"inter": ["user_id"]}}):
        assert not compact_loading.reads_compact(make("NASR", **keys))
    assert compact_loading.reads_compact(make("NASR", load_col={"inter": ["user_id", "item_id", "timestamp"]}))


def test_recboles_filters_would_move_the_cut_and_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"`item_inter_num_interval` would move the cut of split_by=time"):
        make(**SPLITS["by time"], item_inter_num_interval="[2,inf)")


def test_two_ways_to_say_the_split_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="drop one of the two"):
        make(
            split_by="time", eval_args={"split": {"LS": "test_only"}, "order": "TO", "group_by": "user", "mode": "full"}
        )


def test_quantiles_that_leave_a_part_empty_are_refused(make: Callable[..., Any]) -> None:
    with pytest.raises(DataError, match=r"must leave cases to train, validate and test, there are 0"):
        make(split_by="time", time_quantiles=[0.0001, 0.9])


def test_damaged_arrays_say_what_to_delete(make: Callable[..., Any]) -> None:
    folder = Path(make()["data_path"])
    whole = (folder / "compact" / "item.npy").read_bytes()
    (folder / "compact" / "item.npy").write_bytes(whole[:-100])
    with pytest.raises(DataError, match="to prepare again"):
        load_compact(folder)
    shutil.rmtree(folder / "compact")
    with pytest.raises(DataError, match="to prepare again"):
        load_compact(folder)
