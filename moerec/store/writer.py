"""The one writer: callers who wait at the same moment share a transaction and its commit.

A commit is made where it costs least. Where a store has nothing to wait for, the event loop makes it itself:
each call of a database gives the interpreter away and takes it back, and between two busy threads this
costs more than the transaction. Whatever has to wait goes to a thread.
"""

import asyncio
import contextlib
import itertools
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Final

from moerec.errors import StorageError
from moerec.futures import future_of
from moerec.store.interfaces import Appended, EventStore
from moerec.types import Event

logger = logging.getLogger(__name__)

WAITING_LIMIT: Final = 4096
"""Calls that may wait; beyond it a call is refused at once, because the disk does not keep up."""

GROUP_LIMIT: Final = 2048
"""Events after which a group is committed even if more wait."""

ON_LOOP_LIMIT: Final = 64
"""Events that the event loop commits itself: a few milliseconds of work."""

GATHER_S: Final = 0.002
"""From one commit of the event loop to the next: who comes meanwhile shares it."""

SLOW_S: Final = 0.01
SLOW_IN_A_ROW: Final = 2
"""So many commits of the event loop that took longer send the next ones to the thread ...

One alone may be that the processor was elsewhere.
"""

PAUSE_S: Final = 1.0
"""... for so long."""

CHECKPOINT_EVENTS: Final = 1000
"""Events committed by the event loop after which a checkpoint is made, in another thread."""


Outcome = list[Appended] | StorageError
"""Of a call: what became of its events, which are durable then; or why they were refused."""

Stored = Callable[[Outcome], None]
"""Who is told the outcome: once, and in the event loop."""


@dataclass(slots=True, eq=False)
class _Batch:
    events: Sequence[Event]
    told: Stored
    loop: asyncio.AbstractEventLoop


class GroupCommitWriter:
    """Appends to a store; callers in event loops are told of the commit.

    `observe` gets the seconds that each transaction took. A StorageError goes to the callers whose
    events were refused, and the writer goes on with the next ones.
    """

    def __init__(self, store: EventStore, observe: Callable[[float], None] | None = None) -> None:
        self._store = store
        self._observe = observe
        self._gathered: dict[asyncio.AbstractEventLoop, list[_Batch]] = {}
        self._queue: queue.SimpleQueue[_Batch | None] = queue.SimpleQueue()
        self._at_work = False  # the thread is
        self._paused_until = 0.0
        self._committed = 0.0
        self._slow = 0
        self._unchecked = 0
        self._closed = False
        # Not the thread's own work: who has to wait for it already would wait for a checkpoint, too.
        self._checkpoints = ThreadPoolExecutor(1, thread_name_prefix="event-checkpoints")
        self._checkpoint_made: Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    async def append(self, events: Sequence[Event]) -> list[Appended]:
        """Like EventStore.append: the events are durable when this returns."""
        return await future_of(partial(self.begin, events))

    def begin(self, events: Sequence[Event], told: Stored) -> None:
        """The same for who is told: later, or at once if the events are refused already."""
        loop = asyncio.get_running_loop()
        gathered = self._gathered.get(loop, ())
        if self._closed:
            told(StorageError("The event store is being closed."))
            return
        if self._queue.qsize() + len(gathered) >= WAITING_LIMIT:
            refusal = f"{WAITING_LIMIT} writes wait for the event store already."
            told(StorageError(refusal, "Try again in a second."))
            return
        batch = _Batch(events, told, loop)
        if gathered:
            self._gathered[loop].append(batch)
        else:
            self._gathered[loop] = [batch]
            rest = self._committed + GATHER_S - time.perf_counter()
            loop.call_later(max(rest, 0), self._commit_gathered, loop, context=Context())

    def close(self) -> None:
        """Writes what waits, then ends the threads. The store stays open."""
        if not self._closed:
            self._closed = True
            for loop in list(self._gathered):
                self._hand_over(self._gathered.pop(loop))
            self._queue.put(None)
            self._thread.join()
            self._checkpoints.shutdown()

    def _commit_gathered(self, loop: asyncio.AbstractEventLoop) -> None:
        """Commits what came to the loop since the last commit, or hands it over."""
        group = self._gathered.pop(loop, [])
        if not group:
            return  # closed meanwhile
        events = [event for batch in group for event in batch.events]
        outcome = self._append_at_once(events) if self._may_commit(len(events)) else None
        if outcome is None:
            self._hand_over(group)
        else:
            _wake(list(zip(group, _shares(group, outcome), strict=True)))

    def _may_commit(self, count: int) -> bool:
        """Whether the event loop does. What the thread has is older, and may wait for the same lock."""
        thread_is_free = not self._at_work and self._queue.empty()
        return (
            thread_is_free and count <= ON_LOOP_LIMIT and time.perf_counter() >= self._paused_until
        )

    def _append_at_once(self, events: Sequence[Event]) -> list[Appended] | None:
        start = time.perf_counter()
        try:
            appended = self._store.append_at_once(events)
        except Exception as error:  # the thread meets it again, and finds out whose fault it is
            logger.warning("The event loop's commit failed, the thread tries: %s", error)
            self._paused_until = time.perf_counter() + PAUSE_S
            return None
        end = self._committed = time.perf_counter()
        self._slow = self._slow + 1 if end - start > SLOW_S else 0
        if self._slow >= SLOW_IN_A_ROW:
            self._paused_until = end + PAUSE_S
        if appended is not None:
            self._observed(end - start)
            self._unchecked += len(events)
            if self._unchecked >= CHECKPOINT_EVENTS:
                self._unchecked = 0
                if self._checkpoint_made is None or self._checkpoint_made.done():
                    self._checkpoint_made = self._checkpoints.submit(self._checkpoint)
        return appended

    def _hand_over(self, group: list[_Batch]) -> None:
        for batch in group:
            self._queue.put(batch)

    def _run(self) -> None:
        is_last = False
        while not is_last and (first := self._queue.get()) is not None:
            self._at_work = True
            group, is_last = self._group(first)
            _announce(group, self._commit(group))
            self._at_work = False

    def _group(self, first: _Batch) -> tuple[list[_Batch], bool]:
        """The batches that wait now, and whether the end is behind them."""
        group = [first]
        size = len(first.events)
        while size < GROUP_LIMIT:
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                break
            if batch is None:
                return group, True
            group.append(batch)
            size += len(batch.events)
        return group, False

    def _commit(self, group: list[_Batch]) -> list[Outcome]:
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
        return _shares(group, appended)

    def _append(self, events: Sequence[Event]) -> list[Appended]:
        start = time.perf_counter()
        try:
            return self._store.append(events)
        finally:
            self._observed(time.perf_counter() - start)

    def _observed(self, seconds: float) -> None:
        if self._observe is not None:
            self._observe(seconds)

    def _checkpoint(self) -> None:
        try:
            self._store.checkpoint()
        except Exception as error:  # the next one does the work of this one
            logger.warning("The event store made no checkpoint: %s", error)


def _shares(group: list[_Batch], appended: list[Appended]) -> list[Outcome]:
    """What became of each batch's events."""
    ends = list(itertools.accumulate(len(batch.events) for batch in group))
    return [appended[start:end] for start, end in itertools.pairwise([0, *ends])]


def _announce(group: list[_Batch], outcomes: list[Outcome]) -> None:
    """Wakes the callers, with one call into each event loop."""
    pairs = list(zip(group, outcomes, strict=True))
    for loop in {batch.loop for batch in group}:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there
            loop.call_soon_threadsafe(_wake, [pair for pair in pairs if pair[0].loop is loop])


def _wake(of_loop: Sequence[tuple[_Batch, Outcome]]) -> None:
    """Tells callers of the running loop. What goes wrong there is theirs alone."""
    for batch, outcome in of_loop:
        try:
            batch.told(outcome)
        except Exception:
            logger.exception("The outcome of a write was told in vain")
