"""The catalogue is well formed, and its facts are where they should be."""

from collections import Counter

import polars as pl
import pytest

from moerec.data.demo.catalogue import GENRES, films, series

TABLE = films().frame


def test_columns_and_size() -> None:
    assert dict(TABLE.schema) == {
        "item_id": pl.String,
        "title": pl.String,
        "year": pl.Int64,
        "categories": pl.List(pl.String),
        "director": pl.String,
    }
    assert 480 <= TABLE.height <= 520


def test_no_film_is_there_twice() -> None:
    assert TABLE["item_id"].is_unique().all()
    assert not TABLE.select("title", "year").is_duplicated().any()


def test_ids_are_readable_and_end_with_the_year() -> None:
    bad = TABLE.filter(
        ~pl.col("item_id").str.contains(r"^[a-z0-9]+(-[a-z0-9]+)*-\d{4}$")
        | (pl.col("item_id").str.slice(-4) != pl.col("year").cast(pl.String))
    )
    assert bad["item_id"].to_list() == []


def test_years_genres_and_directors() -> None:
    assert TABLE["year"].is_between(1895, 2025).all()
    assert TABLE["year"].is_sorted()
    for genres in TABLE["categories"].to_list():
        assert 1 <= len(genres) == len(set(genres)) <= 4
        assert set(genres) <= set(GENRES)
    for director in TABLE["director"].to_list():
        assert all(name == name.strip() != "" for name in director.split("|"))


def test_every_decade_and_every_genre_has_its_films() -> None:
    decades = Counter(year // 10 * 10 for year in TABLE["year"])
    assert set(decades) == set(range(1920, 2030, 10))
    assert min(decades.values()) >= 10
    genres = Counter(TABLE["categories"].explode())
    assert set(genres) == set(GENRES)
    assert min(genres.values()) >= 10


def test_many_directors_have_several_films() -> None:
    films_of = Counter(TABLE["director"].str.split("|").explode())
    assert sum(count > 1 for count in films_of.values()) >= 80


@pytest.mark.parametrize(
    ("item_id", "title", "categories", "director"),
    [
        ("the-matrix-1999", "The Matrix", ["Action", "Science Fiction"], "Lana Wachowski|Lilly Wachowski"),
        ("tokyo-story-1953", "Tokyo Story", ["Drama"], "Yasujirō Ozu"),
        ("8-and-a-half-1963", "8½", ["Drama"], "Federico Fellini"),
    ],
)  # fmt: skip
def test_films_read_as_written(
    item_id: str, title: str, categories: list[str], director: str
) -> None:
    found = TABLE.row(by_predicate=pl.col("item_id") == item_id, named=True)
    assert (found["title"], found["categories"], found["director"]) == (title, categories, director)


def test_series_hold_films_of_the_catalogue_once_each() -> None:
    parts = [part for films_of_series in series().values() for part in films_of_series]
    assert len(parts) == len(set(parts))
    assert set(parts) <= set(TABLE["item_id"])
    assert min(len(films_of_series) for films_of_series in series().values()) >= 2
    assert series()["before"] == [
        "before-sunrise-1995",
        "before-sunset-2004",
        "before-midnight-2013",
    ]
