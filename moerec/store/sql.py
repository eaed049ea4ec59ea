"""The event store in a SQL database: SQLite, by its own driver where that matters."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    bindparam,
    create_engine,
    event,
    func,
    insert,
    make_url,
    select,
    update,
)
from sqlalchemy.engine.interfaces import DBAPICursor
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from moerec.errors import SettingsError, StorageError
from moerec.store.appending import Appending
from moerec.store.at_once import BEGIN_LOG, LONG_LOG_PAGES, AtOnce
from moerec.store.bulk import NewHistory, insert_histories
from moerec.store.interfaces import Appended, PastRow, StoreCounts
from moerec.store.items import CHANGES, ITEM, change, change_items
from moerec.store.tables import (
    SCHEMA_VERSION,
    STORED,
    events,
    metadata,
    store_state,
    stored,
    users,
)
from moerec.types import Event, ItemChange, ItemField, ItemId, StoredEvent, UserId

BUSY_TIMEOUT_MS: Final = 5000
SHORT_LOG_PAGES: Final = 1000
"""After which SQLite makes a checkpoint with a commit, if that waits for the disk anyway: 4 MiB."""

SEEN_CHUNK: Final = 256

_Row = Row[*tuple[Any, ...]]

Durability = Literal["process", "full"]

_NEWEST_FIRST: Final = (events.c.timestamp_ms.desc(), events.c.user_number.desc())
_HISTORY = STORED.where(users.c.user_id == bindparam("user_id")).order_by(*_NEWEST_FIRST)
_PAST = (
    select(events.c.item_id, events.c.timestamp_ms, events.c.value, events.c.user_number)
    .join_from(events, users)
    .where(users.c.user_id == bindparam("user_id"))
    .order_by(*_NEWEST_FIRST)
)
_SINCE = STORED.where(events.c.table_number > bindparam("after")).order_by(events.c.table_number)
_SEEN = (
    select(events.c.item_id)
    .join_from(events, users)
    .where(users.c.user_id == bindparam("user_id"))
    .order_by(*_NEWEST_FIRST)
)
_LAST_USER_NUMBER = select(users.c.last_number).where(users.c.user_id == bindparam("user_id"))


def open_event_store(url: str, durability: Durability = "process") -> "SqlEventStore":
    """The event store at a SQLAlchemy URL, its tables made where they are missing.

    Raises SettingsError for a URL we cannot use and StorageError if the database cannot be opened or was
    written by a newer version.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise SettingsError(f"The database URL cannot be read: {error}", _URL_REMEDY) from None
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise SettingsError(
            f"{parsed.drivername} is not a database that this version can use.", _URL_REMEDY
        )
    if parsed.database in (None, "", ":memory:"):
        raise SettingsError(
            "A SQLite store needs a file: the gateway and the engine are two processes.",
            _URL_REMEDY,
        )
    with _storage_errors(parsed.database):
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        store = SqlEventStore(url, durability)
        store.prepare()
    return store


_URL_REMEDY: Final = "Use for example sqlite:///.moerec/events.db."


class SqlEventStore:
    """An EventStore over SQLAlchemy. Safe to use from several threads and processes."""

    def __init__(
        self, url: str, durability: Durability, long_log_pages: int = LONG_LOG_PAGES
    ) -> None:
        self._readers = create_engine(url, pool_size=4, max_overflow=4)
        self._writers = create_engine(url, pool_size=1, max_overflow=0)
        self._past = str(_PAST.compile(dialect=self._readers.dialect))
        quick = create_engine(url, pool_size=2, max_overflow=0)
        self._durability = durability
        # Where the loop commits, its log is seldom short, and who waits may wait for the checkpoint's thread.
        mode = ("FULL", SHORT_LOG_PAGES) if durability == "full" else ("NORMAL", long_log_pages)
        for engine in (self._readers, self._writers, quick):
            _set_up_sqlite(engine, *mode)
        event.listen(self._writers, "begin", _begin)
        self._appending = Appending(self._writers.dialect)
        self._at_once = AtOnce(quick, self._appending, _BEGIN, long_log_pages)
        self._name = self._readers.url.render_as_string(hide_password=True)

    def prepare(self) -> None:
        """Makes missing tables, begins the log; refuses a layout newer than ours.

        All that older layouts lack are tables.
        """
        with self._transaction() as connection:
            metadata.create_all(connection)
            version = connection.scalar(select(store_state.c.schema_version))
            if version is None:
                connection.execute(
                    insert(store_state).values(
                        id=1, schema_version=SCHEMA_VERSION, last_table_number=0
                    )
                )
            elif version > SCHEMA_VERSION:
                raise StorageError(
                    f"The event store has layout {version}; this version of moerec knows {SCHEMA_VERSION}.",
                    "Install the newer moerec, or name another database.",
                )
            elif version < SCHEMA_VERSION:
                connection.execute(update(store_state).values(schema_version=SCHEMA_VERSION))
            connection.exec_driver_sql(BEGIN_LOG)  # or an event loop's first commit would

    def append(self, events_in: Sequence[Event]) -> list[Appended]:
        """See EventStore."""
        if not events_in:
            return []
        with _storage_errors(self._name), self._driver_transaction() as cursor:
            return self._appending.append(cursor, events_in)

    def append_at_once(self, events_in: Sequence[Event]) -> list[Appended] | None:
        """See EventStore."""
        if self._durability == "full":
            return None  # the disk is waited for
        if not events_in:
            return []
        with _storage_errors(self._name):
            return self._at_once.append(events_in)

    def checkpoint(self) -> None:
        """See EventStore."""
        with _storage_errors(self._name):
            self._at_once.checkpoint()

    def load(self, histories: Iterable[NewHistory]) -> int:
        """Stores histories of users who have none yet, in ONE transaction; how many events there were.

        The store is afterwards what `append` of the same events, user after user, would have made of it.
        StorageError, and nothing is stored, if one of the users or events is there already.
        """
        with self._transaction() as connection:
            return insert_histories(connection, histories)

    def history(self, user_id: UserId, limit: int) -> list[StoredEvent]:
        """See EventStore."""
        rows = self._read(_HISTORY.limit(bindparam("limit")), user_id=user_id, limit=limit)
        return [stored(row) for row in reversed(rows)]

    def newest(self, user_ids: Sequence[UserId], limit: int) -> list[list[PastRow]]:
        """See EventStore."""
        found = []
        with _storage_errors(self._name), self._readers.connect() as connection:
            # A new user costs the engine a read: past SQLAlchemy's own preparation of each statement and
            # row, which costs five times what the driver does.
            cursor = connection.connection.cursor()
            try:
                for user_id in user_ids:
                    rows = cursor.execute(self._past, (user_id,)).fetchmany(limit)
                    found.append(list(map(PastRow._make, reversed(rows))))
            finally:
                cursor.close()
        return found

    def last_user_number(self, user_id: UserId) -> int:
        """See EventStore."""
        rows = self._read(_LAST_USER_NUMBER, user_id=user_id)
        return int(rows[0][0]) if rows else 0

    def seen(self, user_id: UserId, limit: int) -> list[ItemId]:
        """See EventStore."""
        items: dict[ItemId, None] = {}
        with _storage_errors(self._name), self._readers.connect() as connection:
            for row in connection.execute(
                _SEEN, {"user_id": user_id}, execution_options={"yield_per": SEEN_CHUNK}
            ):
                if len(items) == limit:
                    break
                items[row.item_id] = None
        return list(items)

    def since(self, table_number: int, limit: int) -> list[StoredEvent]:
        """See EventStore."""
        rows = self._read(_SINCE.limit(bindparam("limit")), after=table_number, limit=limit)
        return [stored(row) for row in rows]

    def last_number(self) -> int:
        """See EventStore."""
        return int(self._read(select(store_state.c.last_table_number))[0][0])

    def counts(self) -> StoreCounts:
        """See EventStore."""
        (row,) = self._read(
            select(
                select(func.count()).select_from(users).scalar_subquery(),
                select(func.count()).select_from(events).scalar_subquery(),
            )
        )
        return StoreCounts(users=row[0], events=row[1])

    def change_items(
        self, changes: Mapping[ItemId, Mapping[str, ItemField] | None]
    ) -> list[ItemChange]:
        """See ItemTable."""
        if not changes:
            return []
        with self._transaction() as connection:
            return change_items(connection, changes)

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        """See ItemTable."""
        return [change(row) for row in self._read(CHANGES, after=after, limit=limit)]

    def item(self, item_id: ItemId) -> ItemChange | None:
        """See ItemTable."""
        rows = self._read(ITEM, item_id=item_id)
        return change(rows[0]) if rows else None

    def close(self) -> None:
        """See EventStore."""
        self._readers.dispose()
        self._writers.dispose()
        self._at_once.close()

    def _read(self, statement: Select[*tuple[Any, ...]], **values: object) -> Sequence[_Row]:
        with _storage_errors(self._name), self._readers.connect() as connection:
            return connection.execute(statement, values).all()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with _storage_errors(self._name), self._writers.begin() as connection:
            yield connection

    @contextmanager
    def _driver_transaction(self) -> Iterator[DBAPICursor]:
        """A writer's transaction without SQLAlchemy in between."""
        connection = self._writers.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute(_BEGIN)
            yield cursor
            connection.commit()
        finally:
            connection.close()  # rolls back what was not committed


@contextmanager
def _storage_errors(name: str) -> Iterator[None]:
    """Turns what the database or the disk says into one StorageError without the statement."""
    try:
        yield
    except (SQLAlchemyError, sqlite3.Error) as error:
        cause = getattr(error, "orig", None) or error
        raise StorageError(
            f"The event store {name} refused: {cause}", _remedy(str(cause))
        ) from error
    except OSError as error:
        raise StorageError(f"The event store {name} cannot be opened: {error}") from error


def _remedy(cause: str) -> str:
    if "full" in cause:
        return "Make room on the disk; nothing was half-written."
    if "UNIQUE" in cause:
        return "Histories can be loaded for users without events only; `moerec import events` takes any."
    if "not a database" in cause:
        return "Name another file in MOEREC_DATABASE_URL, or move this one away."
    return ""


def _set_up_sqlite(engine: Engine, synchronous: str, log_pages: int) -> None:
    """A commit that leaves the log longer than `log_pages` makes a checkpoint."""

    def connected(connection: Any, _: object) -> None:  # noqa: ANN401 - a DBAPI connection
        # The driver shall start no transactions of its own: `begin` below does.
        connection.isolation_level = None
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            f"synchronous={synchronous}",
            f"wal_autocheckpoint={log_pages}",
            "foreign_keys=ON",
            "cache_size=-65536",
        ):
            connection.execute(f"PRAGMA {pragma}").close()

    event.listen(engine, "connect", connected)


_BEGIN: Final = "BEGIN IMMEDIATE"
"""A writer that starts as a reader can meet SQLITE_BUSY without waiting; this one waits its turn."""


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(_BEGIN)
