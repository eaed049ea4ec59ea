"""Readers of the research formats: `user item item ...` a line, with or without time gaps."""

from pathlib import Path

import polars as pl

from moerec.data.door import CheckedFile
from moerec.data.formats import UNIT_SEPARATOR
from moerec.data.raw import RawLog, shortened
from moerec.errors import DataError

_LINE = "line"


def read_sequences(file: CheckedFile) -> RawLog:
    """`user item` or `user item item ...` a line, oldest first; a user may have many lines."""
    lines = _lines(file.content)
    tokens = lines.select(_LINE, _words(pl.col("text")).alias("tokens"))
    _refuse_lonely_users(file, tokens)
    _refuse_tables(file, tokens)
    events = tokens.select(
        _LINE, user=pl.col("tokens").list.first(), item=pl.col("tokens").list.slice(1)
    ).explode("item")
    return _raw(file, events)


def read_sequences_with_gaps(file: CheckedFile) -> RawLog:
    """`user item item ...`, TAB, seconds since the event before (the first one's are since 0)."""
    parts = (
        _lines(file.content)
        .with_columns(
            pl.col("text").str.split_exact("\t", 1).struct.rename_fields(["left", "right"])
        )
        .unnest("text")
    )
    tokens = parts.select(
        _LINE,
        _words(pl.col("left")).alias("tokens"),
        _words(pl.col("right").fill_null("")).alias("gaps"),
    )
    _refuse_lonely_users(file, tokens)
    uneven = tokens.filter(pl.col("tokens").list.len() - 1 != pl.col("gaps").list.len())
    if len(uneven):
        line, words, gaps = uneven.row(0)
        message = f"{len(words) - 1} items, but {len(gaps)} time gaps"
        raise DataError(
            message, "Give one gap (in seconds) for each item.", path=file.path, line=line
        )
    events = tokens.select(
        _LINE,
        "gaps",
        user=pl.col("tokens").list.first(),
        item=pl.col("tokens").list.slice(1),
    ).explode("item", "gaps")
    return _raw(file, events.select(_LINE, "user", "item", timestamp=_seconds(file, events)))


def _lines(content: Path | bytes) -> pl.DataFrame:
    """The lines that are not blank: `line` (from 1) and `text`."""
    return (
        pl.read_csv(
            content,
            has_header=False,
            separator=UNIT_SEPARATOR,  # in no line, so that each line is one field
            quote_char=None,
            infer_schema=False,
            glob=False,
            new_columns=["text"],
        )
        .with_row_index(_LINE, offset=1)
        .with_columns(pl.col("text").str.strip_chars(" \r"))
        .filter(pl.col("text").str.len_bytes() > 0)
    )


def _words(text: pl.Expr) -> pl.Expr:
    return (
        text.str.replace_all("\t", " ", literal=True).str.split(" ").list.filter(pl.element() != "")
    )


def _refuse_lonely_users(file: CheckedFile, tokens: pl.DataFrame) -> None:
    lonely = tokens.filter(pl.col("tokens").list.len() < 2)
    if len(lonely):
        line, words = lonely.row(0)[:2]
        message = (
            f"only one field, {shortened(words[0] if words else '')}, where a user and items belong"
        )
        raise DataError(message, "Write: user item item ...", path=file.path, line=line)


def _refuse_tables(file: CheckedFile, tokens: pl.DataFrame) -> None:
    """Lines of three or more equal fields with repeating users are a table in disguise."""
    widths = tokens.get_column("tokens").list.len()
    if len(tokens) < 2 or widths.min() != widths.max() or widths.item(0) == 2:
        return
    if tokens.get_column("tokens").list.first().is_duplicated().any():
        message = f"every line has {widths.item(0)} fields and users repeat: a table without a header line?"
        remedy = "Save it as CSV with a header line (user_id, item_id, timestamp)."
        raise DataError(message, remedy, path=file.path)


def _seconds(file: CheckedFile, events: pl.DataFrame) -> pl.Series:
    """Times from the gaps; each user starts at 0 (1970)."""
    gaps = events.get_column("gaps").cast(pl.Int64, strict=False)
    wrong = (gaps.is_null() | (gaps < 0)).arg_true()
    if len(wrong):
        row = events.row(int(wrong[0]), named=True)
        message = f"{shortened(row['gaps'])} is not a time gap"
        remedy = "Time gaps are whole seconds, 0 or more."
        raise DataError(message, remedy, path=file.path, line=row[_LINE])
    table = events.select("user").with_columns(gap=gaps * 1000)
    return table.select(pl.col("gap").cum_sum().over("user").cast(pl.Datetime("ms"))).to_series()


def _raw(file: CheckedFile, events: pl.DataFrame) -> RawLog:
    lines = events.get_column(_LINE)
    return RawLog(events.drop(_LINE), str(file.path), line_of=lambda row: int(lines[row]))
