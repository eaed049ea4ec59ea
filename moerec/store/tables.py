"""The tables of the event store, and the version of their layout."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    select,
)

from moerec.types import Event, StoredEvent

SCHEMA_VERSION: Final = 2
"""2 brought the table of items. A store of an older layout gets what it lacks when it is opened."""

metadata = MetaData()

_BigKey = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite keeps a 64-bit INTEGER primary key as the row's own number, which costs no index."""

store_state = Table(
    "store_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("schema_version", Integer, nullable=False),
    Column("last_table_number", BigInteger, nullable=False),
)
"""One row. Writers lock it first, so numbers are given out in the order of the commits and a reader of
the table's tail never sees a number before a smaller one."""

users = Table(
    "users",
    metadata,
    Column("user_key", _BigKey, primary_key=True),
    Column("user_id", Text, nullable=False, unique=True),
    Column("last_number", BigInteger, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("table_number", _BigKey, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False, unique=True),
    Column("user_key", _BigKey, ForeignKey("users.user_key"), nullable=False),
    Column("user_number", BigInteger, nullable=False),
    Column("timestamp_ms", BigInteger, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("value", Double),
    Index("events_canonical", "user_key", "timestamp_ms", "user_number"),
)

items = Table(
    "items",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("change_number", BigInteger, nullable=False, unique=True),
    Column("fields", Text),
    Column("removed", Boolean, nullable=False),
)
"""Items that were put or removed since a bundle was made, each with its last change. `fields` is a JSON
object, NULL of an item that was removed and never put. Rows are never deleted."""

STORED: Final = select(
    events.c.event_id,
    users.c.user_id,
    events.c.item_id,
    events.c.timestamp_ms,
    events.c.type,
    events.c.value,
    events.c.user_number,
    events.c.table_number,
).join_from(events, users)
"""Events with their users' ids, in rows for `stored`."""


def stored(row: Sequence[Any]) -> StoredEvent:
    """A row of `STORED`."""
    event_id, user_id, item_id, timestamp_ms, event_type, value, user_number, table_number = row
    return StoredEvent(
        Event(event_id, user_id, item_id, timestamp_ms, event_type, value),
        user_number,
        table_number,
    )
