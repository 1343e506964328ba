"""Prepares raw interactions: a folder with RecBole's atomic files, the same data as arrays, and the data report.

The folder's name contains a hash of the source and the options, so a change of either leads to a new preparation. A
folder that exists is complete: it is written under another name and renamed when it is finished. If several processes
need it, one prepares and the others wait; what a killed process left behind is removed by the next.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recbole_nasr.data import download
from recbole_nasr.data.checksums import checksum
from recbole_nasr.data.compact import load_compact, save_compact
from recbole_nasr.data.locking import only_process
from recbole_nasr.data.options import PrepareOptions, filters_set, value_of
from recbole_nasr.data.order_signal import order_signal
from recbole_nasr.data.output import as_compact, write_atomic_files
from recbole_nasr.data.raw import Raw, Reading, read_raw
from recbole_nasr.data.report import (
    REPORT_FILE,
    load_report,
    make_report,
    report_text,
    save_report,
)
from recbole_nasr.data.sources import (
    PUBLISHED_SETS,
    given_source,
    local_release,
    release_of,
    wanted_files,
)
from recbole_nasr.data.splits import split_sequences
from recbole_nasr.data.titles import movie_titles, write_titles
from recbole_nasr.data.windows import Sequences, cut_sequences
from recbole_nasr.errors import ConfigError, DataError, way_out

FORMAT_VERSION = 3
"""Raised when the same source and options give other files."""

_LOG = logging.getLogger("recbole_nasr")


@dataclass(frozen=True)
class _Plan:
    """What is to be prepared; ``source`` is None if it must be downloaded first."""

    dataset: str
    options: PrepareOptions
    place: Path
    source: Path | None

    def folder(self, key: str) -> Path:
        text = json.dumps([FORMAT_VERSION, key, self.options.as_dict()], sort_keys=True)
        short = hashlib.sha256(text.encode()).hexdigest()[:8]
        return self.place / "-".join(filter(None, (self.dataset, self.options.ml_release, short)))


def is_prepared_dataset(name: str, options: Mapping[str, Any] | Any = ()) -> bool:
    """Return whether ``--dataset=name`` is made by `ensure_prepared`, not read from a folder of the user.

    Args:
        name: Name of the data set.
        options: A RecBole ``Config`` or a dictionary, where ``source`` names a file to prepare.
    """
    return name in PUBLISHED_SETS or value_of(options, "source") is not None


def is_prepared_here(options: Mapping[str, Any] | Any) -> bool:
    """Return whether the data are made by `ensure_prepared`; those of a user's own folder of that name are not.

    Args:
        options: A RecBole ``Config`` or a dictionary with ``dataset`` and ``data_path``, the data set's own folder.
    """
    folder = Path(str(options["data_path"]))
    ours = not folder.is_dir() or (folder / REPORT_FILE).is_file()
    return ours and is_prepared_dataset(options["dataset"], options)


def prepared_folder(options: Mapping[str, Any] | Any) -> Path:
    """Return the folder for these options, to be used as RecBole's ``data_path``; it need not exist yet.

    The folder is ``<data_path>/<dataset>-<release>-<key>`` with the file ``<dataset>.inter`` in it. RecBole uses
    one key for two things: the user gives the parent folder of all data sets, and a data set reads that folder with
    its own name appended. Both are accepted here, and so is the result of an earlier call: a last component that is
    the name of the data set or of a prepared folder is replaced.

    Args:
        options: A RecBole ``Config`` or a dictionary with ``data_path``, ``dataset`` (``ml`` without it) and the keys
            of ``dataset_configs/<dataset>.yaml``; missing keys take the values of that file.

    Raises:
        ConfigError: If an option cannot be used.
        DataError: If the given source does not exist.
    """
    plan = _plan(options)
    return plan.folder("to be downloaded" if plan.source is None else _checksum(plan.source, plan.place))


def prepared_key(folder: str, dataset: str) -> str:
    """Return the hash of source and options in the name of a folder of prepared data; ``""`` for any other name."""
    found = re.fullmatch(rf"{re.escape(dataset)}(-[\w.-]+)?-([0-9a-f]{{8}})", folder)
    return found[2] if found else ""


def ensure_prepared(config: Mapping[str, Any] | Any) -> Path:
    """Prepare the data set unless it is prepared, and return its folder; download the source if it is not here.

    Args:
        config: As for `prepared_folder`. If ``order_signal`` is true, the report says how informative the order is.

    Raises:
        ConfigError: If an option cannot be used.
        DataError: If the source cannot be read, nothing is left of it, or the folder cannot be written.
    """
    plan = _plan(config)
    source = plan.source
    if source is None:
        source = download.fetch(release_of(plan.dataset, plan.options.ml_release).archive, plan.place)
    key = _checksum(source, plan.place)
    folder = plan.folder(key)
    try:
        if not folder.is_dir():
            plan.place.mkdir(parents=True, exist_ok=True)
            with only_process(folder):
                if not folder.is_dir():
                    _prepare(plan, source, folder, key)
        if value_of(config, "order_signal"):
            _add_order_signal(folder)
    except OSError as error:
        msg = f"The prepared data are written to {folder}, but: {error}; {way_out(error)} or set data_path."
        raise DataError(msg) from error
    return folder


def split_settings(options: Mapping[str, Any] | Any) -> dict[str, Any]:
    """Return the part of ``eval_args`` that the preparation decides: the split by time, once the data are prepared.

    Args:
        options: A RecBole ``Config`` or a dictionary whose ``data_path`` is the prepared folder.

    Raises:
        ConfigError: If RecBole would drop rows: the cut is given by numbers of rows.
    """
    if options["split_by"] != "time" or not Path(options["data_path"]).is_dir():
        return {}
    filters = filters_set(options)
    if filters:
        msg = f"`{filters[0]}` would move the cut of split_by=time; set the filters of the preparation instead."
        raise ConfigError(msg)
    return dict(load_report(Path(options["data_path"])).split["eval_args"])


def _plan(options: Mapping[str, Any] | Any) -> _Plan:
    dataset = value_of(options, "dataset") or PUBLISHED_SETS[0]
    if dataset == "ml-100k":
        msg = "source prepares a data set of your own, and ml-100k is RecBole's; choose another name for --dataset."
        raise ConfigError(msg)
    chosen = PrepareOptions.from_config(options, dataset)
    given = Path(options["data_path"])
    ours = given.name == dataset or prepared_key(given.name, dataset)
    place = given.parent if ours else given
    if value_of(options, "source") is not None:
        if not str(options["source"]).strip():  # else the current folder, and whatever is in it
            msg = "source names the file to prepare, but it is empty (a variable that is not set?); name the file."
            raise ConfigError(msg)
        source = given_source(Path(str(options["source"])).expanduser(), dataset)
        return _Plan(dataset, replace(chosen, ml_release=""), place, source)
    return _Plan(dataset, chosen, place, local_release(release_of(dataset, chosen.ml_release), place))


def _checksum(source: Path, place: Path) -> str:
    try:
        return checksum(source, place)
    except OSError as error:
        msg = f"The source {source} must be readable, but: {error}; check the file."
        raise DataError(msg) from error


def _prepare(plan: _Plan, source: Path, folder: Path, key: str) -> None:
    options = plan.options
    _LOG.info("preparing %s from %s", plan.dataset, source)
    chosen = {role: getattr(options, f"{role}_column") for role in ("user", "item", "time")}
    chosen["separator"] = options.source_separator
    how = Reading(chosen, options.time_unit, options.lastfm_item, options.max_undecodable_rows)
    raw = read_raw(source, wanted_files(plan.dataset), how)
    sequences = cut_sequences(raw.table, options)
    _check_not_empty(raw, sequences)
    split = split_sequences(sequences, options)
    report = make_report(raw, sequences, split, options, dataset=plan.dataset, source=source.name, checksum=key)
    compact = as_compact(sequences, split, options)
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)  # of a process that was killed
    try:
        draft.mkdir()
        save_compact(compact, draft)
        write_atomic_files(compact, draft, plan.dataset)
        if plan.dataset == "ml" and (titles := movie_titles(source)):
            write_titles(draft / f"{plan.dataset}.item", titles, compact.items)
        save_report(report, draft)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    logging.getLogger().info("Prepared %s\n%s", folder, report_text(report))


def _check_not_empty(raw: Raw, sequences: Sequences) -> None:
    if len(sequences.length):
        return
    steps = ", ".join(f"{count:,} {step}" for step, count in sequences.dropped.items())
    msg = (
        f"At least one sequence must be left, but of {len(raw.table):,} interactions the filters drop {steps}; lower "
        "min_item_interactions, min_user_interactions or min_window_length."
    )
    raise DataError(msg)


def _add_order_signal(folder: Path) -> None:
    report = load_report(folder)
    if report.order_signal is None:
        save_report(replace(report, order_signal=order_signal(load_compact(folder))), folder)
