"""How events get into the tables: statements that are compiled once, and run by the driver itself.

A group of one event is seven statements. SQLAlchemy prepares each of them anew when it runs it, which costs
twenty times what SQLite needs for its work; so it says here what they are, once, and no more.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Dialect, Select, bindparam, insert, select, update
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.sql.expression import ClauseElement

from moerec.store.interfaces import Appended
from moerec.store.tables import STORED, events, store_state, stored, users
from moerec.types import Event, StoredEvent, UserId

LOOKUP_CHUNK: Final = 1024

_BY_IDS = STORED.where(events.c.event_id.in_(bindparam("ids", expanding=True)))
_USERS = select(users.c.user_id, users.c.user_key, users.c.last_number).where(
    users.c.user_id.in_(bindparam("ids", expanding=True))
)


class Appending:
    """`EventStore.append` for one kind of database, inside a writer's transaction that the caller holds."""

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect
        self._by_ids: dict[tuple[Select[*tuple[Any, ...]], int], str] = {}
        self._last = self._text(select(store_state.c.last_table_number).with_for_update())
        self._insert_event = self._text(insert(events))
        self._insert_user = self._text(
            insert(users).values(user_id=bindparam("id"), last_number=bindparam("last"))
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
        ((last,),) = cursor.fetchall()
        known = {
            row[0]: stored(row)
            for row in self._rows(cursor, _BY_IDS, [event_in.event_id for event_in in events_in])
        }
        fresh: dict[str, Event] = {}
        for event_in in events_in:
            if event_in.event_id not in known:
                fresh.setdefault(event_in.event_id, event_in)
        inserted = self._insert(cursor, list(fresh.values()), last) if fresh else {}
        results: list[Appended] = []
        for event_in in events_in:
            new = inserted.pop(event_in.event_id, None)
            if new is None:
                results.append(_again(event_in, known[event_in.event_id]))
            else:
                known[event_in.event_id] = new
                results.append(Appended(event_in.event_id, new.user_number, new.table_number))
        return results

    def _insert(self, cursor: DBAPICursor, fresh: list[Event], last: int) -> dict[str, StoredEvent]:
        """Stores events that are not in the table yet; returns them by event id."""
        numbers = self._numbers(cursor, {event_in.user_id for event_in in fresh})
        inserted: dict[str, StoredEvent] = {}
        rows: list[tuple[object, ...]] = []
        for table_number, one in enumerate(fresh, start=last + 1):
            numbered = numbers[one.user_id]
            numbered[1] += 1
            key, number = numbered
            rows.append(
                (
                    table_number,
                    one.event_id,
                    key,
                    number,
                    one.timestamp_ms,
                    one.item_id,
                    one.type,
                    one.value,
                )
            )
            inserted[one.event_id] = StoredEvent(one, number, table_number)
        cursor.executemany(self._insert_event, rows)
        cursor.executemany(self._set_user, [(last, key) for key, last in numbers.values()])
        cursor.execute(self._set_last, (last + len(rows),))
        return inserted

    def _numbers(self, cursor: DBAPICursor, user_ids: set[UserId]) -> dict[str, list[int]]:
        """Key and last number of each user; new users get a row."""
        ordered = sorted(user_ids)
        found = {row[0]: [row[1], row[2]] for row in self._rows(cursor, _USERS, ordered)}
        missing = [user_id for user_id in ordered if user_id not in found]
        if missing:
            cursor.executemany(self._insert_user, [(user_id, 0) for user_id in missing])
            for row in self._rows(cursor, _USERS, missing):
                found[row[0]] = [row[1], row[2]]
        return found

    def _rows(
        self, cursor: DBAPICursor, statement: Select[*tuple[Any, ...]], ids: Sequence[str]
    ) -> Iterator[Sequence[Any]]:
        """The rows of a statement about ids."""
        for start in range(0, len(ids), LOOKUP_CHUNK):
            chunk = ids[start : start + LOOKUP_CHUNK]
            # Few different lengths, and so few different texts: the first id may be said again.
            size = 1 << (len(chunk) - 1).bit_length()
            text = self._by_ids.get((statement, size))
            if text is None:
                text = self._text(statement.params(ids=[""] * size))
                self._by_ids[statement, size] = text
            cursor.execute(text, (*chunk, *[chunk[0]] * (size - len(chunk))))
            yield from cursor.fetchall()

    def _text(self, statement: ClauseElement) -> str:
        options = {"render_postcompile": True}
        return str(statement.compile(dialect=self._dialect, compile_kwargs=options))


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
