"""Which texts are times, and which moments; the same on every version of Python and pandas."""

from __future__ import annotations

import re
import sys
from datetime import date, datetime, timezone

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_nasr.data.lines import is_date, iso_time
from recbole_nasr.data.times import from_iso, iso_dates

MOMENT = datetime(2009, 5, 4, 23, 8, 57, tzinfo=timezone.utc).timestamp()
READ = {
    "2009-05-04": MOMENT - 83337,
    "20090504": MOMENT - 83337,
    "2009-05-04T23": MOMENT - 537,
    "2009-05-04 23:08": MOMENT - 57,
    "2009-05-04T23:08:57": MOMENT,
    "20090504T230857": MOMENT,
    "2009-05-04 23:08:57.1": MOMENT + 0.1,
    "2009-05-04 23:08:57,5": MOMENT + 0.5,
    "2009-05-04 23:08:57.1234567": MOMENT + 0.1234567,
    "2009-05-04 23:08:57.123456789": MOMENT + 0.123456789,
    "2009-05-04T23:08:57Z": MOMENT,
    "2009-05-04 23:08:57 UTC": MOMENT,
    "2009-05-04 23:08:57UTC": MOMENT,
    "2009-05-04T23:08:57+0200": MOMENT - 7200,
    "2009-05-04 23:08:57 +0200": MOMENT - 7200,
    "2009-05-04 23:08:57.5 +02:00": MOMENT - 7199.5,
    "2009-05-04T23:08:57-02": MOMENT + 7200,
    " 2009-05-04T23:08:57 ": MOMENT,
}
WORDS = ("now", "today", "tomorrow", "noon", "Sat", "epoch", "May 4 2009", "Z", "T10:30", "10:30", "-2009-05-04")
NO_TIMES = (*WORDS, "", "NaT", "nan", "04/05/2009", "4.5.2009", "1Q2009", "5", "1.5")
NO_DATES = (
    *("2009-13-01", "2009-02-29", "0000-01-01", "2009-W60", "2009-05", "2009", "2009-123", "2009-0504", "200905-04"),
    *("2009-05-04T", "2009-05-04T24:00", "2009-05-04T23:60", "2009-05-04T23:08:60", "2009-05-04T23:0857"),
    *("2009-05-04T23:08:57.", "2009-05-04T23:08:57+2", "2009-05-04T23:08:57+25", "2009-05-04T23:08:57z"),
    *("2009-05-04T23:08:57+02 UTC", "\uff12\uff10\uff10\uff19-05-04", "2009-05-04 23:08:57 tomorrow"),
)
ONLY_DATES = ("2009-W01-1", "2009-W01", "2009W011", "2009W01", "0001-01-01", "9999-12-31T23:59:59.999999")


@pytest.mark.parametrize("text", READ)
def test_an_iso_time_is_one_moment_whatever_stands_beside_it(text: str) -> None:
    assert is_date(text)
    for column in ([text], [text, "2009-05-04"], ["2009-05-04", text], [text, "2009-05-04T01:02:03.25Z", None]):
        found = from_iso(pd.Series(column, dtype=object))[column.index(text)]
        assert found == pytest.approx(READ[text], abs=1e-6)
    assert iso_dates([text])[0].timestamp() == pytest.approx(READ[text], abs=1e-6)


@pytest.mark.parametrize("text", NO_TIMES)
def test_a_word_or_a_date_of_another_form_is_no_time_also_where_it_comes_first(text: str) -> None:
    assert not is_date(text)
    assert iso_time(text).startswith("needs a time such as 2009-05-04T23:08:57Z, but is ")
    for column in ([text], [text, text], ["2009-05-04", text], [text, "2009-05-04T01:02:03.25Z"]):
        found = from_iso(pd.Series(column, dtype=object))
        assert np.isnan(found).tolist() == [one == text for one in column]
        assert iso_dates(column).isna().tolist() == [one == text for one in column]


@pytest.mark.parametrize("text", NO_DATES)
def test_what_is_in_no_calendar_or_half_a_time_is_no_date(text: str) -> None:
    assert not is_date(text)


@pytest.mark.parametrize("text", ONLY_DATES)
def test_a_date_that_pandas_does_not_read_is_one_nevertheless(text: str) -> None:
    assert is_date(text)
    assert np.isnan(from_iso(pd.Series([text]))).all()


def test_dates_that_are_no_text_are_moments_and_what_is_missing_is_none() -> None:
    for values in ([date(2009, 5, 4), None], [pd.Timestamp("2009-05-04", tz="UTC"), pd.NaT]):
        assert from_iso(pd.Series(values, dtype=object))[0] == from_iso(pd.Series(values))[0] == MOMENT - 83337
        assert np.isnan(from_iso(pd.Series(values, dtype=object))[1])
    zone = pd.Series(pd.to_datetime(["2009-05-04"])).dt.tz_localize("Etc/GMT-2")
    assert from_iso(zone)[0] == MOMENT - 83337 - 7200


def test_dates_keep_the_rows_of_their_column() -> None:
    column = pd.Series(["2009-05-04 00:00 UTC", "2009-05-05", "now"], index=[7, 7, 3])
    assert iso_dates(column).index.tolist() == [7, 7, 3]
    assert iso_dates(column).dt.day.tolist()[:2] == [4, 5]


def joined(*parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map("".join)


def digits(most: int) -> st.SearchStrategy[str]:
    return st.integers(0, most).map("{:02d}".format)


YEAR = st.integers(0, 9999).map("{:04d}".format)
DASH, COLON = st.sampled_from(["-", "-", ""]), st.sampled_from([":", ":", ""])
DATE = joined(YEAR, DASH, digits(13), DASH, digits(32)) | joined(YEAR, DASH, st.just("W"), digits(54), DASH, digits(9))
FRACTION = joined(st.sampled_from([".", ","]), st.text("0123456789", min_size=1, max_size=9))
CLOCK = joined(digits(25), COLON, digits(61), COLON, digits(61), FRACTION | st.just("")) | joined(digits(23))
ZONE = st.sampled_from(["", "Z", "UTC", " UTC", "+02", "+0200", "-02:30", "+02:00:30", "+2", "z", "+25:00"])
TEXT = DATE | joined(DATE, st.sampled_from([" ", "T", "t", "_"]), CLOCK, ZONE)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python reads fewer forms")
@given(TEXT)
def test_a_date_is_what_python_reads_since_3_11(text: str) -> None:
    try:
        expected = datetime.fromisoformat(re.sub(r" ?(Z|UTC)$", "+00:00", text))
    except ValueError:
        expected = None
    assert is_date(text) == (expected is not None)
    if expected is not None:
        assert (iso_time(text) == "") == (1678 <= expected.year <= 2261)
