"""The item file: what an item is called, its categories, and any other columns."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import polars as pl

from moerec.data.checks import ids
from moerec.data.columns import SPELLINGS, ColumnNames, simplified
from moerec.data.door import CheckedFile, check_file
from moerec.data.formats import (
    MOVIELENS,
    UNIT_SEPARATOR,
    Kind,
    Layout,
    fields_of,
    find_header,
    first_lines,
)
from moerec.data.raw import RawLog, shortened
from moerec.data.readers import json_header, read_json_columns, read_text_columns
from moerec.data.table_lines import TableLines
from moerec.errors import DataError

_TITLES: Final = ("title", "itemtitle movietitle producttitle", "name itemname productname")
_CATEGORIES: Final = ("categories", "genres", "category", "genre", "tags")
_IDS: Final = (*SPELLINGS["item"], "id")
_NO_GENRES: Final = "(no genres listed)"
_U_ITEM_GENRES: Final = [
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
]
_U_ITEM_HEADER: Final = (
    *("item_id", "title", "release_date", "video_release_date", "imdb_url"),
    *_U_ITEM_GENRES,
)


@dataclass(frozen=True)
class ItemTable:
    """Items by id.

    `frame` has `item_id` String (each once, none missing), `title` String and `categories`
    List(String, never null) where the file has such, and the file's other columns as they came.
    """

    frame: pl.DataFrame


def read_items(path: str | Path) -> ItemTable:
    """Read an item file: CSV and relatives, JSON lines, Parquet, MovieLens `movies.dat` and `u.item`,
    or one JSON object `{"item id": [attribute, ...], ...}`; gzip or not.

    MovieLens files may be Latin-1, all others are UTF-8. Raises DataError.
    """
    long_lines = ".json" in Path(path).suffixes
    file = check_file(path, latin1_if=_is_movielens, long_lines=long_lines)
    if file.is_parquet:
        return _table(_read_parquet(file), file, None)
    number, first = first_lines(file.head)[0]
    if first.lstrip().startswith("{"):
        attributes = _attributes(file, first)
        if attributes is not None:
            return _table(attributes, file, None)
        json_header(file)  # a first line that is no object is refused here, with its place
        return _table(read_json_columns(file, None), file, None)
    layout = _layout(file, number, first)
    frame = read_text_columns(file, layout)
    frame = frame.rename(dict(zip(frame.columns, _unique(layout.header), strict=True)))
    return _table(frame, file, TableLines(file, layout))


def _is_movielens(_: Path, head: bytes) -> bool:
    """`movies.dat` (id::title::genres) or `u.item` (24 fields between bars)."""
    first = head.split(b"\n", 1)[0]
    return first.count(b"::") == 2 or first.count(b"|") == len(_U_ITEM_HEADER) - 1


def _layout(file: CheckedFile, number: int, first: str) -> Layout:
    if MOVIELENS in first and len(first.split(MOVIELENS)) == 3:
        header: Sequence[str] = ("item_id", "title", "genres")
        return Layout(Kind.TABLE, MOVIELENS, tuple(header), quoted=False)
    if first.count("|") == len(_U_ITEM_HEADER) - 1 and first.split("|")[0].strip().isdigit():
        return Layout(Kind.TABLE, "|", _U_ITEM_HEADER, quoted=False)
    separator, header = find_header(first, ColumnNames())
    if not header:
        separator = separator if len(fields_of(first, separator)) > 1 else ","
        message = f"there is no header line: the first line is {shortened(first)}"
        remedy = "Add one: item_id,title,categories (and any other columns)."
        raise DataError(message, remedy, path=file.path, line=number)
    return Layout(Kind.TABLE, separator, tuple(header), number)


def _attributes(file: CheckedFile, first: str) -> pl.DataFrame | None:
    """`{"item id": [attribute, ...], ...}`, on one line or many; None for JSON lines."""
    try:
        value = json.loads(first)
        if len(first_lines(file.head)) > 1:
            return None
    except json.JSONDecodeError:
        value = None
    try:
        value = json.loads(file.read()) if value is None else value
    except json.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not all(isinstance(part, list) for part in value.values()):
        return None
    # Last.FM's attributes repeat; a category is there or not. (Joined and split again: Polars takes
    # many short Python lists one by one, a hundred times slower.)
    joined = [UNIT_SEPARATOR.join(dict.fromkeys(map(str, part))) for part in value.values()]
    names = pl.Series(joined, dtype=pl.String).str.split(UNIT_SEPARATOR)
    return pl.DataFrame(
        {
            "item_id": pl.Series(list(value), dtype=pl.String),
            "categories": names.list.filter(pl.element() != ""),
        }
    )


def _read_parquet(file: CheckedFile) -> pl.DataFrame:
    try:
        return pl.read_parquet(file.path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as cause:
        message = f"this Parquet file cannot be read ({str(cause).splitlines()[0]})"
        raise DataError(message, "Write it again; it may be cut off.", path=file.path) from None


def _table(frame: pl.DataFrame, file: CheckedFile, lines: TableLines | None) -> ItemTable:
    """Name the columns, and check the ids."""
    name = _find(frame.columns, _IDS)
    if name is None:
        message = (
            f"no column for the item id was recognised; the columns are: {', '.join(frame.columns)}"
        )
        raise DataError(message, "Rename the id's column to item_id.", path=file.path)
    blank = frame.select(pl.all_horizontal(pl.all().is_null()).arg_true()).to_series().to_list()
    kept = pl.int_range(len(frame), eager=True).is_in(blank).not_().arg_true()
    frame = frame[kept]
    line_of = None if lines is None else (lambda row: lines.line_of(int(kept[row])))
    raw = RawLog(frame.select(pl.col(name).alias("item")), str(file.path), {"item": name}, line_of)
    columns = {"item_id": ids(raw, "item")}
    _refuse_repeats(raw, columns["item_id"])
    title = _find(frame.columns, _TITLES)
    categories = _find(frame.columns, _CATEGORIES)
    if title is not None:
        columns["title"] = frame.get_column(title).cast(pl.String)
    if categories is not None:
        columns["categories"] = _categories(frame.get_column(categories))
    elif set(_U_ITEM_GENRES) <= set(frame.columns):
        columns["categories"] = _flags(frame)
        frame = frame.drop(_U_ITEM_GENRES)
    taken = {name, title, categories} | set(columns)
    others = {other: frame.get_column(other) for other in frame.columns if other not in taken}
    return ItemTable(pl.DataFrame(columns | others))


def _refuse_repeats(raw: RawLog, items: pl.Series) -> None:
    repeats = (~items.is_first_distinct()).arg_true()
    if len(repeats):
        row = int(repeats[0])
        message = f"the item {shortened(items[row])} is there twice"
        raise raw.error(row, "item", message, "Keep one line for each item.")


def _categories(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String)).fill_null([])
    text = column.cast(pl.String).fill_null("")
    separators = (mark for mark in "|;," if text.str.contains(mark, literal=True).any())
    parts = text.str.split(next(separators, "|")).to_frame("part")
    tidy = pl.col("part").list.eval(pl.element().str.strip_chars())
    wanted = pl.element().is_in(["", _NO_GENRES]).not_()
    return parts.select(tidy.list.eval(pl.element().filter(wanted))).to_series()


def _flags(frame: pl.DataFrame) -> pl.Series:
    named = [pl.when(pl.col(name) == "1").then(pl.lit(name)) for name in _U_ITEM_GENRES]
    return frame.select(pl.concat_list(named).list.drop_nulls()).to_series()


def _find(columns: Sequence[str], tiers: Sequence[str]) -> str | None:
    """The first column of the first tier of spellings that has one."""
    for tier in tiers:
        for name in columns:
            if simplified(name) in tier.split():
                return name
    return None


def _unique(header: Sequence[str]) -> list[str]:
    """Names with repeats numbered, as a frame needs them."""
    seen: dict[str, int] = {}
    names = []
    for name in header:
        seen[name] = seen.get(name, 0) + 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names
