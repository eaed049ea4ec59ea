"""The one writer: callers who wait at the same moment share a transaction and its commit."""

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from moerec.errors import StorageError
from moerec.store.interfaces import Appended, EventStore
from moerec.types import Event

logger = logging.getLogger(__name__)

WAITING_LIMIT: Final = 4096
"""Calls that may wait; beyond it a call is refused at once, because the disk does not keep up."""

GROUP_LIMIT: Final = 2048
"""Events after which a group is committed even if more wait."""


@dataclass(slots=True, eq=False)
class _Batch:
    events: Sequence[Event]
    future: asyncio.Future[list[Appended]]
    loop: asyncio.AbstractEventLoop


_Outcome = list[Appended] | StorageError


class GroupCommitWriter:
    """Appends to a store from one thread of its own; async callers wait for the commit.

    `observe` gets the seconds that each transaction took. A StorageError goes to the callers whose
    events were refused, and the writer goes on with the next ones.
    """

    def __init__(self, store: EventStore, observe: Callable[[float], None] | None = None) -> None:
        self._store = store
        self._observe = observe
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Like EventStore.append: the events are durable when this returns."""
        if self._closed:
            raise StorageError("The event store is being closed.")
        if self._queue.qsize() >= WAITING_LIMIT:
            raise StorageError(
                f"{WAITING_LIMIT} writes wait for the event store already.",
                "Try again in a second.",
            )
        loop = asyncio.get_running_loop()
        batch = _Batch(events, loop.create_future(), loop)
        self._queue.put(batch)
        return await batch.future

    def close(self) -> None:
        """Writes what waits, then ends the thread. The store stays open."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
            self._thread.join()

    def _run(self) -> None:
        last = False
        while not last:
            group, last = self._next_group()
            if group:
                outcomes = self._commit(group)
                _announce(group, outcomes)

    def _next_group(self) -> tuple[list[_Batch], bool]:
        """The batches that wait now, at least one, and whether they are the last."""
        group: list[_Batch] = []
        size = 0
        batch = self._queue.get()
        while batch is not None:
            group.append(batch)
            size += len(batch.events)
            if size >= GROUP_LIMIT:
                return group, False
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _commit(self, group: list[_Batch]) -> list[_Outcome]:
        try:
            appended = self._append([event for batch in group for event in batch.events])
        except StorageError as error:
            logger.warning("%s", error.message)
            return [error] * len(group)
        except Exception as error:
            logger.exception("The event store failed on a group of %d calls", len(group))
            if len(group) == 1:
                return [StorageError(f"The event store failed: {type(error).__name__}")]
            # One call may have spoilt the group: each gets its own transaction.
            return [outcome for batch in group for outcome in self._commit([batch])]
        ends = list(itertools.accumulate(len(batch.events) for batch in group))
        return [appended[start:end] for start, end in itertools.pairwise([0, *ends])]

    def _append(self, events: Sequence[Event]) -> list[Appended]:
        start = time.perf_counter()
        try:
            return self._store.append(events)
        finally:
            if self._observe is not None:
                self._observe(time.perf_counter() - start)


def _announce(group: list[_Batch], outcomes: list[_Outcome]) -> None:
    """Wakes the callers, with one call into each event loop."""

    def wake(of_loop: list[tuple[_Batch, _Outcome]]) -> None:
        for batch, outcome in of_loop:
            if batch.future.done():
                continue  # the caller went away; the events stay
            if isinstance(outcome, StorageError):
                batch.future.set_exception(outcome)
            else:
                batch.future.set_result(outcome)

    pairs = list(zip(group, outcomes, strict=True))
    for loop in {batch.loop for batch in group}:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(wake, [pair for pair in pairs if pair[0].loop is loop])
