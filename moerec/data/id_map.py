"""The map between item ids outside and item numbers inside; numbers never leave the process."""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moerec.types import PADDING, ItemId

if TYPE_CHECKING:  # what serves has a map, and reads no tables
    import polars as pl

    from moerec.data.interactions import Interactions
    from moerec.data.items import ItemTable


class IdMap:
    """Items 1..V in a fixed order; 0 stands for padding and for what is not known."""

    def __init__(self, ids: Sequence[str]) -> None:
        """`ids` are all different; the item `ids[0]` gets the index 1."""
        self.ids = [ItemId(item) for item in ids]
        if len(self._indexes) != len(self.ids):
            raise ValueError("an id map needs different ids")

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _indexes(self) -> dict[str, int]:
        return {item: index for index, item in enumerate(self.ids, start=1)}

    @cached_property
    def _table(self) -> "pl.DataFrame":
        import polars as pl

        index = np.arange(1, len(self.ids) + 1, dtype=np.int32)
        return pl.DataFrame({"id": pl.Series(self.ids, dtype=pl.String), "index": index})

    def indexes(self, items: "pl.Series | Sequence[str]") -> NDArray[np.int32]:
        """int32 [n]: the index of each id, 0 where it is unknown."""
        if isinstance(items, Sequence):
            found = (self._indexes.get(item, PADDING) for item in items)
            return np.fromiter(found, dtype=np.int32, count=len(items))
        import polars as pl

        known = items.replace_strict(
            self._table.get_column("id"),
            self._table.get_column("index"),
            default=PADDING,
            return_dtype=pl.Int32,
        )
        return known.to_numpy()

    def ids_of(self, indexes: Iterable[int]) -> list[ItemId]:
        """The ids of indexes 1..V; ValueError for any other index."""
        wanted = [int(index) for index in indexes]
        if any(not 1 <= index <= len(self.ids) for index in wanted):
            raise ValueError(f"item indexes are 1..{len(self.ids)}")
        return [self.ids[index - 1] for index in wanted]


def build_id_map(interactions: "Interactions", items: "ItemTable | None" = None) -> IdMap:
    """The log's items in order of first appearance, then those that only the item file has."""
    import polars as pl

    from moerec.data.canonical import distinct

    ids = distinct(interactions.frame.get_column("item_id"))
    if items is not None:
        ids = distinct(pl.concat([ids.alias("item_id"), items.frame.get_column("item_id")]))
    return IdMap(ids.to_list())
