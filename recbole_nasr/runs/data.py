"""The data of one run: RecBole's loaders, or one line on why they cannot be had."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole.config import Config
from recbole.data import create_dataset, data_preparation

from recbole_nasr.data.benchmark_files import check_numbering
from recbole_nasr.data.options import SHORTEST_SEQUENCE
from recbole_nasr.data.report import REPORT_FILE, load_report, report_text
from recbole_nasr.errors import ConfigError, DataError, NASRError
from recbole_nasr.runs.results import DataCounts

_LOG = logging.getLogger("recbole_nasr")


def preparation_text(folder: Path) -> str:
    """Return the report on data that were prepared here, from the folder they are in; ``""`` for other data."""
    return report_text(load_report(folder)) if (folder / REPORT_FILE).is_file() else ""


@contextmanager
def refusals(error_class: type[NASRError], what: str) -> Iterator[None]:
    """Turn an error of RecBole or torch into one of ours, in one line; ``run.log`` has the traceback.

    Args:
        error_class: Of the error that is raised instead.
        what: What could not be done.
    """
    try:
        yield
    except NASRError:
        raise
    except (ValueError, RuntimeError, TypeError, LookupError, AttributeError) as error:  # pandas 1.5 has them all
        logging.getLogger().exception(what)
        reason = f"there is no {error.args[0]!s}" if isinstance(error, KeyError) and error.args else error
        msg = f"{what}: {reason}"
        raise error_class(msg) from error


def load_data(config: Config) -> tuple[DataCounts, tuple[Any, Any, Any]]:
    """Return the sizes of the data, and RecBole's training, validation and test loader.

    Raises:
        DataError: If the data cannot be read, are benchmark files without the histories or the numbering that a model
            needs, or are too small to have all three.
        ConfigError: If they cannot be split, or measured, as asked.
    """
    with refusals(DataError, f"RecBole cannot load {config['dataset']!r}"):
        dataset = create_dataset(config)
    check_numbering(dataset)  # of a cached one too, which is not read again
    _warn_of_absent(config, dataset)
    _check_longest(config, dataset)
    if max(config["topk"]) > dataset.item_num - 1:
        msg = f"`topk` must not exceed the {dataset.item_num - 1} items there are, but is {config['topk']}."
        raise ConfigError(msg)
    if "labeled" in config["eval_args"]["mode"].values() and config["LABEL_FIELD"] not in dataset.inter_feat:
        msg = (
            f"`eval_args` of mode labeled needs the field {config['LABEL_FIELD']!r}, which {config['dataset']!r} does "
            "not have; make it from another one with `threshold`, such as {rating: 3}, or rank items with mode full."
        )
        raise ConfigError(msg)
    sizes = dataset.user_num - 1, dataset.item_num - 1, dataset.inter_num
    with refusals(ConfigError, f"RecBole cannot split {config['dataset']!r}"):
        loaders = data_preparation(config, dataset)
    cases = [len(loader.dataset) for loader in loaders]
    if not all(cases):
        msg = _too_short(config, f"the split leaves {cases} training, validation and test cases")
        raise DataError(msg)
    return DataCounts(*sizes, *cases), loaders


def _warn_of_absent(config: Config, dataset: Any) -> None:
    """Warn of fields that `load_col` names and that the files do not have, of which RecBole says nothing."""
    unwanted = config["unload_col"] or {}
    for source, fields in (config["load_col"] or {}).items():
        if source in ("inter", "user", "item") and fields != "*":
            wanted = set(fields or ()) - set(unwanted.get(source, ()))
            absent = sorted(wanted - dataset.field2type.keys())
            if absent:
                names = ", ".join(absent)
                _LOG.warning(
                    "`load_col` names %s, but the %s file of %s has no such field.", names, source, config["dataset"]
                )


def _check_longest(config: Config, dataset: Any) -> None:
    """Refuse data whose leave-one-out parts would be empty, of which RecBole says nothing."""
    if dataset.inter_num == 0:
        msg = _too_short(config, "the filters left no interaction")
        raise DataError(msg)
    if dataset.benchmark_filename_list is not None:  # which are split already
        return
    longest = int(dataset.inter_feat[dataset.uid_field].value_counts().max())
    if config["eval_args"]["split"].get("LS") == "valid_and_test" and longest < SHORTEST_SEQUENCE:
        msg = _too_short(config, f"the longest sequence has {longest}")
        raise DataError(msg)


def _too_short(config: Config, found: str) -> str:
    return (
        f"The sequences of {config['dataset']!r} are too short to split into training, validation and test "
        f"cases: leave-one-out needs {SHORTEST_SEQUENCE} interactions of one user, but {found}; "
        "use longer histories or weaker filters (`user_inter_num_interval`, `item_inter_num_interval`)."
    )
