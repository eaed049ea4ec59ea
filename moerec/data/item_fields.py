"""Single items as rows of an item file: what a service is told of an item that comes while it runs."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from moerec.data.feature_recipe import FeatureRecipe, Kind
from moerec.types import ItemField

if TYPE_CHECKING:  # what serves loads no tables before the first such item
    from moerec.data.item_features import ItemFeatures


def features_of_items(
    recipe: FeatureRecipe, items: Sequence[Mapping[str, ItemField]]
) -> "ItemFeatures":
    """The rows 1 to `len(items)` of items that are not in the file of the recipe, as `item_features`."""
    import numpy as np
    import polars as pl

    from moerec.data.item_features import item_features
    from moerec.data.items import ItemTable

    kinds = {"list": pl.List(pl.String()), "number": pl.Float64()}
    columns = {
        column.name: pl.Series(
            [_READERS[column.kind](item.get(column.name)) for item in items],
            dtype=kinds.get(column.kind, pl.String()),
        )
        for column in recipe.columns
    }
    numbers = np.arange(1, len(items) + 1, dtype=np.int32)
    names = pl.Series(numbers).cast(pl.String)
    table = ItemTable(pl.DataFrame({"item_id": names} | columns))
    return item_features(recipe, table, numbers, len(items))


def _list(value: ItemField) -> list[str] | None:
    if value is None or isinstance(value, list):
        return value
    return str(value).split("|")


def _text(value: ItemField) -> str | None:
    if value is None:
        return None
    return "|".join(value) if isinstance(value, list) else str(value)


def _number(value: ItemField) -> float | None:
    """As a file's column of numbers reads it; a date counts its milliseconds."""
    if isinstance(value, str):
        for reader in (float, _milliseconds):
            try:
                return reader(value)
            except ValueError:
                continue
    return float(value) if isinstance(value, bool | int | float) else None


def _milliseconds(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000


_READERS: Final[dict[Kind, Callable[[ItemField], list[str] | str | float | None]]] = {
    "list": _list,
    "words": _text,
    "value": _text,
    "number": _number,
}
