"""The interaction log: read and checked once, then trusted everywhere.

file --door--> bytes checked --readers--> RawLog --checks (here)--> Interactions
"""

import time
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from moerec.data.canonical import ordered
from moerec.data.checks import checked_columns
from moerec.data.columns import ColumnNames, choose_columns
from moerec.data.door import check_file
from moerec.data.raw import RawLog
from moerec.data.readers import read_raw
from moerec.data.report import IntakeReport
from moerec.errors import DataError, UsageError

__all__ = ["ColumnNames", "IntakeReport", "Interactions", "from_frame", "read_interactions"]

FRAME_SOURCE = "<frame>"


@dataclass(frozen=True)
class Interactions:
    """A checked log.

    `frame` has `user_id` String, `item_id` String, `timestamp` Int64 (UTC ms; without times: the
    place in the user's history, from 0), and `event` String and `value` Float64 where the log has
    them (both may be null in a row). Users stand in order of first appearance in the log, a user's
    events by time, ties in file order.
    """

    frame: pl.DataFrame
    has_time: bool
    source: str
    report: IntakeReport


def read_interactions(
    path: str | Path, columns: ColumnNames | None = None, *, now_ms: int | None = None
) -> Interactions:
    """Read a log of any supported format, gzip or not.

    `now_ms` is the time (UTC ms) after which rows are left out as future; None is the clock's.
    Raises DataError, naming file, line, column, value and remedy.
    """
    columns = columns or ColumnNames()
    return _interactions(read_raw(check_file(path), columns), now_ms)


def from_frame(
    frame: object,
    columns: ColumnNames | None = None,
    *,
    now_ms: int | None = None,
) -> Interactions:
    """The same from a Polars or a pandas DataFrame (pandas is not imported for it).

    Raises DataError; UsageError for any other object.
    """
    columns = columns or ColumnNames()
    table = _as_polars(frame)
    chosen = choose_columns(table.columns, columns, FRAME_SOURCE)
    names = {role: table.columns[place] for role, place in chosen.items()}
    roles = {role: table.get_column(name).alias(role) for role, name in names.items()}
    return _interactions(RawLog(pl.DataFrame(roles), FRAME_SOURCE, names), now_ms)


def _interactions(raw: RawLog, now_ms: int | None) -> Interactions:
    if raw.frame.is_empty():
        remedy = "Give a log with at least one event."
        raise DataError("there are no events in it", remedy, path=raw.source)
    now = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    has_time = "timestamp" in raw.frame.columns
    checked, left_out = checked_columns(raw, now)
    frame, found = ordered(checked, has_time)
    report = IntakeReport(rows=len(raw.frame), events=len(frame), **left_out, **found)
    return Interactions(frame, has_time, raw.source, report)


def _as_polars(frame: object) -> pl.DataFrame:
    if isinstance(frame, pl.DataFrame):
        return frame
    if type(frame).__module__.split(".")[0] == "pandas":
        table = pl.from_pandas(frame)  # type: ignore[call-overload]  # pandas is not imported here
        if isinstance(table, pl.DataFrame):
            return table
    message = f"a log must be a Polars or a pandas DataFrame, not {type(frame).__name__}"
    raise UsageError(message, "Build one with columns user_id, item_id, timestamp.")
