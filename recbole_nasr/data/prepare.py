"""Raw interactions -> a folder with RecBole's atomic files and the data report.

The folder's name holds a key of the source and the options, so that a change of either prepares anew and a
folder that exists is complete: it is written under another name and renamed when it is done.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.report import make_report, report_text, save_report
from recbole_nasr.data.sources import checksum, movielens
from recbole_nasr.data.windows import Windows, cut_windows
from recbole_nasr.errors import DataError

PREPARED = ("ml",)
"""Names of the data sets that are made here, not found in a folder of the user."""

FORMAT_VERSION = 1
"""Raised when the same source and options give other files."""


def is_prepared_dataset(name: str) -> bool:
    """Return whether ``--dataset=name`` is made by `ensure_prepared`, not read from a folder of the user."""
    return name in PREPARED


def prepared_folder(options: Mapping[str, Any] | Any) -> Path:
    """Return the folder for these options, to be used as RecBole's ``data_path``; it need not exist yet.

    The folder is ``<data_path>/ml-<release>-<key>`` with the file ``ml.inter`` in it. RecBole has one key for two
    things: what the user gives is the parent of all data sets, what a data set reads is the parent with the name
    of the data set joined to it. Both are understood here, and so is the result of an earlier call: a last
    component that is the name of the data set or of a prepared folder is replaced.

    Args:
        options: A RecBole ``Config`` or a dictionary with ``data_path``, and the keys of
            ``dataset_configs/ml.yaml``; keys that are missing have the values of that file.

    Raises:
        ConfigError: If an option cannot be used.
        DataError: If the release cannot be read.
    """
    chosen = PrepareOptions.from_config(options)
    return _folder(options, chosen, checksum(movielens(chosen.ml_release).locate()))


def ensure_prepared(config: Mapping[str, Any] | Any) -> Path:
    """Prepare the data set unless that is done, and return its folder.

    Two processes may do it at once: each writes a folder of its own, the first rename wins, the other is
    discarded.

    Args:
        config: As for `prepared_folder`.

    Raises:
        ConfigError: If an option cannot be used.
        DataError: If the source cannot be read, no window is left, or the folder cannot be written.
    """
    chosen = PrepareOptions.from_config(config)
    release = movielens(chosen.ml_release)
    source = release.locate()
    key = checksum(source)
    folder = _folder(config, chosen, key)
    if folder.is_dir():
        return folder
    raw = release.read(source)
    result = cut_windows(raw, chosen)
    _check_not_empty(raw, result)
    report = make_report(raw, result, chosen, source=source.name, checksum=key)
    draft = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        draft.mkdir(parents=True)
        _write_atomic_files(result.windows, draft)
        save_report(report, draft)
        _publish(draft, folder)
    except OSError as error:
        msg = f"The prepared data are written to {folder}, but: {error}; free space there or set data_path."
        raise DataError(msg) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    logging.getLogger().info("Prepared %s\n%s", folder, report_text(report))
    return folder


def _folder(options: Mapping[str, Any] | Any, chosen: PrepareOptions, source_key: str) -> Path:
    text = json.dumps([FORMAT_VERSION, source_key, chosen.as_dict()], sort_keys=True)
    key = hashlib.sha256(text.encode()).hexdigest()[:8]
    name = f"ml-{chosen.ml_release}-{key}"
    given = Path(options["data_path"])
    parent = given.parent if given.name in (*PREPARED, name) else given
    return parent / name


def _check_not_empty(raw: pd.DataFrame, result: Windows) -> None:
    if len(result.windows):
        return
    msg = (
        f"At least one window must be left, but of {len(raw):,} interactions {len(result.after_items):,} are "
        f"left without rare items, {len(result.histories):,} without rare users, 0 in windows; "
        "lower min_item_interactions, min_user_interactions or min_window_length."
    )
    raise DataError(msg)


def _write_atomic_files(windows: pd.DataFrame, folder: Path) -> None:
    """Write ``ml.inter`` and ``ml.user``.

    The time is the position in the window: RecBole holds times as float32, in which seconds since 1970 are
    128 apart and neighbouring events tie, while small whole numbers are exact. A split by time would need the
    time itself.
    """
    name = windows["user"] + "_" + windows["window"].astype(str)
    inter = pd.DataFrame(
        {
            "user_id:token": name,
            "item_id:token": windows["item"],
            "timestamp:float": windows["position"],
        }
    )
    inter.to_csv(folder / "ml.inter", sep="\t", index=False)
    users = pd.DataFrame({"user_id:token": name, "source_user:token": windows["user"]}).drop_duplicates()
    users.to_csv(folder / "ml.user", sep="\t", index=False)


def _publish(draft: Path, folder: Path) -> None:
    try:
        draft.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise
