"""Keeps the engine's items as the table of items has them, and its index fit for them."""

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from moerec.errors import StorageError
from moerec.types import ItemChange

PAGE: Final = 1_000

log = logging.getLogger(__name__)


class ItemsTail(Protocol):
    """The part of an ItemTable that is followed."""

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        """See ItemTable."""
        ...


class ChangingItems(Protocol):
    """The part of an Engine that is told."""

    def change_items(self, changes: Sequence[ItemChange]) -> None:
        """Take the changes in."""
        ...

    @property
    def index_is_due(self) -> bool:
        """Whether so many items came that a new index pays."""
        ...

    def make_index_anew(self) -> None:
        """Make one, which may take a minute, and use it."""
        ...


class ItemFollower:
    """Hands every change of an item to the engine, within `interval_s` or as soon as `told` is set.

    In threads of its own: one reads, and another one makes an index where that is due, while changes go on
    coming in.
    """

    def __init__(
        self,
        table: ItemsTail,
        engine: ChangingItems,
        told: threading.Event,
        interval_s: float = 1.0,
    ) -> None:
        self._table = table
        self._engine = engine
        self._told = told
        self._interval_s = interval_s
        self._position = 0
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="item-follower", daemon=True)
        self._indexer: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the reading; returns when it has ended. An index that is being made goes with the process."""
        self._stopping = True
        self._told.set()
        self._thread.join()

    def catch_up(self) -> None:
        """Take in all changes there are; StorageError if they cannot be read."""
        while changes := self._table.item_changes(self._position, PAGE):
            self._engine.change_items(changes)
            self._position = changes[-1].number
        busy = self._indexer is not None and self._indexer.is_alive()
        if not busy and self._engine.index_is_due:
            self._indexer = threading.Thread(
                target=self._engine.make_index_anew, name="indexer", daemon=True
            )
            self._indexer.start()

    def _run(self) -> None:
        while True:
            self._told.wait(self._interval_s)
            self._told.clear()
            if self._stopping:
                return
            try:
                self.catch_up()
            except StorageError as error:
                log.warning("the table of items could not be read, trying again: %s", error)
            except Exception:
                log.exception("changes of items could not be taken in, trying again")
