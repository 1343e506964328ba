"""Whether finished runs had the same data, as far as their folders tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, zip_longest
from typing import Any

from recbole_nasr.data.vocabulary import Vocabulary
from recbole_nasr.errors import DataError
from recbole_nasr.runs.results import ITEMS_FILE
from recbole_nasr.serving.evaluations import configuration, prepared_name
from recbole_nasr.serving.saved import SavedRun


def check_same_data(runs: Sequence[SavedRun]) -> None:
    """Refuse runs whose data differ; what one of two does not tell is left aside.

    The folder of prepared data has a hash of source and options in its name, whatever folder it is in. Where it does
    not decide, the name of the data set counts, and the order of the items, which are numbered as the file has them.

    Raises:
        DataError: If they differ in that, or in the number of interactions.
    """
    for one, other in combinations(map(_Data, runs), 2):
        for what, first, second in _differences(one, other):
            msg = (
                f"Runs are compared on the same data, but {one.run.folder} and {other.run.folder} differ in their "
                f"{what}: {first} and {second}; compare runs of one data set and preparation, see --list."
            )
            raise DataError(msg)


@dataclass(frozen=True)
class _Data:
    """What a run says of its data; empty where it says nothing."""

    run: SavedRun

    @cached_property
    def prepared(self) -> str:
        return prepared_name(self.run, configuration(self.run))

    @property
    def key(self) -> str:
        return self.prepared.rpartition("-")[2]

    @property
    def name(self) -> str:
        return str(self.run.facts.get("dataset") or "")

    @property
    def interactions(self) -> Any:
        return self.run.metrics.get("data", {}).get("actions")

    @cached_property
    def items(self) -> list[str]:
        path = self.run.folder / ITEMS_FILE
        return Vocabulary.load(path).names.tolist() if path.is_file() else []


def _differences(one: _Data, other: _Data) -> Iterator[tuple[str, str, str]]:
    """Yield what differs, and the two values as text."""
    decided = bool(one.prepared and other.prepared)
    if decided and one.key != other.key:
        yield "prepared data", repr(one.prepared), repr(other.prepared)
    if None not in (one.interactions, other.interactions) and one.interactions != other.interactions:
        yield "number of interactions", f"{one.interactions:,}", f"{other.interactions:,}"
    if decided:
        return
    if one.name and other.name and one.name != other.name:
        yield "data set", repr(one.name), repr(other.name)
    if one.items and other.items and one.items != other.items:
        pairs = enumerate(zip_longest(one.items, other.items))
        number, (first, second) = next((number, names) for number, names in pairs if names[0] != names[1])
        yield f"item number {number}", _named(first), _named(second)


def _named(item: str | None) -> str:
    return "none" if item is None else repr(item)
