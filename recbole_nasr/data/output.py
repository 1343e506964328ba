"""The output of a preparation: the sequences in RecBole's codes, and RecBole's atomic files of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from recbole_nasr.data.atomic import safe_names, write_atomic
from recbole_nasr.data.compact import Compact
from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.splits import Split
from recbole_nasr.data.table import by_appearance
from recbole_nasr.data.windows import Sequences


def as_compact(sequences: Sequences, split: Split, options: PrepareOptions) -> Compact:
    """Return sequences and split in RecBole's codes: names are numbered in order of first appearance."""
    table = sequences.histories
    item, items = by_appearance(sequences.item)
    person, persons = by_appearance(sequences.user)
    person_names = safe_names(table.users[persons])
    names = person_names[person]
    if options.sequence_unit == "window":
        names = names + "_" + sequences.window.astype(str).astype(object)
    return Compact(
        length=sequences.length,
        person=person + 1,
        item=item + 1,
        time=split.time,
        part=split.part,
        sequences=names,
        items=safe_names(table.items[items]),
        persons=person_names,
    )


def write_atomic_files(compact: Compact, folder: Path, dataset: str) -> None:
    """Write ``<dataset>.inter`` and ``<dataset>.user``, which RecBole's own models read."""
    sequence = np.repeat(np.arange(len(compact.length), dtype=np.int32), compact.length)
    times = np.arange(int(compact.time.max()) + 1).astype(str)
    write_atomic(
        folder / f"{dataset}.inter",
        ("user_id:token", "item_id:token", "timestamp:float"),
        ((compact.sequences, sequence), (compact.items, compact.item - 1), (times, compact.time)),
    )
    write_atomic(
        folder / f"{dataset}.user",
        ("user_id:token", "source_user:token"),
        ((compact.sequences, np.arange(len(compact.length))), (compact.persons, compact.person - 1)),
    )
