"""The checks of a log's values: ids, times, ratings. Each failure names the place and the remedy."""

from typing import Final

import polars as pl

from moerec.data.raw import RawLog, shortened
from moerec.data.timestamps import to_utc_ms
from moerec.errors import DataError
from moerec.types import LARGEST_VALUE

NO_ID: Final = ("", "nan", "NaN", "NAN", "null", "NULL", "None", "<NA>", "NaT")
"""Texts that stand for a missing id in exported tables."""

LONGEST_EVENT: Final = 64
_EXACT: Final = 2**53  # beyond it a float does not hold every whole number
_ID_REMEDY: Final = "Every event needs a user and an item: fill the id in, or drop the row."


def checked_columns(raw: RawLog, now_ms: int) -> tuple[pl.DataFrame, dict[str, int]]:
    """The log with checked types (`user_id`, `item_id`, `timestamp`, `event`, `value`), in file order.

    Rows in the future or without a place are left out and counted. `timestamp` is the file's order
    where the log has no times.
    """
    columns = {"user_id": ids(raw, "user"), "item_id": ids(raw, "item")}
    have = raw.frame.columns
    if "timestamp" in have:
        columns["timestamp"] = _times(raw)
    elif "place" in have:
        columns["timestamp"] = _places(raw)
    if "event" in have:
        columns["event"] = _events(raw)
    if "value" in have:
        columns["value"] = _values(raw)
    frame = pl.DataFrame(columns)
    if "timestamp" in have:
        kept = frame.filter(pl.col("timestamp") <= now_ms)
        left_out = {"future_rows": len(frame) - len(kept)}
    elif "place" in have:
        kept = frame.filter(pl.col("timestamp") >= 0)
        left_out = {"unplaced_rows": len(frame) - len(kept)}
    else:
        kept, left_out = frame, {}
    if kept.is_empty():
        (reason,) = left_out
        why = "lies in the future" if reason == "future_rows" else "has the place -1"
        raise DataError(f"every row {why}", "Check that column.", path=raw.source)
    return kept, left_out


def ids(raw: RawLog, role: str) -> pl.Series:
    """The ids of `role` as strings, none missing."""
    column = raw.frame.get_column(role)
    kind = column.dtype
    if isinstance(kind, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    elif kind.is_float():
        column = _whole_numbers(raw, role, column).cast(pl.Int64).cast(pl.String)
    elif kind.is_integer():
        column = column.cast(pl.String)
    elif kind not in (pl.String, pl.Null):
        message = f"ids of type {kind} are not supported"
        remedy = "An id is a text or a whole number."
        raise DataError(message, remedy, path=raw.source, column=raw.names.get(role, role))
    column = column.cast(pl.String).str.strip_chars()
    missing = (column.is_null() | column.is_in(NO_ID)).arg_true()
    if len(missing):
        row = int(missing[0])
        value = raw.frame.get_column(role)[row]
        raise raw.error(
            row, role, f"{_shown(value)} where the id of the {role} belongs", _ID_REMEDY
        )
    return column


def _whole_numbers(raw: RawLog, role: str, column: pl.Series) -> pl.Series:
    whole = column.is_finite() & (column == column.round()) & (column.abs() <= _EXACT)
    wrong = (~whole.fill_null(False)).arg_true()
    if len(wrong):
        row = int(wrong[0])
        message = f"{_shown(column[row])} where the id of the {role} belongs"
        remedy = "An id is a text or a whole number. " + _ID_REMEDY
        raise raw.error(row, role, message, remedy)
    return column


def _times(raw: RawLog) -> pl.Series:
    column = raw.frame.get_column("timestamp")
    times = to_utc_ms(column)
    wrong = times.is_null().arg_true()
    if len(wrong):
        row = int(wrong[0])
        message = f"{_shown(column[row])} is not a time"
        remedy = (
            "A time is epoch seconds, milliseconds, microseconds or nanoseconds, or ISO 8601 "
            "(2024-05-17T09:30:00Z). Another column: --timestamp COLUMN; "
            "rows in time order already: --timestamp none."
        )
        raise raw.error(row, "timestamp", message, remedy)
    return times


def _places(raw: RawLog) -> pl.Series:
    column = raw.frame.get_column("place")
    places = column.cast(pl.Int64, strict=False)
    wrong = places.is_null().arg_true()
    if len(wrong):
        row = int(wrong[0])
        message = f"{_shown(column[row])} is not a place in a history"
        remedy = "A place is a whole number from 0, or -1 for none."
        raise raw.error(row, "place", message, remedy)
    return places


def _events(raw: RawLog) -> pl.Series:
    column = raw.frame.get_column("event").cast(pl.String, strict=False)
    long = (column.str.len_chars() > LONGEST_EVENT).fill_null(False).arg_true()
    if len(long):
        row = int(long[0])
        message = (
            f"the event name {shortened(column[row])} has more than {LONGEST_EVENT} characters"
        )
        raise raw.error(
            row, "event", message, "Shorten it, name another column with --event, or --event none."
        )
    return column


def _values(raw: RawLog) -> pl.Series:
    column = raw.frame.get_column("value")
    values = column.cast(pl.Float64, strict=False)
    given = column.is_not_null()
    if column.dtype == pl.String:
        given &= ~column.is_in(NO_ID)
    wrong = (values.is_null() & given).arg_true()
    if len(wrong):
        row = int(wrong[0])
        message = f"{shortened(column[row])} is not a number"
        raise raw.error(
            row, "value", message, "Repair it, name another column with --value, or --value none."
        )
    values = values.set(values.is_nan(), None)
    large = (values.abs() > LARGEST_VALUE).arg_true()
    if len(large):
        row = int(large[0])
        message = f"{shortened(column[row])} is beyond {LARGEST_VALUE:,.0f}, up or down"
        raise raw.error(
            row, "value", message, "Scale the values, name another column, or --value none."
        )
    return values


def _shown(value: object) -> str:
    return "nothing" if value is None or value == "" else shortened(value)
