"""From the table of items to the engine."""

import threading
import time
from collections.abc import Callable, Sequence

import pytest

from moerec.engine.item_follower import PAGE, ItemFollower
from moerec.errors import StorageError
from moerec.types import ItemChange, ItemId


class Table:
    """Changes in memory; refuses once for each of `refusals`."""

    def __init__(self) -> None:
        self.changes: list[ItemChange] = []
        self.refusals = 0

    def add(self, count: int) -> None:
        for _ in range(count):
            number = len(self.changes) + 1
            self.changes.append(ItemChange(number, ItemId(f"n{number}"), {}))

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        if self.refusals:
            self.refusals -= 1
            raise StorageError("not now")
        return [change for change in self.changes if change.number > after][:limit]


class Items:
    """Keeps what it is told; an index takes until `free` is set."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.index_is_due = False
        self.begun = 0
        self.free = threading.Event()

    def change_items(self, changes: Sequence[ItemChange]) -> None:
        self.numbers += [change.number for change in changes]

    def make_index_anew(self) -> None:
        self.begun += 1
        self.free.wait(30)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def table() -> Table:
    return Table()


def test_each_change_comes_once_and_in_order(table: Table) -> None:
    items, told = Items(), threading.Event()
    table.add(2 * PAGE + 1)
    follower = ItemFollower(table, items, told)
    follower.catch_up()
    table.add(1)
    follower.catch_up()
    follower.catch_up()
    assert items.numbers == list(range(1, 2 * PAGE + 3))


def test_it_reads_when_it_is_told_and_by_itself(table: Table) -> None:
    for interval_s, tells in ((1_000.0, True), (0.01, False)):
        items, told = Items(), threading.Event()
        follower = ItemFollower(table, items, told, interval_s)
        follower.start()
        table.add(1)
        if tells:
            told.set()
        wait_for(lambda items=items: items.numbers == [*range(1, len(table.changes) + 1)])  # type: ignore[misc]
        follower.stop()


def test_a_table_that_cannot_be_read_is_read_later(table: Table) -> None:
    items, told = Items(), threading.Event()
    table.add(1)
    table.refusals = 3
    follower = ItemFollower(table, items, told, 0.01)
    with pytest.raises(StorageError):
        follower.catch_up()
    follower.start()
    wait_for(lambda: items.numbers == [1])
    follower.stop()


def test_changes_go_on_while_one_index_is_made(table: Table) -> None:
    items, told = Items(), threading.Event()
    items.index_is_due = True
    follower = ItemFollower(table, items, told)
    follower.catch_up()
    wait_for(lambda: items.begun == 1)
    table.add(3)
    follower.catch_up()
    assert items.numbers == [1, 2, 3]
    assert items.begun == 1
    items.free.set()
    wait_for(lambda: all(each.name != "indexer" for each in threading.enumerate()))
    items.free.clear()
    follower.catch_up()
    wait_for(lambda: items.begun == 2)
    items.free.set()


def test_what_comes_meanwhile_is_for_the_next_time(table: Table) -> None:
    """It went on until nothing came any more: an engine did not start while a catalogue was loaded, and no
    index was made of what came."""

    class Growing(Items):
        def change_items(self, changes: Sequence[ItemChange]) -> None:
            super().change_items(changes)
            assert len(self.numbers) <= 2 * PAGE + 1
            table.add(1)

    items = Growing()
    table.add(PAGE)
    follower = ItemFollower(table, items, threading.Event())
    follower.catch_up()
    assert items.numbers == list(range(1, PAGE + 2))
    follower.catch_up()
    assert items.numbers == list(range(1, PAGE + 3))


def test_an_engine_that_fails_is_not_asked_as_often_as_gateways_tell(table: Table) -> None:
    """Each of a waiting gateway's questions was another try, and another traceback in the log."""

    class Broken(Items):
        def change_items(self, changes: Sequence[ItemChange]) -> None:
            super().change_items(changes)
            raise MemoryError

    items, told = Broken(), threading.Event()
    table.add(1)
    follower = ItemFollower(table, items, told, 1_000.0)
    follower.start()
    told.set()
    wait_for(lambda: items.numbers == [1])
    for _ in range(20):
        told.set()
        time.sleep(0.005)
    follower.stop()
    assert items.numbers == [1]


def test_an_index_that_cannot_be_made_is_logged_and_not_tried_at_once(
    table: Table, caplog: pytest.LogCaptureFixture
) -> None:
    """It was tried again at each look at the table, in a thread whose end nobody logged."""

    class Broken(Items):
        def make_index_anew(self) -> None:
            super().make_index_anew()
            raise MemoryError

    items = Broken()
    items.index_is_due = True
    items.free.set()
    follower = ItemFollower(table, items, threading.Event())
    follower.start()
    follower.catch_up()
    wait_for(lambda: "no index of the items could be made" in caplog.text)
    follower.catch_up()
    assert items.begun == 1
    follower.stop()
    wait_for(lambda: all(each.name != "indexer" for each in threading.enumerate()))
