"""What the data are: counts in the columns of the paper's Table 1, what each step dropped, ties, lengths."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.windows import Windows
from recbole_nasr.errors import DataError

REPORT_FILE = "report.json"

PAPER_MOVIELENS = ("MovieLens (paper, Table 1)", 25_417_546, 876_162, 23_515, 30)
"""Name, actions, sequences, items and length of MovieLens in Cheng et al., WWW 2022, Table 1."""


@dataclass(frozen=True)
class DataReport:
    """Counts of one preparation.

    Attributes:
        name: What was prepared, such as ``ml (100k)``.
        source: File name of the raw interactions.
        checksum: SHA-256 of that file.
        options: The options of the preparation.
        actions: Interactions in the windows.
        sequences: Windows.
        items: Different items in the windows.
        persons: Users with at least one window.
        length: Items in a full window.
        raw: Interactions, users and items in the file.
        dropped: Interactions dropped by each step, in the order of the steps.
        persons_with_tied_end: Users, after the filters, whose last two interactions have the same time.
        tied_share: Share of the interactions that have the same time as the one before of the same user,
            0..1.
        repeated_share: Share of the interactions with an item that the user had before, 0..1.
        length_quantiles: Length of the windows at 0, 25, 50, 75 and 100 %.
    """

    name: str
    source: str
    checksum: str
    options: dict[str, Any]
    actions: int
    sequences: int
    items: int
    persons: int
    length: int
    raw: dict[str, int]
    dropped: dict[str, int]
    persons_with_tied_end: int
    tied_share: float
    repeated_share: float
    length_quantiles: dict[str, float]


def make_report(
    raw: pd.DataFrame, result: Windows, options: PrepareOptions, *, source: str, checksum: str
) -> DataReport:
    """Count what a preparation did.

    Args:
        raw: The interactions that were read.
        result: What became of them.
        options: Options of the preparation.
        source: File name of the raw interactions.
        checksum: SHA-256 of that file.
    """
    histories, windows = result.histories, result.windows
    tied = (histories["time"] == histories["time"].shift()) & (histories["user"] == histories["user"].shift())
    last = ~histories["user"].duplicated(keep="last")
    lengths = windows.groupby(["user", "window"], sort=False).size()
    quantiles = lengths.quantile([0.0, 0.25, 0.5, 0.75, 1.0])
    return DataReport(
        name=f"ml ({options.ml_release})",
        source=source,
        checksum=checksum,
        options=options.as_dict(),
        actions=len(windows),
        sequences=len(lengths),
        items=windows["item"].nunique(),
        persons=windows["user"].nunique(),
        length=options.window_length,
        raw={"interactions": len(raw), "users": raw["user"].nunique(), "items": raw["item"].nunique()},
        dropped={
            "rare items": len(raw) - len(result.after_items),
            "rare users": len(result.after_items) - len(histories),
            "in no window": len(histories) - windows["row"].nunique(),
        },
        persons_with_tied_end=int((tied & last).sum()),
        tied_share=float(tied.mean()),
        repeated_share=float(histories.duplicated(["user", "item"]).mean()),
        length_quantiles={f"{share:.0%}": float(length) for share, length in quantiles.items()},
    )


def report_text(report: DataReport) -> str:
    """Return the report as a plain table with the paper's MovieLens beside it, and the counts below."""
    ours = (report.name, report.actions, report.sequences, report.items, report.length)
    rows: list[tuple[str, ...]] = [("data", "# actions", "# sequences", "# items", "length")]
    rows += [(row[0], *(f"{count:,}" for count in row[1:])) for row in (ours, PAPER_MOVIELENS)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    dropped = ", ".join(f"{count:,} {step}" for step, count in report.dropped.items())
    quantiles = ", ".join(f"{share} {length:g}" for share, length in report.length_quantiles.items())
    raw = report.raw
    lines += [
        "",
        f"raw       {raw['interactions']:,} interactions, {raw['users']:,} users, {raw['items']:,} items "
        f"({report.source})",
        f"dropped   interactions: {dropped}",
        f"kept      {report.persons:,} persons; histories are cut into windows, RecBole's user is a window",
        f"lengths   {quantiles}",
        f"ties      {report.tied_share:.1%} of the interactions have the time of the one before "
        f"(kept in file order); {report.persons_with_tied_end:,} histories end in a tie",
        f"repeats   {report.repeated_share:.1%} of the interactions are with an item the person had before",
    ]
    if report.options["window_stride"] < report.length:
        lines.append("warning   the windows overlap: an item tested in one window is trained on in another")
    return "\n".join(lines)


def load_report(folder: Path) -> DataReport:
    """Read the report of a prepared folder.

    Raises:
        DataError: If there is none, or it cannot be read.
    """
    path = folder / REPORT_FILE
    try:
        return DataReport(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} must be a data report, but: {error}; delete the folder to prepare again."
        raise DataError(msg) from error


def save_report(report: DataReport, folder: Path) -> None:
    """Write the report into ``folder``."""
    (folder / REPORT_FILE).write_text(json.dumps(asdict(report), indent=2) + "\n", encoding="utf-8")
