"""The split into training, validation and test, and the times written so that RecBole splits in the same way.

RecBole holds times as float32, in which seconds since 1970 are 128 apart and nearby events tie. Integers up to 2**24
are exact, so only such numbers are written; rows are written in their true order, and RecBole's sorts are stable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recbole_nasr.data.options import PrepareOptions
from recbole_nasr.data.table import Column
from recbole_nasr.data.windows import Sequences
from recbole_nasr.errors import DataError

TRAIN, VALID, TEST = 0, 1, 2

_EXACT = 2**24  # whole numbers below are exact in float32


@dataclass(frozen=True)
class Split:
    """A split of the items of all sequences.

    Attributes:
        part: ``(T,)`` int8, `TRAIN`, `VALID` or `TEST`. The first item of a sequence is never a case.
        time: ``(T,)`` int32, the number that is written as time.
        eval_args: Settings of RecBole for this split: ``split`` and ``group_by``.
        cuts: Seconds since 1970 at which validation and test begin; empty for leave-one-out.
    """

    part: Column
    time: Column
    eval_args: dict[str, object]
    cuts: tuple[float, ...] = ()


def split_sequences(sequences: Sequences, options: PrepareOptions) -> Split:
    """Split by leave-one-out or by time, as the options say.

    Raises:
        DataError: If a part would have no case.
    """
    if options.split_by == "time":
        return _by_time(sequences, options.time_quantiles)
    position = sequences.position
    from_end = np.repeat(sequences.length, sequences.length) - 1 - position
    part = np.where(from_end == 0, TEST, np.where(from_end == 1, VALID, TRAIN)).astype(np.int8)
    return Split(part, position.astype(np.int32), {"split": {"LS": "valid_and_test"}, "group_by": "user"})


def _by_time(sequences: Sequences, quantiles: tuple[float, float]) -> Split:
    """Cut all sequences at the same two points in time.

    The rank of the time is written in its place. RecBole sorts all rows by it and cuts after given numbers of rows: its
    ratio split without groups, with numbers of rows as ratios. An interaction at a cut belongs to the later part.
    """
    time = sequences.histories.time[sequences.row]
    cuts = np.quantile(time, quantiles, method="higher")
    part = np.searchsorted(cuts, time, side="right").astype(np.int8)
    distinct, rank = np.unique(time, return_inverse=True)
    coarse = -(-len(distinct) // (_EXACT - 3))
    cases = np.ones(len(time), bool)
    cases[sequences.start] = False  # nothing to predict it from
    counts = np.bincount(part[cases], minlength=3)
    if not counts.all():
        msg = (
            f"time_quantiles={list(quantiles)} must leave cases to train, validate and test, there are "
            f"{counts[TRAIN]:,}, {counts[VALID]:,} and {counts[TEST]:,}; choose others."
        )
        raise DataError(msg)
    # Quarters, because RecBole rounds down after dividing by the sum and multiplying with it.
    rows = [float(counts[TRAIN]) - 0.5, float(counts[VALID]) + 0.25, float(counts[TEST]) + 0.25]
    written = (rank // coarse + part).astype(np.int32)  # coarse ranks must not tie across a cut
    return Split(part, written, {"split": {"RS": rows}, "group_by": "none"}, tuple(map(float, cuts)))
