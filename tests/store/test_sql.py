"""SQLite under the event store: refusals, full disks, and the death of the writing process."""

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as sqlalchemy_event

from moerec.errors import SettingsError, StorageError
from moerec.store.sql import open_event_store
from moerec.store.tables import SCHEMA_VERSION
from moerec.types import Event, ItemId, UserId

APPEND_FOR_EVER = """
import sys
from moerec.store.sql import open_event_store
from moerec.types import Event
store = open_event_store(sys.argv[1])
n = 0
while True:
    batch = [Event(f"{sys.argv[2]}-{n}-{k}", f"u{k % 3}", "i1", n) for k in range(5)]
    for one in getattr(store, sys.argv[3])(batch):
        sys.stdout.write(f"{one.event_id} {one.user_number}\\n")
    sys.stdout.flush()
    n += 1
    if n % 50 == 0:
        store.checkpoint()
"""


def events(name: str, count: int) -> list[Event]:
    return [Event(f"{name}{n}", UserId("ann"), ItemId("i" * 200), n) for n in range(count)]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db"


@pytest.mark.parametrize("way", ["append", "append_at_once"])
def test_after_kill_9_every_acknowledged_event_is_there_and_numbers_have_no_hole(
    url: str, way: str
) -> None:
    acknowledged: dict[str, int] = {}
    for life in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", APPEND_FOR_EVER, url, f"life{life}", way],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        killer = threading.Timer(0.1 + 0.05 * life, process.kill)
        for count, line in enumerate(process.stdout, start=1):
            if count == 20:
                killer.start()  # it appends on and on, and dies somewhere in an append
            if line.endswith("\n"):
                event_id, number = line.split()
                acknowledged[event_id] = int(number)
        process.wait()
        process.stdout.close()
        killer.join()
    store = open_event_store(url)
    stored = store.since(0, 1_000_000)
    store.close()
    assert len(acknowledged) >= 3 * 20
    by_id = {one.event.event_id: one.user_number for one in stored}
    assert {event_id: by_id.get(event_id) for event_id in acknowledged} == acknowledged
    assert [one.table_number for one in stored] == list(range(1, len(stored) + 1))
    for user in ("u0", "u1", "u2"):
        numbers = [one.user_number for one in stored if one.event.user_id == user]
        assert numbers == list(range(1, len(numbers) + 1))


def test_a_store_of_a_newer_version_is_refused(url: str, tmp_path: Path) -> None:
    open_event_store(url).close()
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("UPDATE store_state SET schema_version = ?", (SCHEMA_VERSION + 1,))
    connection.close()
    with pytest.raises(StorageError, match=f"layout {SCHEMA_VERSION + 1}"):
        open_event_store(url)


def test_a_store_of_layout_1_is_brought_up_to_date_with_all_its_events(
    url: str, tmp_path: Path
) -> None:
    """It has no table of items."""
    with closing(open_event_store(url)) as store:
        store.append(events("old", 3))
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        connection.execute("DROP TABLE items")
        connection.execute("UPDATE store_state SET schema_version = 1")
        connection.commit()
    for number in (1, 2):
        with closing(open_event_store(url)) as store:
            (made,) = store.change_items({ItemId("new"): {"title": "New"}})
            assert made.number == number
            assert store.append(events(f"new{number}", 1))[0].user_number == 3 + number
            assert store.counts().events == 3 + number
    with closing(sqlite3.connect(tmp_path / "events.db")) as connection:
        found = connection.execute("SELECT schema_version FROM store_state").fetchall()
    assert found == [(SCHEMA_VERSION,)]


def test_a_file_that_is_no_database_is_refused_by_name(url: str, tmp_path: Path) -> None:
    (tmp_path / "events.db").write_text("user,item,timestamp\n" * 100)
    with pytest.raises(StorageError, match=r"events\.db refused: file is not a database") as caught:
        open_event_store(url)
    assert "MOEREC_DATABASE_URL" in caught.value.remedy


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot be opened"):
        open_event_store(f"sqlite:///{tmp_path}/file/events.db")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("events.db", "cannot be read"),
        ("mysql://db/moerec", "mysql is not a database"),
        ("sqlite+aiosqlite:///events.db", "aiosqlite is not a database"),
        ("sqlite://", "needs a file"),
        ("sqlite:///:memory:", "needs a file"),
    ],
)
def test_an_address_that_cannot_be_used_is_a_settings_error(url: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        open_event_store(url)


@pytest.fixture
def small_disk() -> Iterator[list[int]]:
    """New SQLite connections see a disk of as many pages as the list's element says."""
    pages = [40]

    def limit(connection: sqlite3.Connection, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages[0]}").close()

    sqlalchemy_event.listen(Engine, "connect", limit)
    yield pages
    sqlalchemy_event.remove(Engine, "connect", limit)


def test_a_full_disk_refuses_the_whole_call_and_stores_nothing_of_it(
    url: str, small_disk: list[int]
) -> None:
    store = open_event_store(url)
    store.append(events("kept", 10))
    with pytest.raises(StorageError, match="full") as caught:
        store.append(events("lost", 5000))
    assert "Make room" in caught.value.remedy
    assert store.counts().events == 10
    store.close()
    small_disk[0] = 1_000_000
    store = open_event_store(url)
    assert store.append(events("later", 5000))[0].user_number == 11
    store.close()


def test_a_full_disk_refuses_items_and_stores_none_of_them(url: str, small_disk: list[int]) -> None:
    with closing(open_event_store(url)) as store:
        store.change_items({ItemId("kept"): {"title": "Kept"}})
        with pytest.raises(StorageError, match="full"):
            store.change_items({ItemId(f"i{n}"): {"title": "x" * 1000} for n in range(1000)})
        assert [change.item_id for change in store.item_changes(0, 10)] == ["kept"]


def test_a_writer_waits_for_another_writers_transaction(url: str, tmp_path: Path) -> None:
    store = open_event_store(url)
    other = sqlite3.connect(tmp_path / "events.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(0.3, other.execute, ("COMMIT",)).start()
    start = time.perf_counter()
    store.append(events("a", 1))
    assert time.perf_counter() - start > 0.2
    store.close()
    other.close()
