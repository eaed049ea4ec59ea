"""Whole histories of users that the store does not know yet, as fast as SQLite takes them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, insert, select, update

from moerec.store.tables import events, store_state, users
from moerec.types import DEFAULT_EVENT_TYPE, EventType, UserId


class NewEvent(NamedTuple):
    """An `Event` of a user who is named beside it; a tuple costs a third of the dataclass."""

    event_id: str
    item_id: str
    timestamp_ms: int
    type: EventType = DEFAULT_EVENT_TYPE
    value: float | None = None


NewHistory = tuple[UserId, Sequence[NewEvent]]
"""A user, and the user's events in the order of arrival, at least one."""


def insert_histories(connection: Connection, histories: Iterable[NewHistory]) -> int:
    """Gives numbers as `append` does, without looking anything up; how many events there were.

    The caller's transaction is a writer's. A user or an event that is stored already breaks a constraint.
    The fastest order is that of the ids: both indexes of ids then grow at their end.
    """
    before: int = connection.scalars(
        select(store_state.c.last_table_number).with_for_update()
    ).one()
    last_key = connection.scalar(select(func.coalesce(func.max(users.c.user_key), 0))) or 0
    user_rows: list[tuple[object, ...]] = []
    event_rows: list[tuple[object, ...]] = []
    table_number = before
    for user_key, (user_id, history) in enumerate(histories, start=last_key + 1):
        user_rows.append((user_key, user_id, len(history)))
        for user_number, (event_id, item_id, timestamp_ms, kind, value) in enumerate(history, 1):
            table_number += 1
            event_rows.append(
                (table_number, event_id, user_key, user_number, timestamp_ms, item_id, kind, value)
            )
    if event_rows:
        # Rows as tuples, past SQLAlchemy's own preparation of each, which costs more than the insert.
        for table, rows in ((users, user_rows), (events, event_rows)):
            statement = str(insert(table).compile(dialect=connection.dialect))
            connection.exec_driver_sql(statement, rows)
        connection.execute(update(store_state).values(last_table_number=table_number))
    return table_number - before
