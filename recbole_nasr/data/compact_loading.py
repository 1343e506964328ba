"""Fills a RecBole data set from the prepared arrays, exactly as RecBole would from the atomic files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils.enum_type import FeatureSource, FeatureType

from recbole_nasr.data.compact import Compact, has_compact
from recbole_nasr.data.options import EMPTY, RECBOLE_FILTERS
from recbole_nasr.data.table import Column

_INTER = ("user_id", "item_id", "timestamp")
_PERSON = "source_user"

# Keys that change what RecBole reads or keeps; where one is set the text is read.
_CHANGING = (
    *RECBOLE_FILTERS,
    "additional_feat_suffix",
    "alias_of_item_id",
    "alias_of_user_id",
    "benchmark_filename",
    "discretization",
    "normalize_all",
    "normalize_field",
    "numerical_features",
    "preload_weight",
    "threshold",
    "unload_col",
)


def reads_compact(config: Any) -> bool:
    """Return whether the data of a configuration exist as arrays, and the arrays have all that it asks for."""
    columns = config["load_col"] or {}
    asked = set(columns.get("inter", ())) == set(_INTER) and columns.keys() <= {"inter", "user"}
    asked &= set(columns.get("user", ("user_id", _PERSON))) == {"user_id", _PERSON}
    names = (config["USER_ID_FIELD"], config["ITEM_ID_FIELD"], config["TIME_FIELD"])
    changed = any(config[key] not in EMPTY for key in _CHANGING)
    return names == _INTER and asked and not changed and has_compact(Path(config["data_path"]))


def fill_from_compact(dataset: Any, compact: Compact) -> None:
    """Set fields, names and tables of a data set under construction.

    Args:
        dataset: A RecBole ``Dataset`` whose configuration `reads_compact`.
        compact: The arrays.
    """
    user, item, time = _INTER
    _add_field(dataset, user, FeatureSource.USER_ID, compact.sequences)
    _add_field(dataset, item, FeatureSource.ITEM_ID, compact.items)
    _add_field(dataset, time, FeatureSource.INTERACTION)
    size = len(compact.length)
    columns = {
        user: np.repeat(np.arange(1, size + 1), compact.length),
        item: compact.item.astype(np.int64),
        time: np.array(compact.time),
    }
    dataset.inter_feat = pd.DataFrame(columns, copy=False)
    dataset.user_feat = dataset.item_feat = None
    if "user" in dataset.config["load_col"]:
        _add_field(dataset, _PERSON, FeatureSource.USER, compact.persons)
        persons = np.concatenate(([0], compact.person)).astype(np.int64)
        dataset.user_feat = pd.DataFrame({user: np.arange(size + 1), _PERSON: persons})


def _add_field(dataset: Any, field: str, source: FeatureSource, names: Column | None = None) -> None:
    """Declare a field: a token with the given names, or a number without them."""
    dataset.field2source[field] = source
    dataset.field2seqlen[field] = 1
    dataset.field2type[field] = FeatureType.FLOAT if names is None else FeatureType.TOKEN
    if names is None:
        dataset.field2bucketnum[field] = 2
        return
    tokens = np.array(["[PAD]", *names])
    dataset.field2id_token[field] = tokens
    dataset.field2token_id[field] = {token: code for code, token in enumerate(tokens)}
