"""Keeps the engine's items as the table of items has them, and its index fit for them."""

import logging
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from moerec.errors import StorageError
from moerec.types import ItemChange

PAGE: Final = 200
"""Items may be large: a body of a PUT has a megabyte."""

INDEX_AGAIN_S: Final = 600.0
"""How long an index that could not be made is not tried again: it would take a core for itself in vain."""

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
        index_again_s: float = INDEX_AGAIN_S,
    ) -> None:
        self._table = table
        self._engine = engine
        self._told = told
        self._interval_s = interval_s
        self._index_again_s = index_again_s
        self._position = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="item-follower", daemon=True)
        self._indexer: threading.Thread | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """End the reading; returns when it has ended. An index that is being made goes with the process."""
        self._stopping.set()
        self._told.set()
        self._thread.join()

    def catch_up(self) -> None:
        """Take in all changes there are; StorageError if they cannot be read."""
        # What comes meanwhile is for the next time: else this took as long as items come.
        while len(changes := self._table.item_changes(self._position, PAGE)) == PAGE:
            self._take(changes)
        if changes:
            self._take(changes)
        busy = self._indexer is not None and self._indexer.is_alive()
        if not busy and self._engine.index_is_due:
            self._indexer = threading.Thread(target=self._make_index, name="indexer", daemon=True)
            self._indexer.start()

    def _take(self, changes: Sequence[ItemChange]) -> None:
        self._engine.change_items(changes)
        self._position = changes[-1].number

    def _make_index(self) -> None:
        try:
            self._engine.make_index_anew()
        except Exception:
            again_s = self._index_again_s
            log.exception("no index of the items could be made, trying again in %.0f s", again_s)
            self._stopping.wait(again_s)

    def _run(self) -> None:
        while True:
            self._told.wait(self._interval_s)
            self._told.clear()
            if self._stopping.is_set():
                return
            try:
                self.catch_up()
            except Exception as error:
                if isinstance(error, StorageError):
                    log.warning("the table of items could not be read, trying again: %s", error)
                else:
                    log.exception("changes of items could not be taken in, trying again")
                # Gateways tell again and again while they wait.
                self._stopping.wait(self._interval_s)
