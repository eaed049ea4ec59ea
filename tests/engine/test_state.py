"""Hot users: what is appended, ignored, forgotten and rebuilt."""

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from moerec.engine.state import SEEN_LIMIT, HotUsers, UserState
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
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
    return [event.item for event in state.history]


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
    assert list(state.seen.items()) == [("i2", 2), ("i1", 1), ("i4", 4), ("i5", 5)]
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
    pushed = list(state.history)
    assert pushed[:2] == [(1, 7, 4.0), (2, 9, 0.0)]
    assert pushed[2][:2] == (3, 9)
    assert math.isnan(pushed[2].value)
    users.clear()
    assert str(list(users.get(ANNA).history)) == str(pushed)


def test_unknown_items_are_counted_and_seen_but_not_read_by_the_model(
    store: EventStore, users: HotUsers
) -> None:
    """The newest `reach` KNOWN items are wanted, however many unknown ones lie between them."""
    put(store, ANNA, "i1", "i2", "i3", *[f"gone{n}" for n in range(20)])
    state = users.get(ANNA)
    assert items(state) == [1, 2, 3]
    assert state.last_number == 23
    assert state.seen[ItemId("gone7")] == 0
    users.apply_stored(put(store, ANNA, "new", at=2_000))
    assert (items(state), state.last_number) == ([1, 2, 3], 24)
    assert ItemId("new") in state.seen


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
    assert ItemId("i9") in users.get(ANNA).seen


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


def test_the_seen_set_drops_its_oldest_at_the_cap(store: EventStore, users: HotUsers) -> None:
    put(store, ANNA, *[f"x{number}" for number in range(SEEN_LIMIT + 5)])
    state = users.get(ANNA)
    assert len(state.seen) == SEEN_LIMIT
    assert ItemId("x4") not in state.seen
    users.apply_stored(put(store, ANNA, "x7", "i1", at=1_000_000))
    assert len(state.seen) == SEEN_LIMIT
    assert ItemId("x5") not in state.seen
    assert list(state.seen)[-2:] == ["x7", "i1"]
