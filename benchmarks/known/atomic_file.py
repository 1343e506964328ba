"""The histories in an atomic file of RecBole."""

from __future__ import annotations

import csv
from pathlib import Path


def histories(inter: Path) -> dict[str, list[str]]:
    """Return the items of every user in order of time; those of one time stay as in the file, as in RecBole."""
    found: dict[str, list[tuple[float, str]]] = {}
    with inter.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter="\t")
        names = [name.partition(":")[0] for name in next(reader)]
        user, item, moment = (names.index(name) for name in ("user_id", "item_id", "timestamp"))
        for row in reader:
            found.setdefault(row[user], []).append((float(row[moment]), row[item]))
    return {name: [item for _, item in sorted(pairs, key=lambda pair: pair[0])] for name, pairs in found.items()}
