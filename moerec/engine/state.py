"""What the engine remembers of the users it has met lately.

The event table is the truth and this is a copy of its newest part: whatever does not fit (a gap, a
late event) throws the copy away, and the next read makes a new one. Kept in arrays: a user costs bytes
and not objects.
"""

import math
import time
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, repeat
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from moerec.engine.counters import Counters
from moerec.engine.item_news import ItemNews, hashes
from moerec.store.interfaces import PastRow, UserEvents
from moerec.types import PADDING, ItemId, StoredEvent, UserId

SEEN_LIMIT = 10_000
"""Items of a user that are kept for exclusion, newest first; older ones may be recommended again."""


class PastEvent(NamedTuple):
    """What the model reads of an event: index 1..V, UTC ms, and the value, NaN where it has none."""

    item: int
    timestamp_ms: int = 0
    value: float = math.nan


class Past:
    """The newest events of a history, oldest first, at most `limit` of them, of known items."""

    __slots__ = ("_items", "_limit", "_times", "_values", "length")

    def __init__(self, limit: int) -> None:
        self._items, self._times, self._values = array("i"), array("q"), array("f")
        self._limit = limit
        self.length = 0
        """How many there are, those that `keep` has dropped included."""

    @classmethod
    def of(cls, events: Iterable[PastEvent], limit: int) -> Self:
        """The newest of some events."""
        newest = list(events)[-limit:]
        return cls.of_columns(
            array("i", [event.item for event in newest]),
            array("q", [event.timestamp_ms for event in newest]),
            array("f", [event.value for event in newest]),
            limit,
        )

    @classmethod
    def of_columns(
        cls, items: "array[int]", times: "array[int]", values: "array[float]", limit: int
    ) -> Self:
        """The newest of some events, given as what `items`, `times` and `values` return."""
        past = cls(limit)
        past._items, past._times, past._values = items[-limit:], times[-limit:], values[-limit:]
        past.length = len(past._items)
        return past

    def append(self, event: PastEvent) -> None:
        """The next event."""
        self._items.append(event.item)
        self._times.append(event.timestamp_ms)
        self._values.append(event.value)
        self.length = min(self.length + 1, self._limit)
        self.keep(self._limit)

    def keep(self, newest: int) -> None:
        """Drop older events than so many of the newest, when there are as many of them again."""
        # Now and then, not each time: it moves all that stay.
        if len(self._items) >= 2 * newest:
            place = self._place(newest)
            del self._items[:place], self._times[:place], self._values[:place]

    def items(self, newest: int) -> "array[int]":
        """Item indexes of so many of the newest events (fewer where there are fewer), oldest first."""
        return self._items[self._place(newest) :]

    def times(self, newest: int) -> "array[int]":
        """Their times, UTC ms."""
        return self._times[self._place(newest) :]

    def values(self, newest: int) -> "array[float]":
        """Their values, NaN where there is none."""
        return self._values[self._place(newest) :]

    def _place(self, newest: int) -> int:
        return max(len(self._items) - newest, 0)


class Taste(NamedTuple):
    """The model's view of a history: `vector` [D], its `recent` items [R], newest first, the experts
    awake for its newest event, by layer, and its row [G] for "liked", if the model has that head."""

    vector: NDArray[np.float32]
    recent: NDArray[np.int64]
    experts: list[list[int]]
    liked: NDArray[np.float32] | None = None


class LimitedTaste(NamedTuple):
    """The taste with at most `most` experts a layer, without those masked in the routing epoch `epoch`."""

    epoch: int
    most: int
    taste: Taste


@dataclass(slots=True)
class UserState:
    """One user's events as far as answers need them.

    * `past`: the newest events of known items, at most the model's reach; the encoder may drop what it
      has taken in;
    * `seen`: indexes of known items, in the order of the events, one of them perhaps several times;
    * `last_number`: the newest `user_number` in here, 0 for a user without events;
    * `last_timestamp_ms`: timestamp of the last event in canonical order;
    * `taste`: the model's answer for `past`, until the next event;
    * `limited`: the one under limits that was asked for last, if any, until the next event;
    * `fresh`: so many of the newest events of `past` the encoder has not taken in yet;
    * `slot`: where the encoder keeps what it knows of the older ones, if it does;
    * `looked_at`: all events that were stored until then are in here, seconds of the clock of `HotUsers`;
    * `unknown`: hashes of the ids of items that were not known when their events came in; empty where there
      are too many of them, None without any;
    * `news`: what became of items until then (`ItemNews.number`) is in here;
    * `passing`: nobody will ask for this state again: a history that came with its request, or one that went.
    """

    past: Past
    seen: "array[int]" = field(default_factory=lambda: array("i"))
    last_number: int = 0
    last_timestamp_ms: int = 0
    taste: Taste | None = None
    limited: LimitedTaste | None = None
    fresh: int = 0
    slot: int | None = None
    looked_at: float = -math.inf
    unknown: "array[int] | None" = None
    news: int = 0
    passing: bool = False

    def __post_init__(self) -> None:
        self.fresh = self.past.length

    def follows(self, event_number: int, timestamp_ms: int) -> bool:
        """Whether an event stands right behind this history, in number and in time."""
        in_time = self.last_number == 0 or timestamp_ms >= self.last_timestamp_ms
        return event_number == self.last_number + 1 and in_time

    def append(self, event: PastEvent) -> None:
        """The next event of a known item."""
        self.past.append(event)
        self.fresh = min(self.fresh + 1, self.past.length)
        self.taste = self.limited = None

    def see(self, item: int) -> None:
        """An item of the newest event, for exclusion."""
        self.seen.append(item)
        if len(self.seen) >= 2 * SEEN_LIMIT:
            self.seen = array("i", newest_distinct(self.seen, SEEN_LIMIT))


def newest_distinct(items: Sequence[int], limit: int) -> list[int]:
    """Each item once, in the order of their last places; of more than `limit` the newest."""
    return list(dict.fromkeys(reversed(items)))[:limit][::-1]


class HotUsers:
    """User states by user id; the least recently used one goes when there are more than `capacity`.

    `release` is told of each state that has gone, by `sweep`: until then who has it may use it. Not
    thread-safe: the engine holds its lock around every call.
    """

    def __init__(
        self,
        store: UserEvents,
        indexes: Mapping[ItemId, int],
        reach: int,
        capacity: int,
        release: Callable[[UserState], None] = lambda _state: None,
        counters: Counters | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._indexes = indexes
        self._reach = reach
        self._capacity = capacity
        self._release = release
        self._counters = counters or Counters()
        self._now = now
        self._states: OrderedDict[UserId, UserState] = OrderedDict()
        self._news = ItemNews()
        self._brought: dict[UserId, UserState] = {}
        self._gone: list[UserState] = []

    def __len__(self) -> int:
        return len(self._states)

    def bring(self, user_ids: Sequence[UserId]) -> None:
        """Reads those who are not at hand, all together, for who calls `get` before `sweep`.

        StorageError if the event table refuses: then `get` will read them one by one.
        """
        missing = list(dict.fromkeys([each for each in user_ids if self._at_hand(each) is None]))
        if missing:
            asked_at = self._now()
            found = self._store.newest(missing, self._reach)
            for user_id, rows in zip(missing, found, strict=True):
                self._brought[user_id] = self._state(user_id, rows, asked_at)

    def get(self, user_id: UserId, moved_s: float | None = None) -> UserState:
        """The user's state, read from the event table where it is not at hand; raises StorageError.

        With `moved_s` it has all events that were stored until so many seconds ago, this engine having been
        told of them or not.
        """
        state = self._at_hand(user_id)
        if state is not None and moved_s is None:
            self._counters.states_hot += 1
            self._states.move_to_end(user_id)
            return state
        asked_at = self._now()
        stored = 0
        if state is not None and moved_s is not None and state.looked_at < asked_at - moved_s:
            stored = self._store.last_user_number(user_id)
            if stored > state.last_number:
                self._let_go(self._states.pop(user_id))
                state = None
            else:
                state.looked_at = asked_at
        if state is not None:
            self._counters.states_hot += 1
        else:
            state = self._brought.pop(user_id, None) or self._build(user_id, asked_at)
            # A late event may stand too far back to be among those that were read.
            state.last_number = max(state.last_number, stored)
            self._states[user_id] = state
            self._counters.states_read += 1
            if len(self._states) > self._capacity:
                self._counters.states_evicted += 1
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
            state.see(past.item)
        else:
            state.unknown = hashes([item_id], state.unknown)

    def apply_stored(self, events: Iterable[StoredEvent]) -> None:
        """`apply` for events as the table gives them."""
        for stored in events:
            event = stored.event
            self.apply(
                event.user_id, event.item_id, event.timestamp_ms, stored.user_number, event.value
            )

    def change_items(self, came: Iterable[ItemId], moved: Iterable[int]) -> None:
        """Items that were unknown are known from now on, and others have another vector: whoever had one of
        them is forgotten when next asked for."""
        self._news.add(came, moved)

    def clear(self) -> None:
        """Forget everybody."""
        for state in self._states.values():
            self._let_go(state)
        self._states.clear()

    def sweep(self) -> None:
        """Nobody uses the states that have gone any more, nor those that were brought and not asked for."""
        self._brought.clear()
        for state in self._gone:
            self._release(state)
        self._gone.clear()

    def _at_hand(self, user_id: UserId) -> UserState | None:
        """The user's state, if there is one that still holds."""
        state, now = self._states.get(user_id), self._news.number
        if state is not None and state.news != now:
            if self._news.concerns(state.unknown, state.seen, state.news):
                self._let_go(self._states.pop(user_id))
                return None
            state.news = now
        return state

    def _let_go(self, state: UserState) -> None:
        state.passing = True
        self._gone.append(state)

    def _build(self, user_id: UserId, asked_at: float) -> UserState:
        (rows,) = self._store.newest([user_id], self._reach)
        return self._state(user_id, rows, asked_at)

    def _state(self, user_id: UserId, rows: list[PastRow], asked_at: float) -> UserState:
        """The state of a user whose newest events, read after `asked_at`, are these: all of them, if fewer
        than `reach`."""
        all_there = len(rows) < self._reach
        if not all_there:
            rows = self._enough(user_id, rows)
        # Column by column: an object for each event is a good part of what a new user costs.
        ids, times, values, numbers = zip(*rows, strict=True) if rows else ((), (), (), ())
        indexes = list(map(self._indexes.get, ids, repeat(PADDING)))
        known = array("i", filter(None, indexes))
        past = Past.of_columns(
            known,
            array("q", compress(times, indexes)),
            array(
                "f", [math.nan if value is None else value for value in compress(values, indexes)]
            ),
            self._reach,
        )
        state = UserState(past, looked_at=asked_at, news=self._news.number)
        strange = [item for item, index in zip(ids, indexes, strict=True) if not index]
        if rows:
            state.last_number = max(numbers)
            state.last_timestamp_ms = times[-1]
        if all_there:
            state.seen = known
        else:
            seen = self._seen(user_id)
            strange += [item for item in seen if item not in self._indexes]
            found = (self._indexes.get(item, PADDING) for item in seen)
            state.seen = array("i", [index for index in found if index != PADDING])
        if strange:
            state.unknown = hashes(strange)
        return state

    def _seen(self, user_id: UserId) -> list[ItemId]:
        return self._store.seen(user_id, SEEN_LIMIT)[::-1]

    def _past(self, item_id: ItemId, timestamp_ms: int, value: float | None) -> PastEvent:
        index = self._indexes.get(item_id, PADDING)
        return PastEvent(index, timestamp_ms, math.nan if value is None else value)

    def _enough(self, user_id: UserId, rows: list[PastRow]) -> list[PastRow]:
        """So many of the newest events that `reach` known items are among them, or all there are."""
        limit = self._reach
        while len(rows) >= limit and (
            sum(row.item_id in self._indexes for row in rows) < self._reach
        ):
            limit *= 2
            (rows,) = self._store.newest([user_id], limit)
        return rows
