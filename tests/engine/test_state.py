"""Hot users: what is appended, ignored, forgotten and rebuilt."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moerec.engine.state import SEEN_LIMIT, HotUsers, Past, PastEvent, UserState
from moerec.errors import StorageError
from moerec.store.interfaces import EventStore
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.types import Event, ItemId, StoredEvent, UserId

INDEXES = {ItemId(f"i{index}"): index for index in range(1, 10)}
ANNA, BEN = UserId("anna"), UserId("ben")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


@pytest.fixture
def users(store: EventStore) -> HotUsers:
    return HotUsers(store, INDEXES, reach=3, capacity=2)


def items(state: UserState) -> list[int]:
    return state.past.items(state.past.length).tolist()


def times(state: UserState) -> list[int]:
    return state.past.times(state.past.length).tolist()


def values(state: UserState) -> list[float]:
    return state.past.values(state.past.length).tolist()


def put(store: EventStore, user_id: UserId, *items: str, at: int = 1_000) -> list[StoredEvent]:
    """Store one event for each item, a millisecond apart from `at` on."""
    before = store.last_number()
    store.append(
        [
            Event(f"{user_id}-{before + place}", user_id, ItemId(item), at + place)
            for place, item in enumerate(items)
        ]
    )
    return store.since(before, len(items))


def test_a_user_is_built_from_the_table(store: EventStore, users: HotUsers) -> None:
    put(store, ANNA, "i1", "i2", "i1", "i4", "i5")
    state = users.get(ANNA)
    assert items(state) == [1, 4, 5]
    assert state.seen.tolist() == [2, 1, 4, 5]
    assert (state.last_number, state.last_timestamp_ms) == (5, 1_004)


def test_times_and_values_come_by_push_as_they_come_from_the_table(
    store: EventStore, users: HotUsers
) -> None:
    store.append([Event("e1", ANNA, ItemId("i1"), 7, value=4.0)])
    state = users.get(ANNA)
    store.append(
        [Event("e2", ANNA, ItemId("i2"), 9, value=0.0), Event("e3", ANNA, ItemId("i3"), 9)]
    )
    users.apply_stored(store.since(1, 9))
    assert users.get(ANNA) is state
    pushed = items(state), times(state), str(values(state))
    assert pushed == ([1, 2, 3], [7, 9, 9], "[4.0, 0.0, nan]")
    users.clear()
    again = users.get(ANNA)
    assert (items(again), times(again), str(values(again))) == pushed


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Counting(SqlEventStore):
    """Counts how often a user's last number was asked for."""

    looks = 0

    def last_user_number(self, user_id: UserId) -> int:
        self.looks += 1
        return super().last_user_number(user_id)


@pytest.fixture
def counting(tmp_path: Path, store: EventStore) -> Iterator[Counting]:
    """The same table as `store`, which must be made first."""
    counting = Counting(f"sqlite:///{tmp_path}/events.db", "process")
    yield counting
    counting.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def moved(counting: Counting, clock: Clock) -> HotUsers:
    return HotUsers(counting, INDEXES, reach=3, capacity=2, now=clock)


def test_who_moved_has_what_nobody_told(store: EventStore, moved: HotUsers, clock: Clock) -> None:
    """A state that is not behind is the one at hand."""
    put(store, ANNA, "i1")
    state = moved.get(ANNA)
    clock.now_s += 1
    assert moved.get(ANNA, 0.5) is state
    put(store, ANNA, "i2")
    clock.now_s += 1
    assert moved.get(ANNA) is state
    assert items(moved.get(ANNA, 0.5)) == [1, 2]
    assert moved.get(BEN, 0.5).last_number == 0


def test_a_late_event_that_nobody_told_is_missed_as_well(
    store: EventStore, moved: HotUsers, clock: Clock
) -> None:
    """It stands before others in time, so the last event of the table did not tell of it."""
    put(store, ANNA, "i1", "i2", at=5_000)
    moved.get(ANNA)
    put(store, ANNA, "i3", at=4_000)
    clock.now_s += 1
    assert items(moved.get(ANNA, 0.5)) == [3, 1, 2]


def test_a_move_costs_one_look_at_the_table(
    store: EventStore, counting: Counting, moved: HotUsers, clock: Clock
) -> None:
    """Every request of a user whose engine was away cost one, under the engine's lock."""
    put(store, ANNA, "i1", "i2", "i3", at=5_000)
    moved.get(ANNA)
    clock.now_s += 10
    for since_s in (1.0, 1.5, 2.0):
        state = moved.get(ANNA, since_s)
        clock.now_s += 0.5
    assert counting.looks == 1
    # The next move; a late event that is too old to be read must not look like a missing one for ever.
    put(store, ANNA, "i9", at=1)
    again = moved.get(ANNA, 0.1)
    assert (again is state, again.last_number, counting.looks) == (False, 4, 2)
    clock.now_s += 0.5
    assert moved.get(ANNA, 0.6) is again
    assert counting.looks == 2
    assert moved.get(ANNA, 0.2) is again
    assert counting.looks == 3


def test_who_was_read_after_the_move_is_not_looked_at(
    store: EventStore, counting: Counting, moved: HotUsers, clock: Clock
) -> None:
    put(store, ANNA, "i1")
    state = moved.get(ANNA, 3.0)
    clock.now_s += 0.5
    assert moved.get(ANNA, 3.5) is state
    assert counting.looks == 0


def test_a_look_that_failed_is_none(store: EventStore, clock: Clock, tmp_path: Path) -> None:
    """The next request looks again."""

    class Failing(Counting):
        def last_user_number(self, user_id: UserId) -> int:
            super().last_user_number(user_id)
            if self.looks == 1:
                raise StorageError("busy")
            return 2

    put(store, ANNA, "i1")
    failing = Failing(f"sqlite:///{tmp_path}/events.db", "process")
    users = HotUsers(failing, INDEXES, reach=3, capacity=2, now=clock)
    users.get(ANNA)
    clock.now_s += 1
    put(store, ANNA, "i2")
    with pytest.raises(StorageError):
        users.get(ANNA, 0.5)
    assert items(users.get(ANNA, 0.5)) == [1, 2]
    failing.close()


def test_unknown_items_are_counted_but_not_read_by_the_model(
    store: EventStore, users: HotUsers
) -> None:
    """The newest `reach` KNOWN items are wanted, however many unknown ones lie between them."""
    put(store, ANNA, "i1", "i2", "i3", *[f"gone{n}" for n in range(20)])
    state = users.get(ANNA)
    assert items(state) == [1, 2, 3]
    assert state.last_number == 23
    assert state.seen.tolist() == [1, 2, 3]
    users.apply_stored(put(store, ANNA, "new", at=2_000))
    assert (items(state), state.last_number) == ([1, 2, 3], 24)
    assert state.seen.tolist() == [1, 2, 3]


def test_the_next_event_is_appended_without_a_look_at_the_table(
    store: EventStore, users: HotUsers
) -> None:
    put(store, ANNA, "i1", "i2", "i3")
    state = users.get(ANNA)
    users.apply_stored(put(store, ANNA, "i4", at=2_000))
    assert users.get(ANNA) is state
    assert items(state) == [2, 3, 4]
    assert state.last_timestamp_ms == 2_000


def test_an_event_that_comes_twice_counts_once(store: EventStore, users: HotUsers) -> None:
    stored = put(store, ANNA, "i1", "i2")
    users.get(ANNA)
    users.apply_stored(stored)
    users.apply_stored(stored)
    assert items(users.get(ANNA)) == [1, 2]


def test_a_gap_sends_the_reader_back_to_the_table(store: EventStore, users: HotUsers) -> None:
    put(store, ANNA, "i1")
    users.get(ANNA)
    put(store, ANNA, "i2", at=2_000)
    users.apply_stored(put(store, ANNA, "i3", at=3_000))
    assert len(users) == 0
    assert items(users.get(ANNA)) == [1, 2, 3]


def test_a_late_event_takes_its_place_in_time(store: EventStore, users: HotUsers) -> None:
    put(store, ANNA, "i1", "i2", at=5_000)
    users.get(ANNA)
    users.apply_stored(put(store, ANNA, "i3", at=4_000))
    assert items(users.get(ANNA)) == [3, 1, 2]
    assert users.get(ANNA).last_number == 3


def test_a_late_event_beyond_the_reach_delays_nothing(store: EventStore, users: HotUsers) -> None:
    """Its number is not among the newest events that are read, so the next push looks like a gap."""
    put(store, ANNA, "i1", "i2", "i3", at=5_000)
    users.apply_stored(put(store, ANNA, "i9", at=1))
    assert items(users.get(ANNA)) == [1, 2, 3]
    users.apply_stored(put(store, ANNA, "i4", at=6_000))
    assert items(users.get(ANNA)) == [2, 3, 4]
    assert 9 in users.get(ANNA).seen


def test_events_at_the_same_millisecond_stay_in_the_order_of_arrival(
    store: EventStore, users: HotUsers
) -> None:
    put(store, ANNA, "i1", at=5_000)
    state = users.get(ANNA)
    users.apply_stored(put(store, ANNA, "i2", at=5_000))
    assert users.get(ANNA) is state
    assert items(state) == [1, 2]


def test_the_first_event_of_a_new_user_may_be_of_any_age(
    store: EventStore, users: HotUsers
) -> None:
    state = users.get(ANNA)
    assert state.last_number == 0
    users.apply_stored(put(store, ANNA, "i1", at=-5))
    assert users.get(ANNA) is state
    assert items(state) == [1]


def test_the_least_recently_used_user_goes_first(store: EventStore, users: HotUsers) -> None:
    put(store, ANNA, "i1")
    put(store, BEN, "i2")
    anna, ben = users.get(ANNA), users.get(BEN)
    users.get(ANNA)
    users.get(UserId("cleo"))
    assert len(users) == 2
    assert users.get(ANNA) is anna
    assert users.get(BEN) is not ben


def test_the_oldest_seen_items_are_dropped_at_the_cap(store: EventStore) -> None:
    """From the table at once; by push when as many again have come, each item once."""
    many = {ItemId(f"x{number}"): number + 1 for number in range(3 * SEEN_LIMIT)}
    users = HotUsers(store, many, reach=3, capacity=2)
    put(store, ANNA, *[f"x{number}" for number in range(SEEN_LIMIT + 5)])
    state = users.get(ANNA)
    assert state.seen.tolist() == list(range(6, SEEN_LIMIT + 6))
    for number in range(SEEN_LIMIT - 1):
        state.see(7 if number % 2 else SEEN_LIMIT + 100 + number)
    assert len(state.seen) == 2 * SEEN_LIMIT - 1
    state.see(8)
    assert len(state.seen) == SEEN_LIMIT
    assert len(set(state.seen)) == SEEN_LIMIT
    assert state.seen.tolist()[-3:] == [7, 2 * SEEN_LIMIT + 98, 8]
    assert 6 not in state.seen


@given(
    steps=st.lists(st.one_of(st.integers(1, 50), st.just("keep")), max_size=60),
    limit=st.integers(1, 7),
)
def test_a_past_holds_its_newest_events(steps: list[int | str], limit: int) -> None:
    past, whole, kept = Past(limit), list[int](), 0
    for step in steps:
        if isinstance(step, int):
            past.append(PastEvent(step, 10 * step, step / 2))
            whole.append(step)
            kept += 1
        else:
            past.keep(2)
            kept = min(kept, 2)
        assert past.length == min(len(whole), limit)
        for newest in range(limit + 1):
            there = min(newest, kept, len(whole))
            expected = whole[len(whole) - there :]
            assert past.items(newest).tolist()[-there or newest :] == expected[-there or newest :]
            assert len(past.items(newest)) <= newest
            assert past.times(newest).tolist() == [10 * item for item in past.items(newest)]
            assert past.values(newest).tolist() == [item / 2 for item in past.items(newest)]


def test_a_past_does_not_grow_beyond_twice_its_limit() -> None:
    past = Past.of((PastEvent(number + 1) for number in range(1_000)), 10)
    assert past.length == 10
    assert past.items(1_000).tolist()[-10:] == list(range(991, 1_001))
    assert len(past.items(1_000)) < 20
