"""Histories: every user's events in order, as flat arrays that slice without copying."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moerec.data.id_map import IdMap
from moerec.data.interactions import Interactions
from moerec.types import UserId


@dataclass(frozen=True, slots=True)
class Histories:
    """All users' events, user after user, each user's in canonical order (compressed sparse rows).

    Letters: U users, N events.

    * `users` U external ids;
    * `offsets` int64 [U+1]: user u owns the events `offsets[u]` to `offsets[u+1] - 1`;
    * `items` int32 [N]: item index, 1..V, or 0 where the id map does not know the item;
    * `timestamps` int64 [N], UTC ms; without times in the log: the place in the user's history.
    """

    users: list[UserId]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    timestamps: NDArray[np.int64]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Events of each user, int64 [U]."""
        return np.diff(self.offsets)

    def items_of(self, user: int) -> NDArray[np.int32]:
        """Items of the user at row `user`, oldest first (a view)."""
        return self.items[self.offsets[user] : self.offsets[user + 1]]


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
    )
