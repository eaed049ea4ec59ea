"""Which states of users do not hold any more because items came or changed: found out when a user asks.

To go through all users that are at hand at each change would hold everybody up for tens of milliseconds.
"""

from array import array
from collections.abc import Iterable, Sequence

from moerec.types import ItemId

UNKNOWN_LIMIT = 64
"""Unknown items that are remembered of a user; of more it is only known that there are many."""


def hashes(item_ids: Iterable[ItemId], before: "array[int] | None" = None) -> "array[int]":
    """Those of some ids, each once, beside the hashes `before`; empty for more than `UNKNOWN_LIMIT`."""
    if before is not None and not before:
        return before
    found = array("q", {*map(hash, item_ids), *(before or ())})
    return found if len(found) <= UNKNOWN_LIMIT else array("q")


class ItemNews:
    """What became of items since the engine started; `number` grows with each piece of it."""

    def __init__(self) -> None:
        self.number = 0
        self._came: set[int] = set()
        self._came_last = 0
        self._moved: dict[int, int] = {}
        self._moved_last = 0

    def add(self, came: Iterable[ItemId], moved: Iterable[int]) -> None:
        """Items that were unknown before, and numbers of items, known before, that have another vector."""
        number = self.number + 1
        for item_id in came:
            self._came.add(hash(item_id))
            self.number = self._came_last = number
        for index in moved:
            self._moved[index] = number
            self.number = self._moved_last = number

    def concerns(self, unknown: "array[int] | None", seen: Sequence[int], since: int) -> bool:
        """Whether news after the number `since` are of items that were `unknown` (as `hashes` has them; None
        without any), or of one that was `seen`.

        Of more unknown items than are remembered, any that came may be one.
        """
        # What had come by then is not among the unknown ones.
        came = since < self._came_last and unknown is not None
        if came and not (unknown and self._came.isdisjoint(unknown)):
            return True
        if since >= self._moved_last:
            return False
        moved = self._moved
        return any(moved.get(index, 0) > since for index in seen)
