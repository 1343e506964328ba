"""Converts times of any unit or format to seconds since 1970."""

from __future__ import annotations

import re
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

_COMMA = re.compile(r"(:\d\d|[T ]\d{6}),(?=\d)")  # before the fraction of a second


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
    """Return dates such as ``2009-05-04T23:08:57Z`` as moments in UTC, each read by itself; NaT for any other text.

    Dates without a time zone are taken as UTC.
    """
    column = pd.Series(values)
    if pd.api.types.is_datetime64_any_dtype(column):
        return pd.to_datetime(column, utc=True)
    texts = column.astype(object)
    dates = _dates(texts)
    unread = dates.isna() & texts.notna()
    if unread.any():
        plain = texts.where(unread, None).map(_as_pandas_reads)
        dates = dates.fillna(_dates(plain))
    return dates


def _dates(texts: pd.Series) -> pd.Series:
    """Return the dates that begin with a year; pandas takes ``now`` for the present, and ``10:30`` for today."""
    years = np.char.isdecimal(texts.to_numpy().astype("U4"))
    return pd.to_datetime(texts.where(years, None), utc=True, errors="coerce", **_ISO)


def _as_pandas_reads(value: Any) -> Any:
    """Return a text without outer spaces, with ``Z`` for ``UTC`` and a point for a comma; any other value as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    text = f"{text[:-3].rstrip()}Z" if text.endswith("UTC") else text
    return _COMMA.sub(r"\1.", text) if "," in text else text


def from_iso(values: Any) -> Column:
    """Return the seconds since 1970 (float64) of dates as `iso_dates` reads them; nan for any other text."""
    whole = pd.DatetimeIndex(iso_dates(values)).tz_localize(None).to_numpy().astype("datetime64[ns]")
    seconds = whole.astype(np.int64) / UNITS["ns"]
    seconds[np.isnat(whole)] = np.nan
    return seconds
