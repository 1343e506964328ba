"""RecBole's benchmark files (`benchmark_filename`): cases with their histories, which RecBole reads without checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recbole_nasr.errors import DataError

_ITEM = "item_id"  # the only name of the items with which RecBole finds their histories


def histories_field(config: Any) -> str:
    """Return the only name of a column with the histories that RecBole knows."""
    return f"{_ITEM}{config['LIST_SUFFIX']}"


def with_checks(original: Callable[[Any], None]) -> Callable[[Any], None]:
    """Return a ``_benchmark_presets`` of RecBole's ``SequentialDataset`` that says what benchmark files lack.

    It raises a DataError if no column with the histories is loaded, or as :func:`check_numbering` does.
    """

    def _benchmark_presets(self: Any) -> None:
        try:
            original(self)
        except AttributeError as error:
            if f"{_ITEM}_list_field" not in str(error):
                raise
            raise DataError(_without_histories(self.config)) from error
        check_numbering(self)

    return _benchmark_presets


def check_numbering(dataset: Any) -> None:
    """Refuse benchmark files in which an item has one number in histories and another as target.

    Args:
        dataset: A loaded data set of RecBole; one without benchmark files or histories passes.

    Raises:
        DataError: If RecBole has numbered the items of histories for themselves.
    """
    field = getattr(dataset, f"{_ITEM}_list_field", None)
    if dataset.benchmark_filename_list is None or field is None:
        return
    names = dataset.field2id_token
    if field in names and np.array_equal(names[field], names[dataset.iid_field]):
        return
    alias = [*(dataset.config["alias_of_item_id"] or []), field]
    msg = (
        f"`alias_of_item_id` must name {field!r}, the column of histories in the benchmark files of "
        f"{dataset.dataset_name!r}, or items have other numbers there than as targets, but it is "
        f"{dataset.config['alias_of_item_id']}; set alias_of_item_id: [{', '.join(alias)}]."
    )
    raise DataError(msg)


def _without_histories(config: Any) -> str:
    user, item, column = config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], histories_field(config)
    other = f" and ITEM_ID_FIELD: {_ITEM}, not {item}, with which RecBole finds no histories" if item != _ITEM else ""
    return (
        f"Benchmark files of {config['dataset']!r} need a history in each row for {config['model']}, but no column "
        f"{column!r} is loaded; write it to the files as {column}:token_seq, item ids separated by spaces, and set "
        f"alias_of_item_id: [{column}] and load_col: {{inter: [{user}, {column}, {_ITEM}]}}{other}."
    )
