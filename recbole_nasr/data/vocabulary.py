"""The items of a data set by their number in a network: original ids, and titles where there are any."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from recbole_nasr.data.item_files import item_titles
from recbole_nasr.data.report import REPORT_FILE
from recbole_nasr.data.table import Column
from recbole_nasr.errors import DataError
from recbole_nasr.unpacking import DAMAGE, bounded

_CODED = re.compile(r"%(2028|2029|[0-9A-F]{2})")
_HEADER = ("id", "item", "title")


@dataclass(frozen=True)
class Vocabulary:
    """Items by number; number 0 is padding.

    Args:
        names: ``(n_items,)`` original ids as text; the first is empty.
        titles: ``(n_items,)`` titles, empty for an item without one; None if no item has one.
    """

    names: Column
    titles: Column | None = None
    _index: pd.Index = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", pd.Index(self.names))

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, dataset: Any) -> Vocabulary:
        """Return the items of a RecBole data set; titles come from its ``.item`` file."""
        names = np.array(dataset.field2id_token[dataset.iid_field], dtype=object)
        if has_safe_names(dataset.config):
            names = np.array([original_name(name) for name in names], dtype=object)
        names[0] = ""
        return cls(names, _titles(dataset.config, names))

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read the file ``items.csv.gz`` of a run folder.

        Raises:
            DataError: If it cannot be read.
        """
        try:
            with gzip.open(path) as file:
                plain = bounded(file, str(path), path.stat().st_size)
                table = pd.read_csv(plain, dtype=str, keep_default_na=False).fillna("")  # of rows that are cut off
            names = np.array(["", *table["item"]], dtype=object)
            titles = np.array(["", *table["title"]], dtype=object) if "title" in table else None
        except (OSError, ValueError, KeyError, *DAMAGE) as error:
            msg = f"{path} must be the items of a run, but: {error}; delete it to read the run's data set instead."
            raise DataError(msg) from error
        return cls(names, titles)

    def numbers(self, names: Column) -> Column:
        """Return the number of each original id, int64; 0 for an unknown id.

        A whole number that is no id is what data write with a point, as pandas does with ids beside a missing one.
        """
        numbers = self._index.get_indexer(names)
        unknown = np.flatnonzero(numbers < 0)
        numbers[unknown] = self._index.get_indexer([f"{name}.0" for name in names[unknown]])
        return np.where((numbers < 0) | (names == ""), 0, numbers).astype(np.int64)

    def knows(self, name: str) -> bool:
        """Return whether there is an item of this original id; see :meth:`numbers`."""
        return bool(self.numbers(np.array([name], dtype=object))[0])

    def header(self) -> tuple[str, ...]:
        """Return the names of the columns of :meth:`rows`."""
        return _HEADER[: 2 if self.titles is None else 3]

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield number, original id and title of every item except padding."""
        columns = [self.names] if self.titles is None else [self.names, self.titles]
        return zip(range(1, len(self)), *(column[1:] for column in columns), strict=True)


def has_safe_names(config: Any) -> bool:
    """Return whether names in a data set are as our preparation has written them."""
    return (Path(config["data_path"]) / REPORT_FILE).is_file()


def original_name(name: str) -> str:
    """Undo :func:`recbole_nasr.data.atomic.safe_names`."""
    return "" if name == "%" else _CODED.sub(lambda found: chr(int(found[1], 16)), name)


def _titles(config: Any, names: Column) -> Column | None:
    found = item_titles(config)
    return None if found is None else np.array([found.get(name, "") for name in names], dtype=object)
