"""From an item file to sparse rows of weighted features."""

import math

import numpy as np
import polars as pl
import pytest

from moerec.data.feature_recipe import FeatureRecipe
from moerec.data.item_features import ItemFeatures, item_features, learn_recipe
from moerec.data.items import ItemTable

TABLE = ItemTable(
    pl.DataFrame(
        {
            "item_id": ["a", "b", "c", "d"],
            "categories": [["red", "big"], ["red"], ["big", "odd"], []],
        }
    )
)


def recipe_of(table: ItemTable = TABLE) -> FeatureRecipe:
    recipe = learn_recipe(table)
    assert recipe is not None
    return recipe


def rows(features: ItemFeatures) -> list[dict[int, float]]:
    """Feature -> weight of each row."""
    bounds = zip(features.offsets[:-1], features.offsets[1:], strict=True)
    return [
        dict(zip(features.features[a:b].tolist(), features.weights[a:b].tolist(), strict=True))
        for a, b in bounds
    ]


def test_a_feature_of_one_item_or_of_all_is_none() -> None:
    """ "odd" is another name of item c, and what all have tells nobody apart."""
    assert sorted(recipe_of().counts) == [2, 2]
    everywhere = pl.DataFrame({"item_id": ["a", "b"], "categories": [["x"], ["x"]]})
    assert learn_recipe(ItemTable(everywhere)) is None
    assert learn_recipe(ItemTable(pl.DataFrame({"item_id": ["a", "b"]}))) is None


def test_rows_have_length_one_and_rare_features_weigh_more() -> None:
    frame = pl.DataFrame(
        {"item_id": list("abcde"), "categories": [["rare", "often"]] * 2 + [["often"]] * 2 + [[]]}
    )
    table = ItemTable(frame)
    found = rows(item_features(recipe_of(table), table, np.arange(1, 6, dtype=np.int32), 5))
    assert found[0] == {}
    assert found[5] == {}
    rare, often = math.log(5 / 2), math.log(5 / 4)
    size = math.hypot(rare, often)
    assert sorted(found[1].values()) == pytest.approx([often / size, rare / size])
    assert list(found[3].values()) == pytest.approx([1.0])


def test_rows_stand_where_the_catalogue_has_them() -> None:
    """The item file may name its items in another order, and lack some of the catalogue."""
    indexes = np.array([4, 2, 1, 6], np.int32)
    found = rows(item_features(recipe_of(), TABLE, indexes, 6))
    assert [len(row) for row in found] == [0, 1, 1, 0, 2, 0, 0]


def test_the_recipe_reads_a_later_file_alike() -> None:
    recipe = recipe_of()
    later = ItemTable(pl.DataFrame({"item_id": ["z"], "categories": [["red", "never seen"]]}))
    [_, row] = rows(item_features(recipe, later, np.array([1], np.int32), 1))
    [_, _, as_b, _, _] = rows(item_features(recipe, TABLE, np.arange(1, 5, dtype=np.int32), 4))
    assert row == as_b


def test_another_content_has_another_digest() -> None:
    one = item_features(recipe_of(), TABLE, np.array([1, 2, 3, 4], np.int32), 4)
    other = item_features(recipe_of(), TABLE, np.array([2, 1, 3, 4], np.int32), 4)
    assert one.digest() != other.digest()
