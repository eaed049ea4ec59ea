"""Histories: every user's events in order, as flat arrays that slice without copying."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from moerec.data.id_map import IdMap
from moerec.data.interactions import Interactions
from moerec.types import PADDING, UserId


@dataclass(frozen=True, slots=True, eq=False)
class History:
    """One user's n events, oldest first.

    * `items` int32 [n]: item index, 1..V, or 0 where the id map does not know the item;
    * `timestamps` int64 [n], UTC ms; all 0 where only the items are known;
    * `values` float32 [n]: rating or weight, NaN where an event has none.
    """

    items: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float32]

    @classmethod
    def of_items(cls, items: Sequence[int] | NDArray[np.int32]) -> "History":
        """A history of which nothing but the items is known."""
        array = np.asarray(items, dtype=np.int32)
        return cls(array, np.zeros(len(array), np.int64), np.full(len(array), np.nan, np.float32))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, part: slice | NDArray[np.bool_]) -> "History":
        return History(self.items[part], self.timestamps[part], self.values[part])

    def known(self) -> "History":
        """The events of items that the id map knows."""
        return self[self.items != PADDING]


@dataclass(frozen=True, slots=True)
class Histories:
    """All users' events, user after user, each user's in canonical order (compressed sparse rows).

    Letters: U users, N events.

    * `users` U external ids;
    * `offsets` int64 [U+1]: user u owns the events `offsets[u]` to `offsets[u+1] - 1`;
    * `items` int32 [N]: item index, 1..V, or 0 where the id map does not know the item;
    * `timestamps` int64 [N], UTC ms; without times in the log: the place in the user's history;
    * `values` float32 [N]: rating or weight, NaN where an event has none.
    """

    users: list[UserId]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    timestamps: NDArray[np.int64]
    values: NDArray[np.float32]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each user, int64 [U]."""
        return np.diff(self.offsets)

    def items_of(self, user: int) -> NDArray[np.int32]:
        """Items of the user at row `user`, oldest first (a view)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]

    def history_of(self, user: int) -> History:
        """Events of the user at row `user`, oldest first (views)."""
        part = slice(self.offsets[user], self.offsets[user + 1])
        return History(self.items[part], self.timestamps[part], self.values[part])


def build_histories(interactions: Interactions, id_map: IdMap) -> Histories:
    """The histories of a log, in its order. Items that `id_map` lacks become 0, and stay."""
    user = interactions.frame.get_column("user_id")
    runs = user.rle()
    sizes = runs.struct.field("len").to_numpy()
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
    return Histories(
        users=[UserId(name) for name in runs.struct.field("value").to_list()],
        offsets=offsets,
        items=id_map.indexes(interactions.frame.get_column("item_id")),
        timestamps=interactions.frame.get_column("timestamp").to_numpy(),
        values=_values(interactions),
    )


def _values(interactions: Interactions) -> NDArray[np.float32]:
    if "value" not in interactions.frame.columns:
        return np.full(len(interactions.frame), np.nan, np.float32)
    return interactions.frame.get_column("value").cast(pl.Float32).to_numpy()
