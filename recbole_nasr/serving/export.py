"""A network as a folder that a server can load without this package: the file, its items, and what to know about it."""

from __future__ import annotations

import csv
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from recbole_nasr.configuration import MODELS
from recbole_nasr.errors import ConfigError, NumericalError
from recbole_nasr.machine import device_name
from recbole_nasr.serving.card import card_text
from recbole_nasr.serving.network import (
    FORMATS,
    Runner,
    TopKNetwork,
    check_format,
    eager_runner,
    file_runner,
    random_histories,
    write_network,
)
from recbole_nasr.serving.recommender import Recommender
from recbole_nasr.serving.saved import LoadedRun, find_run, load_run
from recbole_nasr.serving.tables import aligned

BATCHES = (1, 32, 1024)
"""Sizes whose latency is measured."""

TOLERANCE = 1e-4
"""Largest difference of a score between file and network, relative to the largest score if that is above 1."""

_PARITY_ROWS = 256
_SECONDS_PER_LATENCY = 0.5
_FEWEST_RUNS = 5


def export_run(
    run: str | Path,
    file_format: str,
    target: Path | None = None,
    *,
    k: int = 10,
    exclude_seen: bool = True,
    say: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Export the network of a run, check that the file gives what the network gives, and measure both.

    Args:
        run: Its folder or checkpoint.
        file_format: ``torch`` (a `torch.export` program, read with torch alone) or ``onnx`` (read without torch).
        target: Folder to make; ``<run>/export-<format>`` without it.
        k: Items that the file returns.
        exclude_seen: Leave out the items of the sequence that it is given.
        say: Takes lines of text for the user.

    Returns:
        The folder.

    Raises:
        ConfigError: If the format, run, ``k`` or folder cannot be used, or the model is not one of ours.
        NumericalError: If the file gives other results than the network; nothing is kept then.
    """
    check_format(file_format)
    folder = find_run(run).folder / f"export-{file_format}" if target is None else target
    if folder.exists():
        msg = f"The folder {folder} exists and is not overwritten; name another with --output, or delete it."
        raise ConfigError(msg)
    if not folder.parent.is_dir():
        msg = f"There is no folder {folder.parent} to export into; make it first."
        raise ConfigError(msg)
    loaded = load_run(run, "cpu")
    if not loaded.is_ours:
        msg = (
            f"--export is for the networks of {' and '.join(MODELS)}, but {run} is {loaded.config['model']} of "
            "RecBole; --recommend works with it."
        )
        raise ConfigError(msg)
    Recommender(loaded).check_k(k)
    network = TopKNetwork(loaded.model.network, k, exclude_seen=exclude_seen).eval()
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        draft.mkdir()
        say(f"exporting {loaded.config['model']} on {loaded.config['dataset']} as {FORMATS[file_format]}")
        facts = _write(network, loaded, file_format, draft)
        for text in facts:
            say("\n" + text)
        (draft / "README.md").write_text(card_text(loaded, file_format, network, facts), encoding="utf-8")
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    say(f"\nwritten to {folder}")
    return folder


def _write(network: TopKNetwork, loaded: LoadedRun, file_format: str, folder: Path) -> list[str]:
    """Fill ``folder`` but for the model card; return what parity and latency turned out to be."""
    n_items, max_length = len(loaded.vocabulary), loaded.max_length
    path = write_network(network, file_format, max_length, folder)
    loaded.model.architecture.save(folder / "architecture.json", {"dataset": loaded.config["dataset"]})
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(loaded.vocabulary.header())
        writer.writerows(loaded.vocabulary.rows())
    eager, exported = eager_runner(network), file_runner(path)
    parity = parity_text(eager, exported, max_length, n_items)
    return [parity, latency_text(eager, exported, file_format, max_length, n_items)]


def parity_text(eager: Runner, exported: Runner, max_length: int, n_items: int) -> str:
    """Compare both on random histories of all lengths, in a batch and alone; return the result as one line.

    Raises:
        NumericalError: If a score differs by more than :data:`TOLERANCE`.
    """
    item_seq, item_seq_len = random_histories(max(_PARITY_ROWS, max_length), max_length, n_items)
    ids, scores = eager(item_seq, item_seq_len)
    largest, n_same = 0.0, 0
    for rows in (slice(None), slice(0, 1)):
        other_ids, other_scores = exported(item_seq[rows], item_seq_len[rows])
        with np.errstate(invalid="ignore"):  # -inf - -inf, where nothing is left to recommend
            difference = np.where(scores[rows] == other_scores, 0.0, np.abs(scores[rows] - other_scores))
        largest = max(largest, float(difference.max()))
        n_same += int((ids[rows] == other_ids).all(axis=1).sum())
    scale = max(1.0, float(np.abs(scores[np.isfinite(scores)]).max()))
    n_rows = len(item_seq) + 1
    text = f"parity: {n_rows} random histories, the same items in {n_same}, largest difference of a score {largest:.1e}"
    if not largest <= TOLERANCE * scale:
        msg = f"The exported file must give the scores of the network, but {text}; nothing was kept."
        raise NumericalError(msg)
    return text


def latency_text(eager: Runner, exported: Runner, file_format: str, max_length: int, n_items: int) -> str:
    """Measure both runners on this machine; return a table of the median milliseconds of a batch."""
    rows = [["batch", "network in PyTorch, ms", f"{FORMATS[file_format]}, ms", "histories/s"]]
    for size in BATCHES:
        batch = random_histories(size, max_length, n_items)
        before, after = (_milliseconds(run, *batch) for run in (eager, exported))
        rows.append([f"{size:,}", f"{before:.2f}", f"{after:.2f}", f"{1000 * size / after:,.0f}"])
    machine = f"{device_name(torch.device('cpu'))}, torch threads: {torch.get_num_threads()}"
    title = f"latency on {machine}; sequences of {max_length}, {n_items - 1:,} items"
    return f"{title}\n{aligned(rows, left=())}"


def _milliseconds(run: Runner, item_seq: np.ndarray, item_seq_len: np.ndarray) -> float:
    run(item_seq, item_seq_len)
    taken: list[float] = []
    while len(taken) < _FEWEST_RUNS or sum(taken) < _SECONDS_PER_LATENCY:
        start = time.perf_counter()
        run(item_seq, item_seq_len)
        taken.append(time.perf_counter() - start)
    return 1000 * median(taken)
