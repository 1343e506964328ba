"""One tiny data set with everything that some model of RecBole asks for, and quick runs on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pytest
from recbole.quick_start import run_recbole

ITEMS, STEPS, USERS = 10, 6, 8

COMMON: dict[str, Any] = {
    "hidden_size": 8,
    "MAX_ITEM_LIST_LENGTH": 5,
    "epochs": 1,
    "train_batch_size": 16,
    "metrics": ["NDCG", "Recall"],
    "topk": [3],
    "valid_metric": "NDCG@3",
    "metric_decimal_place": 12,
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "class"]},
    "show_progress": False,
    "state": "ERROR",
}
OURS = {**COMMON, "architecture": "transformer_h2", "n_layers": 2, "n_blocks": 1}
THEIRS = {**COMMON, "embedding_size": 8, "inner_size": 8, "n_layers": 1, "n_heads": 2, "train_neg_sample_args": None}
SETTINGS = {"NASR": OURS, "SASRec": THEIRS, "GRU4Rec": THEIRS}


def _write(folder: Path, suffix: str, header: str, rows: Iterable[Iterable[object]]) -> None:
    lines = [header.replace(" ", "\t"), *("\t".join(map(str, row)) for row in rows)]
    (folder / f"tiny.{suffix}").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data_path of ``tiny``: 8 users who walk around 10 items, item features, and a knowledge graph."""
    folder = tmp_path_factory.mktemp("data") / "tiny"
    folder.mkdir()
    vector = " ".join(f"{0.1 * j:.1f}" for j in range(8))
    walks = [(f"u{user}", f"i{(user + step) % ITEMS}", step) for user in range(USERS) for step in range(STEPS)]
    _write(folder, "inter", "user_id:token item_id:token timestamp:float", walks)
    kinds = [(f"i{item}", f"c{item % 3} d{item % 2}") for item in range(ITEMS)]
    _write(folder, "item", "item_id:token class:token_seq", kinds)
    _write(folder, "link", "item_id:token entity_id:token", [(f"i{item}", f"e{item}") for item in range(ITEMS)])
    edges = [(f"e{node}", f"r{node % 2}", f"e{(node + 1) % 12}") for node in range(12)]
    _write(folder, "kg", "head_id:token relation_id:token tail_id:token", edges)
    _write(folder, "ent", "ent_id:token ent_vec:float_seq", [(f"e{node}", vector) for node in range(12)])
    _write(folder, "rel", "rel_id:token rel_vec:float_seq", [(f"r{kind}", vector) for kind in range(2)])
    return folder.parent


@pytest.fixture(autouse=True)
def _no_measured_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole ends every run by watching the processor for a second (utils.py:426)."""
    monkeypatch.setattr(psutil, "cpu_percent", lambda **_: 0.0)


@pytest.fixture
def run(tiny: Path) -> Callable[..., dict[str, Any]]:
    """Return a function that runs a model on ``tiny`` with RecBole's `run_recbole`."""

    def run_model(model: str, settings: dict[str, Any] | None = None, **keys: Any) -> dict[str, Any]:
        config = {"data_path": str(tiny), **(settings or SETTINGS[model]), **keys}
        return dict(run_recbole(model, "tiny", config_dict=config))

    return run_model
