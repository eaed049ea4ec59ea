"""Importing a log: whole or up to the test event, twice without harm, and on after a kill."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest

from moerec.data.id_map import build_id_map
from moerec.data.interactions import Interactions, from_frame, read_interactions
from moerec.data.sequences import build_histories
from moerec.data.split import hold_out
from moerec.errors import StorageError
from moerec.store.importing import CHUNK, ImportReport, import_events
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.types import DEFAULT_EVENT_TYPE, Event, UserId


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/events.db"


@pytest.fixture
def store(url: str) -> Iterator[SqlEventStore]:
    store = open_event_store(url)
    yield store
    store.close()


def a_log(events: int = 12, users: int = 3) -> Interactions:
    """Users u0, u1 ... in turn; user u2 has few events when `events` is small."""
    places = range(events)
    return from_frame(
        pl.DataFrame(
            {
                "user_id": [f"u{n % users}" for n in places],
                "item_id": [f"i{n}" for n in places],
                "timestamp": [1_600_000_000_000 + 1000 * n for n in places],
                "event": [None if n == 0 else "rating" for n in places],
                "value": [n / 2 for n in places],
            },
            schema_overrides={"event": pl.String},
        )
    )


def test_every_event_is_stored_with_all_it_has(store: SqlEventStore) -> None:
    assert import_events(store, a_log()) == ImportReport(12, 12, 0, 0)
    first, second, *_ = (one.event for one in store.history(UserId("u0"), 10))
    assert (first.item_id, first.timestamp_ms, first.type, first.value) == (
        "i0",
        1_600_000_000_000,
        DEFAULT_EVENT_TYPE,
        0.0,
    )
    assert (second.item_id, second.type, second.value) == ("i3", "rating", 1.5)


def test_a_second_import_adds_nothing(store: SqlEventStore) -> None:
    import_events(store, a_log())
    assert import_events(store, a_log()) == ImportReport(12, 0, 12, 0)
    assert store.counts().events == 12


def test_a_log_that_has_grown_adds_its_new_events_only(store: SqlEventStore) -> None:
    """Ids that counted the rows of a file would have stored the whole longer file again."""
    import_events(store, a_log(12))
    assert import_events(store, a_log(15)).added == 3


def test_test_events_stay_out_and_short_users_come_whole(store: SqlEventStore) -> None:
    log = a_log(8)  # u0 and u1 have three events, u2 has two
    split = hold_out("leave-one-out", build_histories(log, build_id_map(log)), log.has_time)
    assert import_events(store, log, split) == ImportReport(6, 6, 0, 2)
    assert [one.event.item_id for one in store.history(UserId("u0"), 9)] == ["i0", "i3"]
    assert [one.event.item_id for one in store.history(UserId("u2"), 9)] == ["i2", "i5"]
    assert import_events(store, log) == ImportReport(8, 2, 6, 0)
    assert [one.event.item_id for one in store.history(UserId("u0"), 9)] == ["i0", "i3", "i6"]


def test_repeats_in_a_log_without_times_are_all_kept_in_order(
    store: SqlEventStore, tmp_path: Path
) -> None:
    path = tmp_path / "log.txt"
    path.write_text("ann i1\nann i1\nann i2\nann i1\n")
    import_events(store, read_interactions(path))
    stored = store.history(UserId("ann"), 9)
    assert [one.event.item_id for one in stored] == ["i1", "i1", "i2", "i1"]
    assert [one.event.timestamp_ms for one in stored] == [0, 1, 2, 3]


class DiesInTheThirdChunk(SqlEventStore):
    """A store whose disk is full after two chunks."""

    chunks = 0

    def append(self, events_in: Sequence[Event]) -> list[Appended]:
        self.chunks += 1
        if self.chunks == 3:
            raise StorageError("The disk is full.")
        return super().append(events_in)


def test_an_import_that_died_goes_on_where_it_was(store: SqlEventStore, url: str) -> None:
    log = a_log(3 * CHUNK, users=7)
    dying = DiesInTheThirdChunk(url, "process")
    with pytest.raises(StorageError):
        import_events(dying, log)
    dying.close()
    assert store.counts().events == 2 * CHUNK
    steps: list[tuple[int, int]] = []
    report = import_events(store, log, progress=lambda done, total: steps.append((done, total)))
    assert (report.added, report.stored_before) == (CHUNK, 2 * CHUNK)
    assert steps == [(CHUNK, 3 * CHUNK), (2 * CHUNK, 3 * CHUNK), (3 * CHUNK, 3 * CHUNK)]
    numbers = [one.user_number for one in store.history(UserId("u3"), 10**6)]
    assert numbers == list(range(1, len(numbers) + 1))
