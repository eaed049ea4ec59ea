"""The built-in film catalogue: true facts about some five hundred films, and which belong together.

`films.csv` holds the films, `series.csv` the series among them in viewing order.
"""

from functools import cache
from importlib.resources import files
from typing import Final

import polars as pl

from moerec.data.items import ItemTable

GENRES: Final = (
    "Action",
    "Adventure",
    "Animation",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Family",
    "Fantasy",
    "History",
    "Horror",
    "Music",
    "Mystery",
    "Romance",
    "Science Fiction",
    "Thriller",
    "War",
    "Western",
)
"""Every genre that a film of the catalogue can have."""

SEPARATOR: Final = "|"
"""Stands between the genres, and between the directors, of one film in `films.csv`."""


def catalogue_csv() -> bytes:
    """`films.csv` as it is shipped: item_id, title, year, genres, director; UTF-8."""
    return files(__package__).joinpath("films.csv").read_bytes()


@cache
def films() -> ItemTable:
    """The films in order of release: item_id, title, year Int64, categories List(String), director.

    A film of several directors names them with "|" between.
    """
    table = pl.read_csv(catalogue_csv(), schema_overrides={"year": pl.Int64})
    categories = pl.col("genres").str.split(SEPARATOR).alias("categories")
    return ItemTable(table.select("item_id", "title", "year", categories, "director"))


@cache
def series() -> dict[str, list[str]]:
    """Name of each series -> its films' ids, in the order in which people watch them."""
    table = pl.read_csv(files(__package__).joinpath("series.csv").read_bytes())
    parts: dict[str, list[str]] = {}
    for name, item_id in table.iter_rows():
        parts.setdefault(name, []).append(item_id)
    return parts
