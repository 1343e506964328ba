"""The model card of an exported network."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import recbole_nasr
from recbole_nasr.alignment import as_markdown
from recbole_nasr.errors import NASRError
from recbole_nasr.machine import program_words
from recbole_nasr.report.drawing import architecture_text
from recbole_nasr.report.intervals import SEED
from recbole_nasr.report.table import ranking_text
from recbole_nasr.serving.network import TopKNetwork
from recbole_nasr.serving.saved import LoadedRun
from recbole_nasr.serving.tables import run_ranks
from recbole_nasr.statistics import CONFIDENCE, is_metric_per_case, mean_and_interval, metric_per_case

_MOVIELENS_README = (
    "{name} was collected by GroupLens Research, University of Minnesota. Its README permits research use; "
    "publications must acknowledge the data set, no endorsement may be implied, and neither redistribution nor "
    "commercial use is permitted without separate permission. `items.csv` here holds its item ids and titles."
)
_MOVIELENS_OTHER = (
    "MovieLens, release {release}, by GroupLens Research, University of Minnesota: its terms are in the README that "
    "comes with the release, see https://files.grouplens.org/datasets/movielens/."
)
_LASTFM = (
    "Last.FM-1K is distributed with permission of Last.fm and available for non-commercial use, as its README says: "
    "http://ocelma.net/MusicRecommendationDataset/lastfm-1K.html."
)
_READ = {"100k": "MovieLens 100K", "1m": "MovieLens 1M"}  # the releases whose README the line above was written from


def licence(config: Mapping[str, Any] | Any) -> str:
    """Return what the publishers of a data set say about its use, or where they say it.

    Args:
        config: Configuration of a run; ``dataset``, and for ``ml`` the release or ``source``, count.
    """
    dataset = str(config["dataset"])
    if dataset == "lastfm":
        return _LASTFM
    release = str(config["ml_release"] or "") if dataset == "ml" else dataset.removeprefix("ml-")
    if dataset == "ml" and config["source"] is not None:
        release = Path(str(config["source"])).name
    elif release in _READ and dataset in ("ml", f"ml-{release}"):
        return _MOVIELENS_README.format(name=_READ[release])
    return _MOVIELENS_OTHER.format(release=release) if dataset == "ml" else _UNKNOWN_LICENCE


_UNKNOWN_LICENCE = "Not known to the program that wrote this card: whoever passes the folder on has to state it here."

_TORCH = """\
import csv

import torch

items = {{row["item"]: int(row["id"]) for row in csv.DictReader(open("items.csv", encoding="utf-8", newline=""))}}
names = {{number: item for item, number in items.items()}}
history = [items[item] for item in {history!r} if item in items][-{length}:]  # oldest first
item_seq = torch.zeros(1, {length}, dtype=torch.int64)  # any number of rows
item_seq[0, : len(history)] = torch.tensor(history)
network = torch.export.load("model.pt2").module()
ids, scores = network(item_seq, torch.tensor([len(history)]))
best = zip(ids[0].tolist(), scores[0].tolist())
print([(names[number], round(score, 3)) for number, score in best if number])
"""

_ONNX = """\
import csv

import numpy as np
import onnxruntime

items = {{row["item"]: int(row["id"]) for row in csv.DictReader(open("items.csv", encoding="utf-8", newline=""))}}
names = {{number: item for item, number in items.items()}}
history = [items[item] for item in {history!r} if item in items][-{length}:]  # oldest first
item_seq = np.zeros((1, {length}), dtype=np.int64)  # any number of rows
item_seq[0, : len(history)] = history
session = onnxruntime.InferenceSession("model.onnx")
ids, scores = session.run(None, {{"item_seq": item_seq, "item_seq_len": np.array([len(history)])}})
best = zip(ids[0].tolist(), scores[0].tolist())
print([(names[number], round(score, 3)) for number, score in best if number])
"""


def card_text(loaded: LoadedRun, file_format: str, network: TopKNetwork, facts: list[str]) -> str:
    """Return the content of ``README.md``.

    Args:
        loaded: The run.
        file_format: ``torch`` or ``onnx``.
        network: What was exported.
        facts: Parity and latency, as text.
    """
    run, config = loaded.run, loaded.config
    dataset, length = config["dataset"], loaded.max_length
    code = {"torch": _TORCH, "onnx": _ONNX}[file_format].format(
        history=loaded.vocabulary.names[1:3].tolist(), length=length
    )
    seen = "Items of the sequence are left out." if network.exclude_seen else "Items of the sequence may come again."
    command = [*program_words(), f"--export={file_format}", f"--run={run.folder}", f"--k={network.k}"]
    command += [] if network.exclude_seen else ["--exclude_seen=false"]
    parts = [
        f"# {config['model']} on {dataset}: the best {network.k} next items",
        f"A network for sequential recommendation, made with recbole-nasr {recbole_nasr.__version__}; "
        "it runs without that package.",
        "## Use",
        f"```python\n{code}```",
        f"`item_seq` is int64 `(batch, {length})`: numbers of `items.csv`, oldest first, padded with 0 on the right; "
        f"longer histories are cut to their last {length} items. `item_seq_len` is int64 `(batch,)`, each from 1 to "
        f"{length}. Out come `ids` and `scores`, `(batch, {network.k})`, best first; a score is a logit. {seen} "
        "`ids` are 0 and `scores` -inf where fewer items are left.",
        "## Data",
        _data(loaded),
        f"Licence of the data: {licence(config)}",
        "## Test results",
        _results(loaded),
        "## Architecture",
        f"```\n{architecture_text(loaded.model.architecture)}\n```",
        f"{sum(weight.numel() for weight in network.parameters()):,} parameters, width {config['hidden_size']}.",
        "## The file",
        *(f"```\n{text}\n```" for text in facts),
        "## How it was made",
        f"```\n{run.facts.get('command', 'not recorded')}\n{shlex.join(command)}\n```",
    ]
    return "\n\n".join(parts) + "\n"


def _data(loaded: LoadedRun) -> str:
    counts = loaded.run.metrics.get("data")
    items = f"{len(loaded.vocabulary) - 1:,} items"
    if not counts:
        return f"`{loaded.config['dataset']}`, {items}."
    return f"`{loaded.config['dataset']}`: {counts['sequences']:,} sequences, {items}, {counts['actions']:,} actions."


def _results(loaded: LoadedRun) -> str:
    metrics: dict[str, Any] = loaded.run.metrics.get("test", {})
    if not metrics:
        return "Not recorded."
    try:
        ranks = run_ranks(loaded.run)["rank"].to_numpy()
    except NASRError:  # such as of sampled evaluation
        ranks = None
    rows = []
    for name, value in metrics.items():
        interval = ""
        if ranks is not None and is_metric_per_case(name):
            low, high = mean_and_interval(metric_per_case(ranks, name), SEED)[1]
            interval = f"{low:.4f} to {high:.4f}"
        rows.append([name, f"{value:.4f}", interval])
    how = how_ranked(
        str(loaded.config["eval_args"]["mode"]["test"]), masks=bool(loaded.run.metrics.get("mask_history"))
    )
    by_bootstrap = "" if ranks is None else "; intervals by bootstrap over the test cases"
    table = as_markdown([["metric", "test", f"{CONFIDENCE:.0%} interval"], *rows])
    return f"{table}\n\n{how}{by_bootstrap}. One training run (seed {loaded.run.facts.get('seed', 'unknown')})."


def how_ranked(mode: str, *, masks: bool) -> str:
    """Return what the target of a test case was ranked among.

    Args:
        mode: That of RecBole's ``eval_args`` for the test.
        masks: Whether items of the history were left out of the ranking.

    Example:
        >>> how_ranked("full", masks=False)
        'All items ranked for each test case, those of the history kept in the ranking'
        >>> how_ranked("uni100", masks=False)
        'Each target ranked among 100 items drawn uniformly, not among all'
    """
    if mode == "full":
        history = "left out of" if masks else "kept in"
        return f"All items ranked for each test case, those of the history {history} the ranking"
    text = ranking_text(mode)
    return text[0].upper() + text[1:]
