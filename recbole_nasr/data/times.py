"""Converts times of any unit or format to seconds since 1970."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from recbole_nasr.data.table import Column

UNITS = {"s": 1e0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Units of numeric times, and how many make a second."""

# A time below is in seconds until the year 5138, one above in milliseconds after 1973; and so on.
_MAGNITUDES = {"s": 1e11, "ms": 1e14, "us": 1e17}

_ISO: dict[str, Any] = {"format": "ISO8601"} if int(pd.__version__.partition(".")[0]) > 1 else {}
"""For pandas 2, which otherwise takes the form of the first date to be that of all."""


def from_numbers(values: Column, unit: str) -> tuple[Column, str]:
    """Return the seconds since 1970 of numeric times, and their unit.

    Args:
        values: The times.
        unit: One of `UNITS`, or ``auto`` to infer it from the magnitude of the largest time.
    """
    if unit == "auto":
        largest = float(np.abs(values).max())
        unit = next((name for name, limit in _MAGNITUDES.items() if largest < limit), "ns")
    return (values if unit == "s" else values / UNITS[unit]), unit


def iso_dates(values: Any) -> pd.Series:
    """Return dates such as ``2009-05-04T23:08:57Z`` as moments in UTC, each read by itself; NaT for any other text."""
    plain = pd.Series(values).replace(r" ?UTC$", "Z", regex=True)
    return pd.to_datetime(plain, utc=True, errors="coerce", **_ISO)


def from_iso(values: Any) -> Column:
    """Return the seconds since 1970 (float64) of dates such as ``2009-05-04T23:08:57Z``; nan for any other text.

    Dates without a time zone are taken as UTC.
    """
    times = pd.to_datetime(values, utc=True, errors="coerce")
    if times.hasnans:  # with and without fractions in one column
        times = iso_dates(values)
    whole = pd.DatetimeIndex(times).tz_localize(None).to_numpy().astype("datetime64[ns]")
    seconds = whole.astype(np.int64) / UNITS["ns"]
    seconds[np.isnat(whole)] = np.nan
    return seconds
