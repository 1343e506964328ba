"""The data report: the counts of the paper's Table 1, what each step dropped, ties, lengths, the split."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from recbole_nasr.alignment import aligned
from recbole_nasr.data.counts import n_duplicates, repeated_share, tied_with_previous
from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.raw import Raw
from recbole_nasr.data.splits import TEST, TRAIN, VALID, Split
from recbole_nasr.data.table import Column, n_distinct
from recbole_nasr.data.windows import Sequences
from recbole_nasr.documents import read_document, write_whole
from recbole_nasr.errors import DataError
from recbole_nasr.progress import plural

SCHEMA, SCHEMA_VERSION = "recbole-nasr/data-report", 1

REPORT_FILE = "report.json"
TEXT_FILE = "report.txt"

PAPER = {
    "ml": ("MovieLens (paper, Table 1)", 25_417_546, 876_162, 23_515, 30),
    "lastfm": ("Last.FM (paper, Table 1)", 10_699_640, 534_982, 199_013, 20),
}
"""Name, actions, sequences, items and length of the data sets in Cheng et al., WWW 2022, Table 1."""


@dataclass(frozen=True)
class DataReport:
    """Statistics of one preparation.

    Attributes:
        dataset: Name of the data set.
        name: What was prepared, such as ``ml (100k)``.
        source: File name of the raw interactions.
        checksum: SHA-256 of that file.
        options: The options of the preparation.
        actions: Number of items in all sequences.
        sequences: Number of windows or users.
        items: Number of distinct items in the sequences.
        persons: Number of users with at least one sequence.
        length: Number of items in a full window, or in the longest history if there are no windows.
        raw: Number of interactions, users and items in the file.
        unreadable: Number of rows without an item, and of rows with bytes that are not UTF-8.
        times: Unit of the times in the file, and the first and the last time.
        dropped: Number of interactions dropped by each step, in the order of the steps.
        persons_with_tied_end: Number of users, after the filters, whose last two interactions have the same time.
        tied_share: Share of interactions with the same time as the previous one of the same user, 0..1.
        repeated_share: Share of interactions with an item that the user has interacted with before, 0..1.
        duplicates: Number of interactions that repeat user, item and time of an earlier one; they are kept.
        length_quantiles: Quantiles of the length of sequences at 0, 25, 50, 75 and 100 %.
        split: ``by``, ``cases`` for training, validation and test, ``cuts`` in time, ``eval_args`` for RecBole.
        unseen_test_share: Share of test cases whose item does not occur in training, 0..1.
        order_signal: Result of `order_signal`; None unless asked for.
    """

    dataset: str
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
    unreadable: dict[str, int]
    times: dict[str, str]
    dropped: dict[str, int]
    persons_with_tied_end: int
    tied_share: float
    repeated_share: float
    duplicates: int
    length_quantiles: dict[str, float]
    split: dict[str, Any]
    unseen_test_share: float
    order_signal: dict[str, float] | None = None


def make_report(
    raw: Raw, sequences: Sequences, split: Split, options: PrepareOptions, *, dataset: str, source: str, checksum: str
) -> DataReport:
    """Compute the statistics of a preparation.

    Args:
        raw: The interactions read.
        sequences: The sequences made of them.
        split: Which items are for training, validation and test.
        options: Options of the preparation.
        dataset: Name of the data set.
        source: File name of the raw interactions.
        checksum: SHA-256 of that file.
    """
    histories, item, length = sequences.histories, sequences.item, sequences.length
    tied = tied_with_previous(histories)
    is_last = np.append(histories.user[1:] != histories.user[:-1], True)
    quantiles = np.quantile(length, shares := [0.0, 0.25, 0.5, 0.75, 1.0])
    return DataReport(
        dataset=dataset,
        name=f"{dataset} ({options.ml_release})" if options.ml_release else dataset,
        source=source,
        checksum=checksum,
        options=options.as_dict(),
        actions=len(item),
        sequences=len(length),
        items=n_distinct(item),
        persons=n_distinct(sequences.user),
        length=options.window_length if options.sequence_unit == "window" else int(length.max()),
        raw=raw.table.counts(),
        unreadable={"without an item": raw.without_item, "not UTF-8": raw.undecodable},
        times={"unit": raw.time_unit, "first": _date(raw.table.time.min()), "last": _date(raw.table.time.max())},
        dropped=sequences.dropped,
        persons_with_tied_end=int(np.count_nonzero(tied & is_last)),
        tied_share=float(tied.mean()),
        repeated_share=repeated_share(histories),
        duplicates=n_duplicates(histories, tied),
        length_quantiles={f"{share:.0%}": float(size) for share, size in zip(shares, quantiles, strict=True)},
        split=_split_facts(split, sequences, options),
        unseen_test_share=_unseen_share(sequences, split.part),
    )


def report_text(report: DataReport) -> str:
    """Return the report as a plain table, the paper's data beside ours, and the counts below."""
    ours = (report.name, report.actions, report.sequences, report.items, report.length)
    rows: list[tuple[str, ...]] = [("data", "# actions", "# sequences", "# items", "length")]
    known = [PAPER[report.dataset]] if report.dataset in PAPER else []
    rows += [(row[0], *(f"{count:,}" for count in row[1:])) for row in (ours, *known)]
    return "\n".join([aligned(rows, rule=False), "", *(f"{name:9} {text}" for name, text in _facts(report))])


def load_report(folder: Path) -> DataReport:
    """Read the report of a prepared folder.

    Raises:
        DataError: If there is none, or it cannot be read.
        NewerFileError: If a newer version wrote it.
    """
    path = folder / REPORT_FILE
    try:
        report = DataReport(**read_document(path, SCHEMA, SCHEMA_VERSION))
        _check_split(report)
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} must be a data report, but: {error}; delete the folder to prepare again."
        raise DataError(msg) from error
    return report


def save_report(report: DataReport, folder: Path) -> None:
    """Write the report into ``folder``, as JSON and as text; an earlier one is replaced in one step."""
    content = {"schema": SCHEMA, "schema_version": SCHEMA_VERSION, **asdict(report)}
    for name, text in ((REPORT_FILE, json.dumps(content, indent=2)), (TEXT_FILE, report_text(report))):
        write_whole(folder / name, (text + "\n").encode("utf-8"))


def _check_split(report: DataReport) -> None:
    """Validate the part of a report that settings are taken from."""
    if not isinstance(report.split, dict) or not isinstance(report.split.get("eval_args"), dict):
        msg = "its split must have eval_args"
        raise ValueError(msg)  # noqa: TRY004 - a damaged file, whatever is in it


def _facts(report: DataReport) -> list[tuple[str, str]]:
    """Return the facts below the table, each with its name."""
    raw, cases, unreadable = report.raw, report.split["cases"], report.unreadable
    windows = report.options["sequence_unit"] == "window"
    unit = "histories are cut into windows, RecBole's user is a window" if windows else "a sequence is a whole history"
    ties, repeats = report.persons_with_tied_end, report.duplicates
    facts = [
        (
            "raw",
            f"{raw['interactions']:,} interactions, {raw['users']:,} users, {raw['items']:,} items ({report.source})",
        ),
        ("times", f"{report.times['first']} to {report.times['last']}, in the file as {report.times['unit']}"),
        ("dropped", "interactions: " + ", ".join(f"{count:,} {step}" for step, count in report.dropped.items())),
        ("kept", f"{report.persons:,} {plural(report.persons, 'person')}; {unit}"),
        ("lengths", ", ".join(f"{share} {length:g}" for share, length in report.length_quantiles.items())),
        (
            "ties",
            f"{report.tied_share:.1%} of the interactions have the time of the one before (kept in file order); "
            f"{ties:,} {'history ends' if ties == 1 else 'histories end'} in a tie",
        ),
        (
            "repeats",
            f"{report.repeated_share:.1%} of the interactions are with an item the person had before; "
            f"{repeats:,} {'row repeats' if repeats == 1 else 'rows repeat'} user, item and time of another (kept)",
        ),
        (
            "split",
            f"{report.split['by']}: {cases[TRAIN]:,} training, {cases[VALID]:,} validation, {cases[TEST]:,} test "
            f"cases; the item of {report.unseen_test_share:.1%} of the test cases is not in training",
        ),
    ]
    if any(unreadable.values()):
        facts.append(
            ("unread", ", ".join(f"{count:,} {plural(count, 'row')} {what}" for what, count in unreadable.items()))
        )
    if report.order_signal:
        facts.append(("order", _order_text(report.order_signal)))
    if windows and report.options["window_stride"] < report.length:
        facts.append(("warning", "the windows overlap: an item tested in one window is trained on in another"))
    return facts


def _order_text(signal: dict[str, float]) -> str:
    true, shuffled, cases = signal["true"], signal["shuffled"], signal["cases"]
    error = float(np.sqrt((true * (1 - true) + shuffled * (1 - shuffled)) / max(cases, 1)))
    return (
        f"a first-order Markov model has {true:.4f} of the test items among its first ten, {shuffled:.4f} after "
        f"shuffling every sequence (standard error of the difference {error:.4f})"
    )


def _date(seconds: float, form: str = "%Y-%m-%d") -> str:
    try:
        return datetime.fromtimestamp(float(seconds), timezone.utc).strftime(form)
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g} s"


def _split_facts(split: Split, sequences: Sequences, options: PrepareOptions) -> dict[str, Any]:
    cases = np.bincount(split.part, minlength=3) - np.bincount(split.part[sequences.start], minlength=3)
    by = f"leave-one-out per {options.sequence_unit}"
    if split.cuts:
        cuts = " and ".join(_date(cut, "%Y-%m-%d %H:%M") for cut in split.cuts)
        by = f"by time at {cuts} UTC, a sequence per {options.sequence_unit}"
    return {"by": by, "cases": cases.tolist(), "cuts": list(split.cuts), "eval_args": split.eval_args}


def _unseen_share(sequences: Sequences, part: Column) -> float:
    item, tested = sequences.item, part == TEST
    tested[sequences.start] = False  # no cases
    trained = np.bincount(item[part == TRAIN], minlength=int(item.max()) + 1) > 0
    return float((~trained[item[tested]]).mean())
