"""Small data sets on disk, and RecBole configurations that read them."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

import recbole_nasr  # noqa: F401  # before RecBole

HEADER = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
LOAD_COL = {"inter": ["user_id", "item_id", "rating", "timestamp"]}


def write_atomic(folder: Path, name: str, header: str, rows: Iterable[Iterable[object]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def make_config() -> Callable[..., Any]:
    """Return a function that makes a Config, quick after the first of a data set."""
    from recbole.config import Config

    bases: dict[str, Any] = {}

    def make(dataset: str, folder: Path | None = None, **keys: Any) -> Any:
        if dataset not in bases:
            with mock.patch.object(sys, "argv", ["test"]):
                bases[dataset] = Config("SASRec", dataset, config_dict={"train_neg_sample_args": None})
        config = copy.deepcopy(bases[dataset])
        config["train_scheme"] = None  # what our data set class does where the key is not set
        if folder is not None:
            config["data_path"] = str(folder)
            config["load_col"] = LOAD_COL
        for key, value in keys.items():
            config[key] = value
        return config

    return make


@pytest.fixture(scope="session")
def recbole_100k(make_config: Callable[..., Any]) -> list[Any]:
    """Return the parts that RecBole's own class makes of ml-100k with histories of 20."""
    from recbole.data.dataset import SequentialDataset

    return SequentialDataset(make_config("ml-100k", MAX_ITEM_LIST_LENGTH=20)).build()


@pytest.fixture
def toy_config(tmp_path: Path, make_config: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function: histories of items -> Config; user ``u<n>`` has the n-th, time is the position."""

    def write(histories: list[list[int]], header: str = HEADER, **keys: Any) -> Any:
        rows = [(f"u{n}", f"i{item}", 1, t) for n, items in enumerate(histories) for t, item in enumerate(items)]
        write_atomic(tmp_path, "toy.inter", header, rows)
        return make_config("toy", tmp_path, **keys)

    return write
