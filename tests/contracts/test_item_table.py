"""What every ItemTable promises, on each kind of database that we support."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.types import Event, ItemChange, ItemField, ItemId, UserId

FIELDS: dict[str, ItemField] = {
    "title": 'Zoë\'s "night"\n\0✓',
    "categories": ["a", "b|c", ""],
    "year": 1979,
    "price": 1.5,
    "huge": -1e300,
    "new": True,
    "nothing": None,
    "": "a column without a name",
    "none": [],
}


@pytest.fixture(params=["sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database."""
    return {"sqlite": f"sqlite:///{tmp_path}/run/events.db"}[request.param]


@pytest.fixture
def store(url: str) -> Iterator[EventStore]:
    store = open_event_store(url)
    yield store
    store.close()


def put(store: EventStore, *names: str) -> list[ItemChange]:
    return store.change_items({ItemId(name): {"title": name} for name in names})


def numbers(changes: list[ItemChange]) -> list[tuple[int, str]]:
    return [(change.number, change.item_id) for change in changes]


def test_a_new_table_is_empty(store: EventStore) -> None:
    assert store.item(ItemId("i1")) is None
    assert store.item_changes(0, 10) == []
    assert store.change_items({}) == []


def test_fields_come_back_whole_and_of_their_types(store: EventStore) -> None:
    (made,) = store.change_items({ItemId("a/b ✓"): FIELDS})
    assert made == ItemChange(1, ItemId("a/b ✓"), FIELDS)
    found = store.item(ItemId("a/b ✓"))
    assert found == made
    assert store.item_changes(0, 10) == [made]
    assert found.fields is not None
    assert {name: type(value) for name, value in found.fields.items()} == {
        name: type(value) for name, value in FIELDS.items()
    }


def test_numbers_grow_in_the_order_of_the_changes(store: EventStore) -> None:
    assert numbers(put(store, "b", "a")) == [(1, "b"), (2, "a")]
    assert numbers(put(store, "c")) == [(3, "c")]
    assert numbers(store.item_changes(0, 10)) == [(1, "b"), (2, "a"), (3, "c")]


def test_an_item_that_changes_again_has_the_new_number_alone(store: EventStore) -> None:
    put(store, "a", "b")
    (again,) = store.change_items({ItemId("a"): {"colour": "red"}})
    assert again == ItemChange(3, ItemId("a"), {"colour": "red"})
    assert store.item(ItemId("a")) == again
    assert numbers(store.item_changes(0, 10)) == [(2, "b"), (3, "a")]


def test_the_same_fields_again_are_a_change(store: EventStore) -> None:
    assert [made.number for _ in range(3) for made in put(store, "a")] == [1, 2, 3]


def test_an_item_goes_and_comes_back(store: EventStore) -> None:
    put(store, "a")
    gone = ItemChange(2, ItemId("a"), {"title": "a"}, removed=True)
    assert store.change_items({ItemId("a"): None}) == [gone]
    assert store.item(ItemId("a")) == gone, "it stands in histories with what it was"
    assert numbers(put(store, "a")) == [(3, "a")]
    assert store.item_changes(0, 10) == [ItemChange(3, ItemId("a"), {"title": "a"})]


def test_an_item_can_go_that_never_came(store: EventStore) -> None:
    """It is one of the bundle's, which the table does not know."""
    made = store.change_items({ItemId("a"): None, ItemId("b"): {}})
    gone = ItemChange(1, ItemId("a"), None, removed=True)
    assert made == [gone, ItemChange(2, ItemId("b"), {})]
    assert store.item_changes(0, 10) == made


def test_changes_are_read_in_pieces_without_holes(store: EventStore) -> None:
    put(store, *(f"i{n}" for n in range(10)))
    found: list[int] = []
    while piece := store.item_changes(found[-1] if found else 0, 4):
        assert len(piece) <= 4
        found.extend(change.number for change in piece)
    assert found == list(range(1, 11))


def test_a_call_that_fails_changes_nothing(store: EventStore) -> None:
    put(store, "a")
    with pytest.raises(ValueError, match="JSON"):
        store.change_items({ItemId("a"): {"new": 1}, ItemId("b"): {"price": float("nan")}})
    assert store.item_changes(0, 10) == [ItemChange(1, ItemId("a"), {"title": "a"})]


def test_events_and_items_do_not_disturb_each_other(store: EventStore) -> None:
    put(store, "a")
    store.append([Event("e1", UserId("ann"), ItemId("a"), 5)])
    put(store, "b")
    assert store.append([Event("e2", UserId("ann"), ItemId("b"), 6)])[0].table_number == 2
    assert numbers(put(store, "c")) == [(3, "c")]
    assert store.last_number() == 2


def test_threads_that_write_together_give_no_number_twice(url: str) -> None:
    """Two stores on one database, as two gateways have."""
    stores = [open_event_store(url), open_event_store(url)]
    given: list[int] = []

    def write(store: EventStore, name: str) -> None:
        for n in range(40):
            given.extend(change.number for change in put(store, f"{name}-{n}", f"shared-{n}"))

    threads = [threading.Thread(target=write, args=(stores[n % 2], f"t{n}")) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(given) == list(range(1, 4 * 40 * 2 + 1))
    found = [change.number for change in stores[0].item_changes(0, 1000)]
    assert found == sorted(set(found))
    assert len(found) == 4 * 40 + 40
    for store in stores:
        store.close()


def test_a_reader_sees_what_another_process_committed_and_reopening_keeps_it(url: str) -> None:
    writer, reader = open_event_store(url), open_event_store(url)
    assert reader.item_changes(0, 5) == []
    put(writer, "a")
    assert numbers(reader.item_changes(0, 5)) == [(1, "a")]
    writer.close()
    reader.close()
    again = open_event_store(url)
    assert numbers(put(again, "b")) == [(2, "b")]
    again.close()
