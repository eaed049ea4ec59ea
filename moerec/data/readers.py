"""Readers of tables: CSV and its relatives, JSON lines, Parquet."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from moerec.data.columns import ColumnNames, choose_columns
from moerec.data.door import CheckedFile
from moerec.data.formats import MOVIELENS, UNIT_SEPARATOR, Kind, Layout, first_lines, recognise
from moerec.data.raw import RawLog, shortened
from moerec.data.sequence_readers import read_sequences, read_sequences_with_gaps
from moerec.data.table_lines import TableLines
from moerec.errors import DataError


def read_raw(file: CheckedFile, names: ColumnNames) -> RawLog:
    """Read a log of whatever format it is. Raises DataError."""
    layout = recognise(file, names)
    match layout.kind:
        case Kind.SEQUENCES:
            return read_sequences(file)
        case Kind.SEQUENCES_WITH_GAPS:
            return read_sequences_with_gaps(file)
        case Kind.JSON_LINES:
            return _read_json_lines(file, names)
        case Kind.PARQUET:
            return _read_parquet(file, names)
        case Kind.TABLE:
            return _read_table(file, layout, names)


def _read_table(file: CheckedFile, layout: Layout, names: ColumnNames) -> RawLog:
    chosen = choose_columns(layout.header, names, file.path)
    frame = read_text_columns(file, layout, sorted(chosen.values()))
    by_place = dict(zip(sorted(chosen.values()), frame.columns, strict=True))
    columns = {role: frame.get_column(by_place[place]) for role, place in chosen.items()}
    lines = TableLines(file, layout)
    log = RawLog(
        pl.DataFrame({role: series.alias(role) for role, series in columns.items()}),
        str(file.path),
        {role: layout.header[place] for role, place in chosen.items()},
        lines.line_of,
    )
    return _without_blank_lines(log, lines)


def read_text_columns(
    file: CheckedFile, layout: Layout, places: Sequence[int] | None = None
) -> pl.DataFrame:
    """The columns at `places` (all, if None) of a text table as strings; a blank line is all null."""
    content: Path | bytes = file.content
    separator = layout.separator
    if separator == MOVIELENS:  # Polars takes one byte between fields
        content, separator = file.read().replace(b"::", UNIT_SEPARATOR.encode()), UNIT_SEPARATOR
    try:
        return pl.read_csv(
            content,
            columns=places,
            has_header=layout.header_line > 0,
            separator=separator,
            quote_char='"' if layout.quoted else None,
            infer_schema=False,
            glob=False,
        )
    except pl.exceptions.PolarsError as cause:
        TableLines(file, layout).refuse_first_broken()
        first = str(cause).splitlines()[0]
        message = f"this table cannot be read ({first})"
        raise DataError(message, "Check quotes and separators.", path=file.path) from None


def _without_blank_lines(log: RawLog, lines: TableLines) -> RawLog:
    """A blank line reads as a row without ids: dropped here; other such rows are refused later."""
    empty = log.frame.select(
        (pl.col("user").is_null() | pl.col("item").is_null()).arg_true()
    ).to_series()
    blank = lines.blank_among(empty.to_list())
    if not blank:
        return log
    kept = pl.int_range(len(log.frame), eager=True).is_in(blank).not_()
    rows = kept.arg_true()
    return RawLog(
        log.frame.filter(kept), log.source, log.names, lambda row: lines.line_of(int(rows[row]))
    )


def _read_json_lines(file: CheckedFile, names: ColumnNames) -> RawLog:
    header = json_header(file)
    chosen = choose_columns(header, names, file.path)
    schema = {header[place]: pl.String() for place in chosen.values()}
    frame = read_json_columns(file, schema)
    roles = {role: frame.get_column(header[place]).alias(role) for role, place in chosen.items()}
    log = RawLog(
        pl.DataFrame(roles),
        str(file.path),
        {role: header[place] for role, place in chosen.items()},
        lambda row: _json_line_of(file, row),
    )
    _refuse_nested_ids(log)
    return log


def json_header(file: CheckedFile) -> list[str]:
    """The names in the first objects of a JSON lines file, in order of first appearance."""
    header: dict[str, None] = {}
    for number, line in first_lines(file.head):
        header.update(dict.fromkeys(_json_object(file, number, line)))
    return list(header)


def read_json_columns(file: CheckedFile, schema: Mapping[str, pl.DataType] | None) -> pl.DataFrame:
    """The columns of `schema` (None: all, types inferred) of a JSON lines file."""
    packed = isinstance(file.content, bytes)
    try:
        with io.BytesIO(file.read()) if packed else file.path.open("rb") as lines:
            return pl.read_ndjson(lines, schema=schema, infer_schema_length=None)
    except pl.exceptions.PolarsError as cause:
        for number, line in enumerate(file.open(), start=1):
            if line.strip():
                _json_object(file, number, line)
        first = str(cause).splitlines()[0]
        raise DataError(f"cannot be read as JSON lines ({first})", "", path=file.path) from None


def _json_object(file: CheckedFile, number: int, line: str | bytes) -> dict[str, object]:
    try:
        value = json.loads(line, parse_constant=_refuse_constant)
    except _NotJsonError as cause:
        remedy = "Write null, or drop the row; an id must be there."
        raise DataError(f"{cause} is not JSON", remedy, path=file.path, line=number) from None
    except json.JSONDecodeError as cause:
        message = f"this is not JSON: {cause.msg}"
        remedy = "Write one whole JSON object a line."
        raise DataError(message, remedy, path=file.path, line=number, column=cause.colno) from None
    if not isinstance(value, dict):
        remedy = 'Write one JSON object a line: {"user_id": ..., "item_id": ..., "timestamp": ...}'
        raise DataError(
            f"{shortened(value)} is not a JSON object", remedy, path=file.path, line=number
        )
    return value


class _NotJsonError(Exception):
    """NaN and Infinity: Python reads and writes them, JSON has no such thing."""


def _refuse_constant(name: str) -> None:
    raise _NotJsonError(name)


def _json_line_of(file: CheckedFile, row: int) -> int:
    filled = (number for number, line in enumerate(file.open(), start=1) if line.strip())
    return next(number for place, number in enumerate(filled) if place == row)


def _refuse_nested_ids(log: RawLog) -> None:
    for role in ("user", "item"):
        column = log.frame.get_column(role)
        nested = (column.str.contains(r"^[\[{]") | column.is_in(["true", "false"])).arg_true()
        if len(nested):
            row = int(nested[0])
            message = f"{shortened(column[row])} is not an id"
            raise log.error(row, role, message, "An id is a text or a whole number.")


def _read_parquet(file: CheckedFile, names: ColumnNames) -> RawLog:
    try:
        with file.path.open("rb") as content:
            header = list(pl.read_parquet_schema(content))
        chosen = choose_columns(header, names, file.path)
        frame = pl.read_parquet(
            file.path, columns=[header[place] for place in set(chosen.values())], glob=False
        )
    except (pl.exceptions.PolarsError, OSError) as cause:
        first = str(cause).splitlines()[0]
        message = f"this Parquet file cannot be read ({first})"
        raise DataError(message, "Write it again; it may be cut off.", path=file.path) from None
    roles = {role: frame.get_column(header[place]).alias(role) for role, place in chosen.items()}
    shown = {role: header[place] for role, place in chosen.items()}
    return RawLog(pl.DataFrame(roles), str(file.path), shown)
