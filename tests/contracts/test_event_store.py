"""What every EventStore promises, on each kind of database that we support."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moerec.store.interfaces import EventStore, StoreCounts
from moerec.store.sql import Durability, open_event_store
from moerec.types import Event, ItemId, UserId


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    return {"sqlite": f"sqlite:///{tmp_path}/run/events.db"}[request.param]


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    store = open_event_store(url)
    yield store
    store.close()


def an_event(
    event_id: str, user: str = "ann", item: str = "i1", timestamp_ms: int = 1000, **other: object
) -> Event:
    return Event(event_id, UserId(user), ItemId(item), timestamp_ms, **other)  # type: ignore[arg-type]


def test_a_new_store_is_empty(store: EventStore) -> None:
    assert store.counts() == StoreCounts(0, 0)
    assert store.last_number() == 0
    assert store.history(UserId("ann"), 10) == []
    assert store.seen(UserId("ann"), 10) == []
    assert store.last_user_number(UserId("ann")) == 0
    assert store.since(0, 10) == []
    assert store.append([]) == []


def test_numbers_count_within_the_user_and_over_the_table(store: EventStore) -> None:
    first = store.append([an_event("a"), an_event("b", "bob"), an_event("c")])
    second = store.append([an_event("d", "bob"), an_event("e")])
    assert [(one.user_number, one.table_number) for one in first + second] == [
        (1, 1),
        (1, 2),
        (2, 3),
        (2, 4),
        (3, 5),
    ]
    assert not any(one.duplicate or one.conflict for one in first + second)
    assert store.counts() == StoreCounts(users=2, events=5)
    assert store.last_number() == 5


def test_what_is_stored_comes_back_whole(store: EventStore) -> None:
    event = Event("ä/1", UserId("ann ✓"), ItemId("i'1\""), 1_764_000_000_123, "rating", 4.5)
    store.append([event])
    (stored,) = store.history(UserId("ann ✓"), 10)
    assert (stored.event, stored.user_number, stored.table_number) == (event, 1, 1)


def test_the_same_event_again_is_a_duplicate_with_its_first_numbers(store: EventStore) -> None:
    store.append([an_event("a", value=3.0), an_event("b")])
    (again, new) = store.append([an_event("a", value=3.0), an_event("c")])
    assert (again.duplicate, again.user_number, again.table_number) == (True, 1, 1)
    assert (new.duplicate, new.user_number, new.table_number) == (False, 3, 3)
    assert store.counts().events == 3


def test_the_same_event_twice_in_one_call_is_stored_once(store: EventStore) -> None:
    event = an_event("a")
    first, second = store.append([event, event])
    assert (first.duplicate, second.duplicate) == (False, True)
    assert first.table_number == second.table_number == 1
    assert store.counts().events == 1


@pytest.mark.parametrize(
    ("other", "field"),
    [
        (an_event("a", user="bob"), "user_id"),
        (an_event("a", item="i2"), "item_id"),
        (an_event("a", timestamp_ms=1001), "timestamp_ms"),
        (an_event("a", type="purchase"), "type"),
        (an_event("a", value=1.0), "value"),
    ],
)
def test_the_same_id_with_other_content_is_a_conflict_and_changes_nothing(
    store: EventStore, other: Event, field: str
) -> None:
    store.append([an_event("a")])
    (result,) = store.append([other])
    assert result.conflict
    assert not result.duplicate
    assert result.differs == (field,)
    assert store.counts() == StoreCounts(users=1, events=1)
    assert store.history(UserId("ann"), 5)[0].event == an_event("a")


def test_a_conflict_within_one_call_leaves_no_user_without_events(store: EventStore) -> None:
    """Users got their rows before it was known whose events are new: a conflict's user stayed, with none."""
    calls = [an_event("a"), an_event("a", user="ghost"), an_event("b", user="bob")]
    first, conflict, last = store.append(calls)
    assert (first.user_number, conflict.differs, last.user_number) == (1, ("user_id",), 1)
    assert store.counts() == StoreCounts(users=2, events=2)
    assert store.last_user_number(UserId("ghost")) == 0
    assert store.append([an_event("c", user="ghost"), an_event("d")])[0].user_number == 1
    assert store.counts() == StoreCounts(users=3, events=4)


def test_history_is_in_the_order_of_time_then_of_arrival(store: EventStore) -> None:
    store.append(
        [an_event("b", item="i2", timestamp_ms=2000), an_event("d", item="i4", timestamp_ms=3000)]
    )
    store.append(
        [an_event("a", item="i1", timestamp_ms=1000), an_event("c", item="i3", timestamp_ms=2000)]
    )
    assert [one.event.item_id for one in store.history(UserId("ann"), 10)] == [
        "i1",
        "i2",
        "i3",
        "i4",
    ]
    assert [one.user_number for one in store.history(UserId("ann"), 10)] == [3, 1, 4, 2]


def test_history_gives_the_newest_when_it_is_cut(store: EventStore) -> None:
    store.append([an_event(f"e{n}", item=f"i{n}", timestamp_ms=n) for n in range(10)])
    assert [one.event.item_id for one in store.history(UserId("ann"), 3)] == ["i7", "i8", "i9"]


def test_the_last_number_of_a_user_is_that_of_the_last_to_arrive(store: EventStore) -> None:
    """An engine that compared its state with the last event in time never missed one that came late."""
    store.append([an_event("a", timestamp_ms=2000), an_event("b", "bob")])
    assert store.last_user_number(UserId("ann")) == 1
    store.append([an_event("late", timestamp_ms=1000)])
    store.append([an_event("late", timestamp_ms=1000)])
    assert store.last_user_number(UserId("ann")) == 2
    assert store.last_user_number(UserId("bob")) == 1


def test_seen_names_each_item_once_the_newest_first(store: EventStore) -> None:
    items = ["i1", "i2", "i1", "i3", "i3"]
    store.append([an_event(f"e{n}", item=item, timestamp_ms=n) for n, item in enumerate(items)])
    assert store.seen(UserId("ann"), 10) == ["i3", "i1", "i2"]
    assert store.seen(UserId("ann"), 2) == ["i3", "i1"]


def test_seen_looks_past_many_repeats(store: EventStore) -> None:
    store.append([an_event("first", item="old", timestamp_ms=0)])
    store.append([an_event(f"e{n}", item="new", timestamp_ms=1 + n) for n in range(600)])
    assert store.seen(UserId("ann"), 10) == ["new", "old"]


def test_the_tail_is_read_in_pieces_without_holes(store: EventStore) -> None:
    store.append([an_event(f"e{n}", user=f"u{n % 3}") for n in range(10)])
    numbers: list[int] = []
    while piece := store.since(numbers[-1] if numbers else 0, 4):
        numbers.extend(one.table_number for one in piece)
    assert numbers == list(range(1, 11))


def test_a_large_call_is_one_transaction_with_right_numbers(store: EventStore) -> None:
    events = [an_event(f"e{n}", user=f"u{n % 1500}", timestamp_ms=n) for n in range(3000)]
    results = store.append(events)
    assert [one.user_number for one in results] == [1] * 1500 + [2] * 1500
    assert all(one.duplicate for one in store.append(events))


def test_threads_that_append_together_leave_no_hole(url: str) -> None:
    """Two stores on one database, as a gateway and an import have; both write to the same users."""
    stores = [open_event_store(url), open_event_store(url)]

    def write(store: EventStore, name: str) -> None:
        for n in range(40):
            store.append([an_event(f"{name}{n}-{user}", user=user) for user in ("ann", "bob")])

    threads = [threading.Thread(target=write, args=(stores[n % 2], f"t{n}-")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for user in ("ann", "bob"):
        assert sorted(one.user_number for one in stores[0].history(UserId(user), 1000)) == list(
            range(1, 161)
        )
    assert [one.table_number for one in stores[1].since(0, 1000)] == list(range(1, 321))
    for store in stores:
        store.close()


def test_a_reader_sees_what_another_process_committed(url: str) -> None:
    writer, reader = open_event_store(url), open_event_store(url)
    assert reader.history(UserId("ann"), 5) == []
    writer.append([an_event("a")])
    assert [one.event.event_id for one in reader.history(UserId("ann"), 5)] == ["a"]
    assert reader.last_number() == 1
    writer.close()
    reader.close()


@pytest.mark.parametrize("durability", ["process", "full"])
def test_what_was_appended_is_there_after_reopening(url: str, durability: Durability) -> None:
    first = open_event_store(url, durability)
    first.append([an_event("a")])
    first.close()
    second = open_event_store(url, durability)
    assert second.append([an_event("a"), an_event("b")])[1].user_number == 2
    second.close()
