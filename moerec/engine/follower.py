"""Repairs lost pushes: reads the event table's tail and applies what a dying gateway did not push."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from moerec.errors import StorageError
from moerec.types import StoredEvent

PAGE = 1_000
FAR_BEHIND = 50_000
"""Events behind the tail at which reading them one by one costs more than forgetting all states."""

log = logging.getLogger(__name__)


class EventTail(Protocol):
    """The part of an EventStore that is followed."""

    def last_number(self) -> int:
        """See EventStore."""
        ...

    def since(self, table_number: int, limit: int) -> list[StoredEvent]:
        """See EventStore."""
        ...


class Follower:
    """Hands every event of the table to `apply`, within `interval_s` of its commit.

    Starts at the table's end as it is at construction, so construct it before the first state is
    built. Events that came by push come again; `apply` ignores them by their number.
    """

    def __init__(
        self,
        store: EventTail,
        apply: Callable[[Sequence[StoredEvent]], None],
        forget_all: Callable[[], None],
        interval_s: float = 1.0,
    ) -> None:
        self._store = store
        self._apply = apply
        self._forget_all = forget_all
        self._interval_s = interval_s
        self._position = store.last_number()
        self._catching_up = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="event-follower", daemon=True)

    def start(self) -> None:
        """Begin to follow in a thread of its own."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; returns when it has ended."""
        self._stopping.set()
        self._thread.join()

    def catch_up(self) -> None:
        """Apply everything up to the table's end; StorageError if it cannot be read. From any thread."""
        with self._catching_up:
            end = self._store.last_number()
            if end - self._position > FAR_BEHIND:
                self._position = end
                self._forget_all()
            while events := self._store.since(self._position, PAGE):
                self._apply(events)
                self._position = events[-1].table_number

    def try_to_catch_up(self) -> None:
        """The same; if the table cannot be read now, the next time does it."""
        try:
            self.catch_up()
        except StorageError as error:
            log.warning("the event table's tail could not be read, trying again: %s", error)

    def _run(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self.try_to_catch_up()
