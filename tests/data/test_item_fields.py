"""An item that comes while a service runs, against the same item in a file."""

from pathlib import Path

import numpy as np
import pytest

from moerec.data.item_features import ItemFeatures, item_features, learn_recipe
from moerec.data.item_fields import features_of_items
from moerec.data.items import read_items
from moerec.types import ItemField

FILE = """\
item_id,title,categories,brand,price,sold,released
a,Red Bike,wheels|red,Acme,100,true,2024-05-01
b,blue bike,wheels|blue,Acme,200,false,2024-06-01
c,Red chair,seats|red,Bolt,300,true,2024-05-01
d,Blue Chair,seats|blue,Bolt,,false,2024-06-01
"""

LIKE_A: dict[str, ItemField] = {
    "title": "Red Bike",
    "categories": ["wheels", "red"],
    "brand": "Acme",
    "price": 100,
    "sold": True,
    "released": "2024-05-01",
}


def row_of(features: ItemFeatures, row: int) -> dict[int, float]:
    begin, end = features.offsets[row], features.offsets[row + 1]
    return dict(
        zip(
            features.features[begin:end].tolist(),
            features.weights[begin:end].tolist(),
            strict=True,
        )
    )


@pytest.fixture
def both(tmp_path: Path) -> tuple[ItemFeatures, ItemFeatures]:
    """Items a and d of the file; the same two by their fields."""
    (tmp_path / "items.csv").write_text(FILE)
    table = read_items(tmp_path / "items.csv")
    recipe = learn_recipe(table)
    assert recipe is not None
    like_d: dict[str, ItemField] = {
        "title": " Blue Chair ",
        "categories": "seats|blue",
        "brand": "bolt",
        "price": None,
        "sold": "false",
        "released": "2024-06-01",
    }
    in_file = item_features(recipe, table, np.array([1, 2, 3, 4], np.int32), 4)
    return in_file, features_of_items(recipe, [LIKE_A, like_d])


def test_an_item_is_read_as_its_row_of_the_file_would_be(
    both: tuple[ItemFeatures, ItemFeatures],
) -> None:
    in_file, told = both
    for row, place in ((1, 1), (4, 2)):
        assert row_of(told, place) == pytest.approx(row_of(in_file, row))
        assert len(row_of(told, place)) >= 4


def test_columns_that_the_recipe_does_not_know_and_odd_values_say_nothing(tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text(FILE)
    recipe = learn_recipe(read_items(tmp_path / "items.csv"))
    assert recipe is not None
    strange: list[dict[str, ItemField]] = [
        {"weight": 3.0, "brand": ["Acme"]},
        {"price": "cheap", "title": 7.0, "categories": None},
        {},
    ]
    found = features_of_items(recipe, strange)
    nothing = row_of(found, 3)
    assert row_of(found, 2) == pytest.approx(nothing)
    assert set(nothing) < set(row_of(found, 1))  # the brand
    assert features_of_items(recipe, []).offsets.tolist() == [0, 0]
