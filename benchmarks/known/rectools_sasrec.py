"""RecTools' side of ``sasrec.py``: train its SASRec, write the rank of every case at every evaluated epoch.

Runs in an environment of its own (``pip install 'rectools[torch]'``) and needs nothing of recbole-nasr. Everything that
is not given on the command line is RecTools' default.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from importlib.metadata import version

import pandas as pd
from pytorch_lightning import Trainer, seed_everything
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

CUT = 20
"""Ranks are exact up to here; a case further down, or with an item that training has not, has rank ``CUT + 1``."""


def main() -> None:
    """Train, and write ``--output``: a JSON with the ranks of validation and test cases per evaluated epoch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", required=True, help="CSV: user_id, item_id, position, part (train, valid, test)")
    parser.add_argument("--output", required=True)
    for name in ("width", "length", "blocks", "heads", "batch", "epochs", "eval-step", "seed"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--dropout", type=float, required=True)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    rows = pd.read_csv(asked.cases, dtype={"user_id": str, "item_id": str})
    seed_everything(asked.seed, verbose=False)
    model = SASRecModel(
        n_factors=asked.width,
        session_max_len=asked.length,
        n_blocks=asked.blocks,
        n_heads=asked.heads,
        dropout_rate=asked.dropout,
        batch_size=asked.batch,
        loss="softmax",
        deterministic=True,
        get_trainer_func=_trainer,
    )
    train = _dataset(rows, ["train"])
    seen, before_test = _dataset(rows, ["train"]), _dataset(rows, ["train", "valid"])
    epochs, seconds = [], 0.0
    for done in range(asked.eval_step, asked.epochs + 1, asked.eval_step):
        start = time.perf_counter()
        model.fit_partial(train, min_epochs=asked.eval_step, max_epochs=asked.eval_step)
        seconds += time.perf_counter() - start
        ranks = {"valid": _ranks(model, seen, rows, "valid"), "test": _ranks(model, before_test, rows, "test")}
        epochs.append({"epoch": done, "ranks": ranks})
    n_parameters = sum(part.numel() for part in model.torch_model.parameters())
    facts = {name: version(name) for name in ("rectools", "torch", "pytorch-lightning")}
    with open(asked.output, "w", encoding="utf-8") as file:  # noqa: PTH123 - this side has no house style to keep
        json.dump({"versions": facts, "seconds": seconds, "n_parameters": n_parameters, "epochs": epochs}, file)


def _trainer() -> Trainer:
    return Trainer(
        accelerator="cpu",
        max_epochs=1,
        deterministic=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        logger=False,
        enable_checkpointing=False,
    )


def _dataset(rows: pd.DataFrame, parts: list[str]) -> Dataset:
    chosen = rows[rows["part"].isin(parts)]
    table = pd.DataFrame(
        {
            Columns.User: chosen["user_id"],
            Columns.Item: chosen["item_id"],
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2000-01-01") + pd.to_timedelta(chosen["position"], unit="s"),
        }
    )
    return Dataset.construct(table)


def _ranks(model: SASRecModel, history: Dataset, rows: pd.DataFrame, part: str) -> dict[str, int]:
    """Return the rank of the case of every user, nothing masked."""
    targets = rows[rows["part"] == part].set_index("user_id")["item_id"]
    found = model.recommend(users=targets.index.to_numpy(), dataset=history, k=CUT, filter_viewed=False)
    hits = found[found[Columns.Item].to_numpy() == targets.loc[found[Columns.User]].to_numpy()]
    ranks = dict.fromkeys(targets.index, CUT + 1)
    ranks.update(zip(hits[Columns.User], hits[Columns.Rank].astype(int).tolist(), strict=True))
    return ranks


if __name__ == "__main__":
    main()
