"""The follower repairs pushes that were lost."""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from moerec.engine.follower import FAR_BEHIND, PAGE, Follower
from moerec.errors import StorageError
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.types import Event, ItemId, StoredEvent, UserId


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


class Listener:
    """What the follower hands over."""

    def __init__(self) -> None:
        self.items: list[str] = []
        self.forgotten = 0

    def apply(self, events: Sequence[StoredEvent]) -> None:
        self.items += [stored.event.item_id for stored in events]

    def forget(self) -> None:
        self.forgotten += 1


def put(store: EventStore, *items: str) -> None:
    store.append([Event(f"e-{item}", UserId("anna"), ItemId(item), 1) for item in items])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_events_after_construction_come_once_and_in_order(store: EventStore) -> None:
    put(store, "before")
    listener = Listener()
    follower = Follower(store, listener.apply, listener.forget)
    items = [f"i{number}" for number in range(PAGE + 1)]
    put(store, *items)
    follower.catch_up()
    follower.catch_up()
    assert listener.items == items


def test_the_thread_follows_and_stops(store: EventStore) -> None:
    listener = Listener()
    follower = Follower(store, listener.apply, listener.forget, interval_s=0.01)
    follower.start()
    put(store, "i1")
    wait_until(lambda: listener.items == ["i1"])
    follower.stop()
    put(store, "i2")
    time.sleep(0.05)
    assert listener.items == ["i1"]


class Tail:
    """An event store of which only the tail is asked; `fails` times in vain."""

    def __init__(self, end: int = 0, fails: int = 0) -> None:
        self.end = end
        self.fails = fails

    def last_number(self) -> int:
        if self.fails and self.end:
            self.fails -= 1
            raise StorageError("the disk is away")
        return self.end

    def since(self, table_number: int, limit: int) -> list[StoredEvent]:
        event = Event("e", UserId("anna"), ItemId(f"i{table_number + 1}"), 1)
        return [StoredEvent(event, 1, table_number + 1)] if table_number < self.end else []


def test_a_far_tail_is_jumped_to_and_everybody_forgotten() -> None:
    tail, listener = Tail(), Listener()
    follower = Follower(tail, listener.apply, listener.forget)
    tail.end = FAR_BEHIND + 1
    follower.catch_up()
    assert (listener.forgotten, listener.items) == (1, [])
    tail.end += 1
    follower.catch_up()
    assert listener.items == [f"i{FAR_BEHIND + 2}"]


def test_a_store_that_refuses_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    tail, listener = Tail(), Listener()
    follower = Follower(tail, listener.apply, listener.forget, interval_s=0.01)
    tail.fails, tail.end = 2, 1
    with caplog.at_level(logging.WARNING):
        follower.start()
        wait_until(lambda: listener.items == ["i1"])
        follower.stop()
    assert caplog.text.count("the disk is away") == 2
