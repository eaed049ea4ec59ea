"""The recipe of features, as a bundle keeps it."""

import msgspec
import pytest

from moerec.data.feature_recipe import Column, FeatureRecipe

RECIPE = FeatureRecipe([Column("colour", "value")], items=4, hashes=[3, 17], counts=[2, 3])


def test_a_recipe_survives_the_bundle_and_bad_ones_are_refused() -> None:
    packed = msgspec.json.encode(RECIPE)
    assert msgspec.json.decode(packed, type=FeatureRecipe) == RECIPE
    plain = msgspec.to_builtins(RECIPE)
    for change in (
        {"hashes": []},
        {"hashes": RECIPE.hashes[::-1]},
        {"counts": [0, 1]},
        {"counts": [1, 4]},
        {"columns": [Column("price", "number", (2.0, 1.0))]},
    ):
        with pytest.raises((ValueError, msgspec.ValidationError), match="a feature recipe needs"):
            msgspec.json.decode(msgspec.json.encode(plain | change), type=FeatureRecipe)
