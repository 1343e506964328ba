"""A network as a folder that a server can load without this package: the file, its items, and what to know about it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from recbole_nasr.configuration.values import MODELS
from recbole_nasr.data.locking import not_at_once
from recbole_nasr.documents import write_rows
from recbole_nasr.errors import ConfigError
from recbole_nasr.serving.card import card_text
from recbole_nasr.serving.measured import checked_parity, latency_text, measure_latency
from recbole_nasr.serving.network import (
    FORMATS,
    TopKNetwork,
    check_format,
    eager_runner,
    file_runner,
    write_network,
)
from recbole_nasr.serving.recommender import Recommender
from recbole_nasr.serving.saved import LoadedRun, find_run, load_run


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
        ConfigError: If the format, run, ``k`` or folder cannot be used, another process exports into it, or the model
            is not one of ours.
        NumericalError: If the file gives other results than the network; nothing is kept then.
    """
    check_format(file_format)
    folder = find_run(run).folder / f"export-{file_format}" if target is None else target
    _refuse_existing(folder)
    if not folder.parent.is_dir():
        msg = f"There is no folder {folder.parent} to export into; make it first."
        raise ConfigError(msg)
    if not os.access(folder.parent, os.W_OK):
        msg = f"The folder {folder.parent} cannot be written; name another place for the export with --output."
        raise ConfigError(msg)
    loaded = load_run(run, "cpu")
    if not loaded.is_ours:
        msg = (
            f"--export writes the networks of {' and '.join(MODELS)}, but {run} is {loaded.config['model']} of "
            "RecBole, which reads RecBole's own Interaction objects; use --recommend, which works with it, or train "
            "--model=NASR --architecture=sasrec-1, nextitnet-1 or gru4rec and export that."
        )
        raise ConfigError(msg)
    Recommender(loaded).check_k(k)
    network = TopKNetwork(loaded.model.network, k, exclude_seen=exclude_seen).eval()
    with not_at_once(folder), _draft_of(folder) as draft:
        say(f"exporting {loaded.config['model']} on {loaded.config['dataset']} as {FORMATS[file_format]}")
        facts = _write(network, loaded, file_format, draft)
        for text in facts:
            say("\n" + text)
        (draft / "README.md").write_text(card_text(loaded, file_format, network, facts), encoding="utf-8")
    say(f"\nwritten to {folder}")
    return folder


def _refuse_existing(folder: Path) -> None:
    if folder.exists():
        msg = f"The folder {folder} exists and is not overwritten; name another with --output, or delete it."
        raise ConfigError(msg)


@contextmanager
def _draft_of(folder: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes ``folder`` at the end, or is gone after an error."""
    _refuse_existing(folder)  # another process may have made it while the run was loaded
    draft = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        draft.mkdir()
        yield draft
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write(network: TopKNetwork, loaded: LoadedRun, file_format: str, folder: Path) -> list[str]:
    """Fill ``folder`` but for the model card; return what parity and latency turned out to be."""
    n_items, max_length = len(loaded.vocabulary), loaded.max_length
    path = write_network(network, file_format, max_length, folder)
    loaded.model.architecture.save(folder / "architecture.json", {"dataset": loaded.config["dataset"]})
    with (folder / "items.csv").open("w", encoding="utf-8", newline="") as file:
        write_rows(file, loaded.vocabulary.header(), loaded.vocabulary.rows())
    eager, exported = eager_runner(network), file_runner(path)
    parity = checked_parity(eager, exported, max_length, n_items).text()
    measured = measure_latency(eager, exported, max_length, n_items)
    return [parity, latency_text(measured, FORMATS[file_format], max_length, n_items)]
