"""The use case of taking events in: durable first, then the engine, then the acknowledgement."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import msgspec

from moerec.api.answers import EventResult, RejectedEvent, Taken
from moerec.api.ids import new_id
from moerec.api.schemas import EventFault
from moerec.errors import StorageError
from moerec.futures import future_of
from moerec.observability.metrics import Metrics
from moerec.store.interfaces import Appended
from moerec.store.writer import GroupCommitWriter
from moerec.transport.client import EngineClient, Outcome
from moerec.transport.frames import EventPush, EventReply
from moerec.types import DEFAULT_EVENT_TYPE, Event, ItemId, UserId

FUTURE_LIMIT_MS: Final = 3_600_000
"""How far ahead of our clock an event's time may be: a later one would stay a user's newest event."""


Told = Callable[[Taken | Exception], None]
"""Who is told what became of events: once, and in the event loop."""


class NewEvent(msgspec.Struct):
    """`schemas.EventIn`, checked, however it came."""

    user_id: str
    item_id: str
    event_id: str | None = None
    timestamp: int | None = None
    type: str = DEFAULT_EVENT_TYPE
    value: float | None = None


@dataclass(frozen=True, slots=True)
class IngestService:
    """Takes events in."""

    writer: GroupCommitWriter
    engine: EngineClient
    metrics: Metrics
    deadline_s: float

    async def take(self, entries: Sequence[NewEvent | EventFault]) -> Taken:
        """As `begin`, for who waits; raises the StorageError."""
        return await future_of(partial(self.begin, entries))

    def begin(self, entries: Sequence[NewEvent | EventFault], told: Told) -> None:
        """Stores the valid events in one transaction; StorageError is told if it is refused, and
        whatever else goes wrong.

        The engine hears of new events before that, if it answers in time; if not, it reads
        them from the table's tail.
        """
        now_ms = time.time_ns() // 1_000_000
        events: dict[int, Event] = {}
        rejected: list[RejectedEvent] = []
        for index, entry in enumerate(entries):
            made = _event(entry, now_ms)
            if isinstance(made, Event):
                events[index] = made
            else:
                rejected.append(RejectedEvent(index, made.code, made.message))
        if events:
            stored = partial(self._stored, entries, events, rejected, told)
            self.writer.begin(list(events.values()), stored)
        else:
            self._stored(entries, events, rejected, told, [])

    def _stored(
        self,
        entries: Sequence[NewEvent | EventFault],
        events: dict[int, Event],
        rejected: list[RejectedEvent],
        told: Told,
        outcome: list[Appended] | StorageError,
    ) -> None:
        """The store has answered: the engine is next."""
        if isinstance(outcome, StorageError):
            told(outcome)
            return
        try:
            taken, pushes = self._counted(entries, events, rejected, outcome)
        except Exception as error:
            told(error)
            return
        if not pushes:
            told(taken)
            return
        confirmed = _Confirmed(len(pushes), self.metrics, partial(told, taken))
        for push in pushes:
            self.engine.begin(push, self.deadline_s, confirmed.one)

    def _counted(
        self,
        entries: Sequence[NewEvent | EventFault],
        events: dict[int, Event],
        rejected: list[RejectedEvent],
        appended: list[Appended],
    ) -> tuple[Taken, list[EventPush]]:
        """What became of the events, counted; and what the engine has not heard of."""
        results: list[EventResult] = []
        pushes: list[EventPush] = []
        for (index, event), one in zip(events.items(), appended, strict=True):
            conflict = _conflict(entries[index], one)
            if conflict is not None:
                rejected.append(RejectedEvent(index, "event_id_conflict", conflict))
                continue
            fresh = not (one.duplicate or one.conflict)
            status: Literal["accepted", "duplicate"] = "accepted" if fresh else "duplicate"
            results.append(EventResult(one.event_id, status, one.user_number))
            if fresh:
                pushes.append(_push(event, one))
        self.metrics.events(
            accepted=len(pushes), duplicate=len(results) - len(pushes), rejected=len(rejected)
        )
        return Taken(results, sorted(rejected, key=lambda one: one.index)), pushes


@dataclass(slots=True)
class _Confirmed:
    """Counts what the engine says of `left` pushes, and calls `then` behind the last."""

    left: int
    metrics: Metrics
    then: Callable[[], None]

    def one(self, outcome: Outcome) -> None:
        """The engine has taken an event in, or has not in time."""
        if not isinstance(outcome, EventReply):
            self.metrics.pushes_failed(1)
        self.left -= 1
        if not self.left:
            self.then()


def latest_ms() -> int:
    """The latest time that an event may have now, UTC ms."""
    return time.time_ns() // 1_000_000 + FUTURE_LIMIT_MS


def _event(entry: NewEvent | EventFault, now_ms: int) -> Event | EventFault:
    """The event to store, or why there is none."""
    if isinstance(entry, EventFault):
        return entry
    if entry.timestamp is not None and entry.timestamp > now_ms + FUTURE_LIMIT_MS:
        return EventFault(message="timestamp: this is more than an hour in the future")
    return Event(
        event_id=entry.event_id or new_id(),
        user_id=UserId(entry.user_id),
        item_id=ItemId(entry.item_id),
        timestamp_ms=now_ms if entry.timestamp is None else entry.timestamp,
        type=entry.type,
        value=entry.value,
    )


def _conflict(entry: NewEvent | EventFault, one: Appended) -> str | None:
    """Why an event's id was refused; a time that we made ourselves is no reason."""
    made_time = isinstance(entry, NewEvent) and entry.timestamp is None
    differs = [name for name in one.differs if not (made_time and name == "timestamp_ms")]
    if not differs:
        return None
    fields = ", ".join(name.removesuffix("_ms") for name in differs)
    return f"event_id: {one.event_id!r} was stored before with another {fields}"


def _push(event: Event, one: Appended) -> EventPush:
    return EventPush(
        event.user_id,
        event.item_id,
        event.timestamp_ms,
        one.user_number,
        one.table_number,
        event.value,
    )
