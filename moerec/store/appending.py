"""How events get into the tables: statements that are compiled once, and run by the driver itself.

A group of known users' events is five statements, however many they are. SQLAlchemy prepares each of them
anew when it runs it, which costs twenty times what SQLite needs for its work; so it says here what they are,
once, and no more.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Dialect, Select, Text, bindparam, insert, select, union_all, update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.expression import ClauseElement

from moerec.store.interfaces import Appended
from moerec.store.tables import events, store_state, stored, users
from moerec.types import Event, StoredEvent

LOOKUP_CHUNK: Final = 256
"""Events in one look-up: SQLite takes at most 500 parts of a union."""


class Appending:
    """`EventStore.append` for one kind of database, inside a writer's transaction that the caller holds."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._look_ups: dict[int, str] = {}
        self._last = self._text(select(store_state.c.last_table_number).with_for_update())
        self._insert_event = self._text(insert(events))
        self._insert_user = self._text(
            insert(users)
            .values(user_id=bindparam("id"), last_number=bindparam("last"))
            .returning(users.c.user_key)
        )
        self._set_user = self._text(
            update(users)
            .where(users.c.user_key == bindparam("key"))
            .values(last_number=bindparam("last"))
        )
        self._set_last = self._text(update(store_state).values(last_table_number=bindparam("last")))

    def append(self, cursor: DBAPICursor, events_in: Sequence[Event]) -> list[Appended]:
        """Stores the events, at least one; what became of each."""
        cursor.execute(self._last)
        ((table_number,),) = cursor.fetchall()
        numbers, known = self._look_up(cursor, events_in)
        rows: list[tuple[object, ...]] = []
        results: list[Appended] = []
        fresh: dict[str, tuple[int, int]] = {}
        for one in events_in:
            before = known.get(one.event_id)
            if before is not None:
                results.append(_again(one, before))
                continue
            table_number += 1
            key, number = numbers.get(one.user_id) or (self._new_user(cursor, one.user_id), 0)
            number += 1
            numbers[one.user_id] = fresh[one.user_id] = (key, number)
            rows.append(_row(one, table_number, key, number))
            known[one.event_id] = StoredEvent(one, number, table_number)
            results.append(Appended(one.event_id, number, table_number))
        if rows:
            cursor.executemany(self._insert_event, rows)
            cursor.executemany(self._set_user, [(last, key) for key, last in fresh.values()])
            cursor.execute(self._set_last, (table_number,))
        return results

    def _look_up(
        self, cursor: DBAPICursor, events_in: Sequence[Event]
    ) -> tuple[dict[str, tuple[int, int]], dict[str, StoredEvent]]:
        """Key and last number of each user who has a row and may need it; the events known."""
        numbers: dict[str, tuple[int, int]] = {}
        known: dict[str, StoredEvent] = {}
        for user_id, key, last, *before in self._found(cursor, events_in):
            if before[0] is not None:
                known[before[0]] = stored(before)
            elif key is not None:
                numbers[user_id] = (key, last)
        return numbers, known

    def _new_user(self, cursor: DBAPICursor, user_id: str) -> int:
        """The key of a new row. Only a new event needs one: a conflict leaves no user behind."""
        cursor.execute(self._insert_user, (user_id, 0))
        ((key,),) = cursor.fetchall()
        return int(key)

    def _found(self, cursor: DBAPICursor, events_in: Sequence[Event]) -> Iterator[Sequence[Any]]:
        """What the tables say of the events' users and ids: rows of `_look_up_of`, some of them twice."""
        for start in range(0, len(events_in), LOOKUP_CHUNK):
            chunk = events_in[start : start + LOOKUP_CHUNK]
            # Few different lengths, and so few different texts: the first event may be said again.
            size = 1 << (len(chunk) - 1).bit_length()
            text = self._look_ups.get(size)
            if text is None:
                text = self._look_ups[size] = self._text(_look_up_of(size))
            asked: list[str] = []
            for one in (*chunk, *[chunk[0]] * (size - len(chunk))):
                asked += (one.event_id, one.user_id)
            cursor.execute(text, asked)
            yield from cursor.fetchall()

    def _text(self, statement: ClauseElement) -> str:
        return str(statement.compile(dialect=self._dialect))


def _look_up_of(size: int) -> Select[*tuple[Any, ...]]:
    """Of so many pairs of an event's and a user's id: the user's row, and the event that has this id."""
    pairs = [
        select(
            bindparam(f"event{n}", type_=Text).label("event_id"),
            bindparam(f"user{n}", type_=Text).label("user_id"),
        )
        for n in range(size)
    ]
    asked = union_all(*pairs).cte("asked")
    owners = users.alias("owners")
    return select(
        asked.c.user_id,
        users.c.user_key,
        users.c.last_number,
        events.c.event_id,
        owners.c.user_id,
        events.c.item_id,
        events.c.timestamp_ms,
        events.c.type,
        events.c.value,
        events.c.user_number,
        events.c.table_number,
    ).select_from(
        asked.outerjoin(users, users.c.user_id == asked.c.user_id)
        .outerjoin(events, events.c.event_id == asked.c.event_id)
        .outerjoin(owners, owners.c.user_key == events.c.user_key)
    )


def _row(one: Event, table_number: int, user_key: int, user_number: int) -> tuple[object, ...]:
    """A row of `events`, in the order of its columns."""
    return (
        table_number,
        one.event_id,
        user_key,
        user_number,
        one.timestamp_ms,
        one.item_id,
        one.type,
        one.value,
    )


def _again(event_in: Event, before: StoredEvent) -> Appended:
    fields = ("user_id", "item_id", "timestamp_ms", "type", "value")
    differs = tuple(
        name for name in fields if getattr(event_in, name) != getattr(before.event, name)
    )
    return Appended(
        event_in.event_id,
        before.user_number,
        before.table_number,
        duplicate=not differs,
        differs=differs,
    )
