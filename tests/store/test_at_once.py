"""Commits that wait for nothing: refused where there is something to wait for, and a log that stays short."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine.interfaces import DBAPICursor

from moerec.errors import StorageError
from moerec.store.appending import Appending
from moerec.store.at_once import AtOnce
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.types import Event, UserId

LOG_LIMIT = 8 * 2**20
"""A third of what 1,500 events leave in a log that never begins anew."""

LONG_LOG_PAGES = 500
"""A quarter of that."""

LOG_HEAD_BYTES = 32
"""The log's own, written when it begins anew: every time another one."""

AUTOMATIC_LOG = 1000 * 4096
"""Bytes, as pages, after which SQLite makes a checkpoint by itself, in the middle of a commit."""


def event(event_id: str, user: str = "ann", item: str | None = "i1") -> Event:
    return Event(event_id, UserId(user), item, 1)  # type: ignore[arg-type]


def stored(store: SqlEventStore, *events: Event) -> list[Appended]:
    appended = store.append_at_once(events)
    assert appended is not None
    return appended


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlEventStore]:
    with closing(open_event_store(f"sqlite:///{tmp_path}/events.db")) as store:
        yield store


def log_head(directory: Path) -> bytes:
    with (directory / "events.db-wal").open("rb") as log:
        return log.read(LOG_HEAD_BYTES)


@pytest.fixture
def other(store: SqlEventStore, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else's connection to the same file."""
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as connection:
        yield connection


def test_it_goes_on_where_other_appends_ended(store: SqlEventStore) -> None:
    store.append([event("a"), event("b")])
    (c,) = stored(store, event("c"))
    (d,) = store.append([event("d")])
    again, conflict = stored(store, event("a"), event("b", item="i2"))
    assert [(one.user_number, one.table_number) for one in (c, d)] == [(3, 3), (4, 4)]
    assert (again.duplicate, conflict.differs) == (True, ("item_id",))
    assert store.append_at_once([]) == []


def test_another_writer_is_not_waited_for(store: SqlEventStore, other: sqlite3.Connection) -> None:
    other.execute("BEGIN IMMEDIATE")
    assert store.append_at_once([event("a")]) is None
    other.execute("COMMIT")
    assert store.last_number() == 0
    assert stored(store, event("a"))[0].user_number == 1


def test_a_disk_that_has_to_be_sure_is_not_waited_for(tmp_path: Path) -> None:
    with closing(open_event_store(f"sqlite:///{tmp_path}/events.db", "full")) as store:
        assert store.append_at_once([event("a")]) is None
        assert store.last_number() == 0


def test_what_is_refused_leaves_nothing_behind(store: SqlEventStore) -> None:
    with pytest.raises(StorageError, match="NOT NULL"):
        store.append_at_once([event("a"), event("b", user="new", item=None)])
    assert (store.counts().users, store.counts().events) == (0, 0)
    assert stored(store, event("a"))[0].table_number == 1


@pytest.fixture
def forgetful(tmp_path: Path) -> Iterator[SqlEventStore]:
    """A store with a short log."""
    url = f"sqlite:///{tmp_path}/events.db"
    with closing(SqlEventStore(url, "process", LONG_LOG_PAGES)) as store:
        store.prepare()
        yield store


def test_the_log_stays_short_however_much_is_written_meanwhile(
    forgetful: SqlEventStore, tmp_path: Path
) -> None:
    """Checkpoints copied the log while others wrote on: it was never copied to its end, never began anew."""
    store, log = forgetful, tmp_path / "events.db-wal"
    ended = threading.Event()

    def checkpoints() -> None:
        while not ended.wait(0.01):
            store.checkpoint()

    def reads() -> None:
        while not ended.wait(0.0005):
            store.history(UserId("u1"), 10)

    others = [threading.Thread(target=checkpoints), threading.Thread(target=reads)]
    for thread in others:
        thread.start()
    written = 0
    try:
        while written < 1500:
            written += store.append_at_once([event(f"e{written}", f"u{written % 50}")]) is not None
            time.sleep(0.0005)
    finally:
        ended.set()
        for thread in others:
            thread.join()
    assert store.last_number() == 1500
    assert log.stat().st_size < LOG_LIMIT


class WrittenMeanwhile(AtOnce):
    """While it copies, others write half as many events as the time before."""

    def __init__(self, store: SqlEventStore, engine: Engine, appending: Appending) -> None:
        super().__init__(engine, appending, "BEGIN IMMEDIATE", LONG_LOG_PAGES)
        self._store = store
        self.left: list[int] = []

    def _copied(self, cursor: DBAPICursor) -> int:
        pages = super()._copied(cursor)
        self.left.append(self.left[-1] // 2 if self.left else 64)
        first = self._store.last_number()
        stored(self._store, *[event(f"e{first + n}", f"u{n % 7}") for n in range(self.left[-1])])
        return pages


def test_a_long_log_is_copied_again_before_writers_are_locked_out(
    forgetful: SqlEventStore, tmp_path: Path
) -> None:
    """What had come while a log of 256 MiB was copied was copied with all writers waiting for it: a third of
    a second, every ten seconds under as many events as lists."""
    engine = create_engine(f"sqlite:///{tmp_path}/events.db")
    checking = WrittenMeanwhile(forgetful, engine, Appending(engine.dialect))
    try:
        checking.checkpoint()
        assert checking.left == [64], "a short one is not"
        for n in range(LONG_LOG_PAGES // 2):
            stored(forgetful, event(f"f{n}", f"v{n}"))
        checking.left.clear()
        checking.checkpoint()
        assert checking.left == [64, 32, 16, 8]
    finally:
        checking.close()


def test_a_long_read_delays_the_end_of_the_log_and_nothing_else(
    store: SqlEventStore, other: sqlite3.Connection, tmp_path: Path
) -> None:
    log = tmp_path / "events.db-wal"
    stored(store, event("a"))
    other.execute("BEGIN")
    other.execute("SELECT * FROM users").fetchall()
    stored(store, event("b"))
    store.checkpoint()
    stored(store, event("c"))
    before = log.stat().st_size
    other.execute("COMMIT")
    store.checkpoint()
    for n in range(2):
        stored(store, event(f"d{n}"))
    assert log.stat().st_size == before
    assert store.last_number() == 5


def test_the_checkpoint_begins_the_log_itself(store: SqlEventStore, tmp_path: Path) -> None:
    """The next commit did, on the event loop: SQLite then waits for the disk, and so did every request."""
    heads = [log_head(tmp_path)]
    for n in range(3):
        stored(store, event(f"e{n}"))
        assert log_head(tmp_path) == heads[-1]
        store.checkpoint()
        heads.append(log_head(tmp_path))
    assert len(set(heads)) == 4
    stored(store, event("last"))
    assert log_head(tmp_path) == heads[-1]


def test_who_opens_a_store_begins_its_log(tmp_path: Path) -> None:
    """The first commit after a start waited for the disk: the last process had taken the log away."""
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    with closing(open_event_store(url)) as store:
        head = log_head(tmp_path)
        assert len(head) == LOG_HEAD_BYTES
        stored(store, event("a"))
        assert log_head(tmp_path) == head


def test_another_writer_does_not_fail_a_checkpoint(
    store: SqlEventStore, other: sqlite3.Connection
) -> None:
    other.execute("BEGIN IMMEDIATE")
    store.checkpoint()
    other.execute("COMMIT")
    assert stored(store, event("a"))[0].user_number == 1


def test_a_commit_makes_no_checkpoint_however_long_the_log(
    store: SqlEventStore, tmp_path: Path
) -> None:
    """SQLite's own checkpoints come with a commit, and wait for the disk: these commits may not."""
    database, log = tmp_path / "events.db", tmp_path / "events.db-wal"
    store.checkpoint()
    before = database.read_bytes()
    for n in range(400):
        stored(store, event(f"e{n}", f"u{n}"))
    assert log.stat().st_size > AUTOMATIC_LOG
    assert database.read_bytes() == before


def test_a_checkpoint_under_constant_writing_leaves_writers_alone(
    store: SqlEventStore, tmp_path: Path
) -> None:
    """It locked them out for its second half each time, .03 to .06 s: one event in a hundred waited."""
    ended = threading.Event()
    head = log_head(tmp_path)

    def writes() -> None:
        number = 0
        while not ended.is_set():
            store.append_at_once([event(f"e{number}", f"u{number % 50}")])
            number += 1

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        # Until one comes while an event is stored; on a busy machine the writer may pause.
        while log_head(tmp_path) == head and store.last_number() < 20:
            time.sleep(0.001)
        unchanged = 0
        deadline = time.monotonic() + 30
        while unchanged < 3:
            assert time.monotonic() < deadline, "each checkpoint began the log anew"
            head = log_head(tmp_path)
            store.checkpoint()
            unchanged = unchanged + 1 if log_head(tmp_path) == head else 0
    finally:
        ended.set()
        writer.join()
    store.checkpoint()
    assert log_head(tmp_path) != head
