"""What the engine remembers of the users it has met lately.

The event table is the truth and this is a copy of its newest part: whatever does not fit (a gap, a
late event) throws the copy away, and the next read makes a new one.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor

from moerec.store.interfaces import EventStore
from moerec.types import PADDING, ItemId, StoredEvent, UserId

SEEN_LIMIT = 10_000
"""Items of a user that are kept for exclusion, newest first; older ones may be recommended again."""


class PastEvent(NamedTuple):
    """What the model reads of an event: index 1..V, UTC ms, and the value, NaN where it has none."""

    item: int
    timestamp_ms: int = 0
    value: float = math.nan


@dataclass(frozen=True, slots=True)
class Taste:
    """The model's view of a history: `vector` [D], its `recent` items [R], newest first, the experts
    awake for its newest event, by layer, and its row [G] for "liked", if the model has that head."""

    vector: Tensor
    recent: Tensor
    experts: list[list[int]]
    liked: Tensor | None = None


@dataclass(slots=True)
class UserState:
    """One user's events as far as answers need them.

    * `history`: the newest events of known items, oldest first, at most the model's reach;
    * `seen`: item id to index (0 where the bundle does not know it), oldest first, at most `SEEN_LIMIT`;
    * `last_number`: the newest `user_number` in here, 0 for a user without events;
    * `last_timestamp_ms`: timestamp of the last event in canonical order;
    * `taste`: the model's answer for `history`, until the next event;
    * `fresh`: so many of the newest events of `history` the encoder has not taken in yet;
    * `slot`: where the encoder keeps what it knows of the older ones, if it does;
    * `passing`: nobody will ask for this state again: a history that came with its request, or one that went.
    """

    history: deque[PastEvent]
    seen: dict[ItemId, int] = field(default_factory=dict)
    last_number: int = 0
    last_timestamp_ms: int = 0
    taste: Taste | None = None
    fresh: int = 0
    slot: int | None = None
    passing: bool = False

    def __post_init__(self) -> None:
        self.fresh = len(self.history)

    def follows(self, event_number: int, timestamp_ms: int) -> bool:
        """Whether an event stands right behind this history, in number and in time."""
        in_time = self.last_number == 0 or timestamp_ms >= self.last_timestamp_ms
        return event_number == self.last_number + 1 and in_time

    def append(self, event: PastEvent) -> None:
        """The next event of a known item."""
        self.history.append(event)
        self.fresh = min(self.fresh + 1, len(self.history))
        self.taste = None


class HotUsers:
    """User states by user id; the least recently used one goes when there are more than `capacity`.

    `release` is told of each state that goes. Not thread-safe: the engine holds its lock around every call.
    """

    def __init__(
        self,
        store: EventStore,
        indexes: Mapping[ItemId, int],
        reach: int,
        capacity: int,
        release: Callable[[UserState], None] = lambda _state: None,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._reach = reach
        self._capacity = capacity
        self._release = release
        self._states: OrderedDict[UserId, UserState] = OrderedDict()

    def __len__(self) -> int:
        return len(self._states)

    def get(self, user_id: UserId) -> UserState:
        """The user's state, read from the event table where it is not at hand; raises StorageError."""
        state = self._states.get(user_id)
        if state is None:
            state = self._states[user_id] = self._build(user_id)
            if len(self._states) > self._capacity:
                self._let_go(self._states.popitem(last=False)[1])
        self._states.move_to_end(user_id)
        return state

    def apply(
        self,
        user_id: UserId,
        item_id: ItemId,
        timestamp_ms: int,
        user_number: int,
        value: float | None = None,
    ) -> None:
        """Take in an event of the table: append it, ignore it if known, or forget the state."""
        state = self._states.get(user_id)
        if state is None or user_number <= state.last_number:
            return
        if not state.follows(user_number, timestamp_ms):
            self._let_go(self._states.pop(user_id))
            return
        state.last_number = user_number
        state.last_timestamp_ms = timestamp_ms
        past = self._past(item_id, timestamp_ms, value)
        if past.item != PADDING:
            state.append(past)
        self._see(state, item_id)

    def apply_stored(self, events: Iterable[StoredEvent]) -> None:
        """`apply` for events as the table gives them."""
        for stored in events:
            event = stored.event
            self.apply(
                event.user_id, event.item_id, event.timestamp_ms, stored.user_number, event.value
            )

    def clear(self) -> None:
        """Forget everybody."""
        for state in self._states.values():
            self._let_go(state)
        self._states.clear()

    def _let_go(self, state: UserState) -> None:
        state.passing = True
        self._release(state)

    def _build(self, user_id: UserId) -> UserState:
        events = self._newest_events(user_id)
        past = (
            self._past(stored.event.item_id, stored.event.timestamp_ms, stored.event.value)
            for stored in events
        )
        known = (event for event in past if event.item != PADDING)
        state = UserState(deque(known, maxlen=self._reach))
        if events:
            state.last_number = max(stored.user_number for stored in events)
            state.last_timestamp_ms = events[-1].event.timestamp_ms
            for item_id in reversed(self._store.seen(user_id, SEEN_LIMIT)):
                self._see(state, item_id)
        return state

    def _past(self, item_id: ItemId, timestamp_ms: int, value: float | None) -> PastEvent:
        index = self._indexes.get(item_id, PADDING)
        return PastEvent(index, timestamp_ms, math.nan if value is None else value)

    def _newest_events(self, user_id: UserId) -> list[StoredEvent]:
        """Enough of the newest events to hold `reach` known items, or all there are."""
        limit = self._reach
        while True:
            events = self._store.history(user_id, limit)
            known = sum(stored.event.item_id in self._indexes for stored in events)
            if known >= self._reach or len(events) < limit:
                return events
            limit *= 2

    def _see(self, state: UserState, item_id: ItemId) -> None:
        state.seen.pop(item_id, None)
        state.seen[item_id] = self._indexes.get(item_id, PADDING)
        if len(state.seen) > SEEN_LIMIT:
            del state.seen[next(iter(state.seen))]
