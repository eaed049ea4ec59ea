"""Times in every usual writing become UTC milliseconds."""

import datetime as dt

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.data.timestamps import to_utc_ms

MOMENT = dt.datetime(2024, 5, 17, 9, 30, 15, 250_000, tzinfo=dt.UTC)
MOMENT_MS = 1_715_938_215_250
SECOND_MS = 1_715_938_215_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1715938215", SECOND_MS),
        (" 1715938215 ", SECOND_MS),
        ("1715938215.25", MOMENT_MS),
        ("1.715938215e9", SECOND_MS),
        ("1715938215250", MOMENT_MS),
        ("1715938215250999", MOMENT_MS),
        ("1715938215250999999", MOMENT_MS),
        ("2024-05-17T09:30:15.250Z", MOMENT_MS),
        ("2024-05-17 09:30:15.25", MOMENT_MS),
        ("2024-05-17T11:30:15.250+02:00", MOMENT_MS),
        ("2024-05-17T04:30:15-0500", SECOND_MS),
        ("2024-05-17T09:30:15", SECOND_MS),
        ("2024-05-17 09:30", SECOND_MS - 15_000),
        ("2024-05-17T09:30Z", SECOND_MS - 15_000),
        ("2024-05-17", SECOND_MS - 15_000 - (9 * 60 + 30) * 60_000),
        ("0", 0),
        ("-5", -5000),
    ],
)
def test_texts(text: str, expected: int) -> None:
    assert to_utc_ms(pl.Series([text])).to_list() == [expected]


@pytest.mark.parametrize(
    "text", ["yesterday", "", "2024-13-01", "17/05/2024", "nan", "inf", "9:30", None]
)
def test_what_is_no_time_becomes_null(text: str | None) -> None:
    assert to_utc_ms(pl.Series([text, text], dtype=pl.String)).to_list() == [None, None]
    assert to_utc_ms(pl.Series(["1715938215", text])).to_list() == [SECOND_MS, None]


def test_writings_of_iso_may_be_mixed() -> None:
    raw = pl.Series(
        ["2024-05-17", "2024-05-17T09:30:15.250Z", "x", "2024-05-17T11:30:15.250+02:00"]
    )
    assert to_utc_ms(raw).to_list()[1:] == [MOMENT_MS, None, MOMENT_MS]


@pytest.mark.parametrize(
    "raw",
    [
        pl.Series([MOMENT]),
        pl.Series([MOMENT.astimezone(dt.timezone(dt.timedelta(hours=2)))]),
        pl.Series([MOMENT.replace(tzinfo=None)]),
        pl.Series([MOMENT.replace(tzinfo=None)], dtype=pl.Datetime("ns")),
        pl.Series([MOMENT_MS * 1_000_000], dtype=pl.UInt64),
        pl.Series([MOMENT_MS / 1000]),
    ],
)
def test_typed_columns(raw: pl.Series) -> None:
    assert to_utc_ms(raw).to_list() == [MOMENT_MS]


def test_dates_are_midnight_utc() -> None:
    assert to_utc_ms(pl.Series([dt.date(1970, 1, 2), None])).to_list() == [86_400_000, None]


def test_other_types_are_no_times() -> None:
    assert to_utc_ms(pl.Series([True, False])).to_list() == [None, None]


def test_the_unit_is_of_the_column_not_of_the_row() -> None:
    """A few early events in milliseconds (1970) look like seconds; the column knows better."""
    assert to_utc_ms(pl.Series([5, MOMENT_MS, MOMENT_MS])).to_list() == [5, MOMENT_MS, MOMENT_MS]


def test_far_sentinels_do_not_overflow() -> None:
    far = to_utc_ms(pl.Series([1, 2, 3, 2**62, -(2**62)])).to_list()
    assert far[:3] == [1000, 2000, 3000]
    assert far[3] > 2**61
    assert far[4] < -(2**61)


@given(st.datetimes(dt.datetime(1971, 1, 1), dt.datetime(2200, 1, 1)), st.integers(-14, 14))
def test_iso_texts_round_trip(moment: dt.datetime, hours: int) -> None:
    moment = moment.replace(tzinfo=dt.timezone(dt.timedelta(hours=hours)))
    expected = (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)
    assert to_utc_ms(pl.Series([moment.isoformat()])).to_list() == [expected]
