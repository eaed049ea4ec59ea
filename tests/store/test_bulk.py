"""Loading whole histories: the tables are those that appending would have made, and all or nothing."""

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select

from moerec.errors import StorageError
from moerec.store.bulk import NewEvent, NewHistory
from moerec.store.interfaces import StoreCounts
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.store.tables import metadata
from moerec.types import Event, ItemId, UserId


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def a_history(user: str, count: int) -> NewHistory:
    """The second event is older than the first, the third has a type and a value."""
    made = [NewEvent(f"{user}-{n}", f"i{n}", 995 if n == 1 else 1000 + n) for n in range(count)]
    made[2:3] = [one._replace(type="rating", value=2.5) for one in made[2:3]]
    return UserId(user), made


def as_events(history: NewHistory) -> list[Event]:
    user_id, made = history
    return [
        Event(one.event_id, user_id, ItemId(one.item_id), one.timestamp_ms, one.type, one.value)
        for one in made
    ]


def everything(path: Path) -> dict[str, list[Any]]:
    """Every row of every table."""
    engine = create_engine(url_of(path))
    try:
        with engine.connect() as connection:
            return {
                table.name: list(map(tuple, connection.execute(select(table)).all()))
                for table in metadata.sorted_tables
            }
    finally:
        engine.dispose()


def test_a_loaded_store_cannot_be_told_from_an_appended_one(tmp_path: Path) -> None:
    """Every row of every table, before and after further events of old and new users."""
    paths = [tmp_path / "loaded.db", tmp_path / "appended.db"]
    chunks = [[a_history("ann", 3), a_history("bob", 1)], [a_history("cid", 4)]]
    more = [as_events(a_history("dan", 2)), as_events((UserId("bob"), [NewEvent("b+", "i9", 5)]))]
    with (
        closing(open_event_store(url_of(paths[0]))) as loaded,
        closing(open_event_store(url_of(paths[1]))) as appended,
    ):
        for chunk in chunks:
            assert loaded.load(chunk) == sum(len(made) for _, made in chunk)
            for history in chunk:
                appended.append(as_events(history))
        assert everything(paths[0]) == everything(paths[1])
        for store in (loaded, appended):
            for events in more:
                store.append(events)
            # The same event again is a duplicate of the loaded one.
            (again,) = store.append(as_events(chunks[0][0])[2:])
            assert (again.duplicate, again.user_number, again.table_number) == (True, 3, 3)
        assert everything(paths[0]) == everything(paths[1])
        for user in ("ann", "bob", "cid", "dan"):
            assert loaded.history(UserId(user), 10) == appended.history(UserId(user), 10)
            assert loaded.seen(UserId(user), 10) == appended.seen(UserId(user), 10)
        assert loaded.since(0, 99) == appended.since(0, 99)
        assert loaded.counts() == StoreCounts(users=4, events=11)


@pytest.mark.parametrize(
    "known", [a_history("ann", 1), (UserId("eve"), [NewEvent("ann-0", "i1", 1)])]
)
def test_known_users_and_events_are_refused_and_nothing_is_stored(
    tmp_path: Path, known: NewHistory
) -> None:
    with closing(open_event_store(url_of(tmp_path / "events.db"))) as store:
        assert isinstance(store, SqlEventStore)
        assert store.load([]) == 0
        store.load([a_history("ann", 2)])
        before = everything(tmp_path / "events.db")
        with pytest.raises(StorageError, match="UNIQUE") as refused:
            store.load([a_history("bob", 2), known])
        assert "moerec import events" in refused.value.remedy
        assert everything(tmp_path / "events.db") == before
