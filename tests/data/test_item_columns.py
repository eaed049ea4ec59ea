"""How the columns of an item file are read."""

import datetime

import polars as pl
import pytest

from moerec.data.feature_recipe import Column
from moerec.data.item_columns import features_of, kinds_of

ITEMS = [f"i{number}" for number in range(8)]


def kinds(**columns: object) -> dict[str, list[str]]:
    """Kinds by column of a frame with the column `item_id` beside."""
    found: dict[str, list[str]] = {}
    for column in kinds_of(pl.DataFrame({"item_id": ITEMS} | columns)):
        found.setdefault(column.name, []).append(column.kind)
    return found


def features(column: Column, values: list[object] | None) -> list[tuple[int, str]]:
    frame = pl.DataFrame({"item_id": ITEMS} | ({column.name: values} if values else {}))
    return sorted(features_of(frame, [column]).rows())


def test_lists_texts_and_numbers_are_told_apart() -> None:
    found = kinds(
        categories=[["a", "b"], ["a"], [], ["b"], ["c"], ["a"], ["b"], []],
        title=[f"The {number}th film" for number in range(8)],
        brand=["Acme", "acme", "Bolt", "Bolt", "Acme", "Bolt", None, ""],
        price=[1.5, 2.5, 3.5, None, 4.5, 5.5, 6.5, 7.5],
        year=["1990", "1991", "1990", "", "1993", "1994", "1995", "1996"],
        available=[True, False] * 4,
        added=[datetime.date(2026, 1, day) for day in range(1, 9)],
    )
    assert found == {
        "categories": ["list"],
        "title": ["words"],
        "brand": ["value"],
        "price": ["number"],
        "year": ["number"],
        "available": ["number"],
        "added": ["number"],
    }


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["Acme", "Bolt"])], ids=str)
def test_text_that_is_kept_as_codes_is_text(dtype: pl.DataType) -> None:
    """A Parquet file that pandas wrote with columns of type "category" said nothing of its items."""
    brand = pl.Series("brand", ["Acme", "Bolt"] * 4, dtype)
    assert kinds(brand=brand) == {"brand": ["value"]}
    frame = pl.DataFrame([pl.Series("item_id", ITEMS), brand])
    assert len(features_of(frame, kinds_of(frame))) == len(ITEMS)


def test_a_text_that_repeats_is_a_value_and_words() -> None:
    assert kinds(maker=["Big Co", "Small Co"] * 4) == {"maker": ["value", "words"]}


def test_what_says_nothing_is_left_out() -> None:
    found = kinds(
        empty=[None] * 8,
        blank=[" "] * 8,
        nested=[[1, 2]] * 8,
        nothing=pl.Series([None] * 8, dtype=pl.Float64),
    )
    assert found == {}


def test_words_and_values_are_in_lower_case_and_counted_once() -> None:
    title = Column("title", "words")
    assert features(title, ["Big big Dog", None, "", "dog!", *[None] * 4]) == [
        (0, "title=words:big"),
        (0, "title=words:dog"),
        (3, "title=words:dog"),
    ]
    brand = Column("brand", "value")
    assert features(brand, [" Acme ", "acme", *[None] * 6]) == [
        (0, "brand=value:acme"),
        (1, "brand=value:acme"),
    ]


def test_numbers_fall_between_edges_and_a_missing_one_is_a_feature() -> None:
    price = Column("price", "number", (10.0, 20.0))
    found = features(price, [9.9, 10.0, 20.0, 1e9, None, float("nan"), float("inf"), 0.0])
    assert [name.removeprefix("price=number:") for _, name in found] == [
        *("0", "1", "2", "2"),
        *("missing", "missing", "missing", "0"),
    ]


def test_many_numbers_share_ten_buckets() -> None:
    frame = pl.DataFrame({"item_id": [str(n) for n in range(100)], "price": range(100)})
    [column] = kinds_of(frame)
    assert len(column.edges) == 9


@pytest.mark.parametrize("kind", ["list", "words", "value"])
def test_a_later_file_may_lack_the_column(kind: str) -> None:
    assert features(Column("brand", kind), None) == []  # type: ignore[arg-type]
    assert len(features(Column("price", "number", (1.0,)), None)) == len(ITEMS)


def test_words_where_numbers_were_count_as_missing() -> None:
    found = features(Column("price", "number", (1.0,)), ["cheap"] * 8)
    assert {name for _, name in found} == {"price=number:missing"}
