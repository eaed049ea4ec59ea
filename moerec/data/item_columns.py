"""The columns of an item file as words: which kind each one is, and what it says of every item."""

from collections.abc import Callable
from typing import Final

import numpy as np
import polars as pl

from moerec.data.feature_recipe import Column, Kind

FEW_NUMBERS: Final = 16
"""Up to this many different numbers, each is a feature of its own; above, they share ten buckets."""

_DECILES: Final = np.linspace(0.1, 0.9, 9)
_WORD: Final = r"[\p{L}\p{N}]+"


def kinds_of(frame: pl.DataFrame) -> list[Column]:
    """How the columns of an item table are read. A text column may be read in two ways.

    A text that names groups (half of its values repeat, like a brand) counts as a whole too. What is
    neither text, number, time nor a list of texts is left out, and so is the id.
    """
    columns = []
    for name in frame.columns:
        if name != "item_id":
            columns += _kinds(frame.get_column(name))
    return columns


def features_of(frame: pl.DataFrame, columns: list[Column]) -> pl.DataFrame:
    """What the items have, long: `row` UInt32, `feature` String ("brand=value:acme"), no repeats.

    A column that the frame lacks counts as missing in every row.
    """
    parts = [_read(frame, column) for column in columns]
    empty = pl.DataFrame(schema={"row": pl.UInt32, "feature": pl.String})
    return pl.concat([empty, *parts]).unique(maintain_order=True)


def _kinds(column: pl.Series) -> list[Column]:
    column = _plain(column)
    dtype = column.dtype
    if isinstance(dtype, pl.List):
        return [Column(column.name, "list")] if dtype.inner == pl.String else []
    numbers = _numbers(column)
    if numbers is not None:
        edges = _edges(numbers.drop_nulls().to_numpy())
        return [Column(column.name, "number", edges)] if edges else []
    if dtype != pl.String:
        return []
    filled = _tidy(column).drop_nulls()
    kinds: list[Kind] = []
    if 2 * filled.n_unique() <= len(filled):
        kinds.append("value")
    if not kinds or (filled.str.count_matches(_WORD) > 1).any():
        kinds.append("words")
    return [Column(column.name, kind) for kind in kinds] if len(filled) else []


def _edges(numbers: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, ...]:
    if len(numbers) == 0:
        return ()
    different = np.unique(numbers)
    if len(different) > FEW_NUMBERS:
        different = np.unique(np.quantile(numbers, _DECILES))
    return tuple(different.tolist())


def _numbers(column: pl.Series) -> pl.Series | None:
    """Float64, null where there is no finite number; None for a column of something else."""
    if column.dtype in (pl.Date, pl.Datetime):
        return column.cast(pl.Datetime("ms")).cast(pl.Int64).cast(pl.Float64)
    if column.dtype.is_numeric() or column.dtype == pl.Boolean:
        numbers = column.cast(pl.Float64)
        return numbers.set(~numbers.is_finite(), None)
    if column.dtype != pl.String:
        return None
    text = _tidy(column)
    numbers = text.cast(pl.Float64, strict=False)
    numbers = numbers.set(~numbers.is_finite(), None)
    return numbers if (numbers.is_null() == text.is_null()).all() else None


def _plain(column: pl.Series) -> pl.Series:
    """Text also where a Parquet file has it as codes, as pandas writes a "category"."""
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        return column.cast(pl.String)
    return column


def _tidy(column: pl.Series) -> pl.Series:
    """Lower case without blanks around; null for what is empty."""
    text = column.str.strip_chars().str.to_lowercase()
    return text.set(text == "", None)


def _read(frame: pl.DataFrame, column: Column) -> pl.DataFrame:
    if column.name in frame.columns:
        series = _plain(frame.get_column(column.name))
    else:
        series = pl.Series(column.name, [None] * len(frame), dtype=pl.String)
    found = pl.DataFrame({"row": pl.int_range(len(frame), dtype=pl.UInt32, eager=True)})
    found = found.with_columns(_READERS[column.kind](series, column).alias("feature"))
    if found.schema["feature"] == pl.List(pl.String):
        found = found.explode("feature")
    prefix = pl.lit(f"{column.name}={column.kind}:")
    return found.drop_nulls().with_columns(feature=prefix + pl.col("feature"))


def _read_list(series: pl.Series, _: Column) -> pl.Series:
    if not isinstance(series.dtype, pl.List):
        series = series.cast(pl.String).str.split("|")
    return series.cast(pl.List(pl.String))


def _read_words(series: pl.Series, _: Column) -> pl.Series:
    return _tidy(series.cast(pl.String)).str.extract_all(_WORD)


def _read_value(series: pl.Series, _: Column) -> pl.Series:
    return _tidy(series.cast(pl.String))


def _read_number(series: pl.Series, column: Column) -> pl.Series:
    numbers = _numbers(series)
    if numbers is None:  # this file has words where the first one had numbers
        numbers = pl.Series(series.name, [None] * len(series), dtype=pl.Float64)
    bucket = np.searchsorted(column.edges, numbers.fill_null(0.0).to_numpy(), side="right")
    names = pl.Series(series.name, bucket).cast(pl.String)
    return names.set(numbers.is_null(), "missing")


_READERS: Final[dict[Kind, Callable[[pl.Series, Column], pl.Series]]] = {
    "list": _read_list,
    "words": _read_words,
    "value": _read_value,
    "number": _read_number,
}
