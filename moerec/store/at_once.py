"""Transactions of a thread that must not wait: an event loop's own."""

import sqlite3
import threading
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Engine, PoolProxiedConnection
from sqlalchemy.engine.interfaces import DBAPICursor

from moerec.store.appending import Appending
from moerec.store.interfaces import Appended
from moerec.types import Event

RESET_TIMEOUT_MS: Final = 50
"""How long a checkpoint waits for readers, writers being locked out, until the log can begin anew."""

LONG_LOG_PAGES: Final = 65_536
"""A log of so many pages, 256 MiB, begins anew although events come all the time, and wait for it."""

AGAIN: Final = 3

WRITTEN: Final = "PRAGMA data_version"
"""Another number when another connection, of any process, has written."""

BEGIN_LOG: Final = "PRAGMA user_version=0"
"""Writes a page and changes nothing (nobody uses this number).

The first commit of a log writes the log's head, and SQLite waits until the disk has that.
"""


class AtOnce:
    """Appends where nothing has to be waited for, by a connection that makes no checkpoints.

    A commit then copies a few pages into the operating system's memory; whoever holds this calls
    `checkpoint` now and then in a thread that may wait. The first commit after a checkpoint that copied
    all of the log waits for the disk: `checkpoint` makes it itself. It can still be one of these where
    another connection made the checkpoint, or where it comes between the two steps of `checkpoint`.
    Connections are opened when they are first used.
    """

    def __init__(
        self, engine: Engine, appending: Appending, begin: str, long_log_pages: int = LONG_LOG_PAGES
    ) -> None:
        self._engine = engine
        self._appending = appending
        self._begin = begin
        self._long_log_pages = long_log_pages
        self._mine = threading.Lock()
        self._writer: PoolProxiedConnection | None = None
        self._checkpointer: PoolProxiedConnection | None = None

    def append(self, events_in: Sequence[Event]) -> list[Appended] | None:
        """See `EventStore.append_at_once`; sqlite3.Error, and nothing is stored, if the database refuses."""
        if not self._mine.acquire(blocking=False):
            return None
        try:
            if self._writer is None:
                self._writer = self._connected("busy_timeout=0", "wal_autocheckpoint=0")
            return self._append(self._writer, events_in)
        finally:
            self._mine.release()

    def _append(
        self, connection: PoolProxiedConnection, events_in: Sequence[Event]
    ) -> list[Appended] | None:
        cursor = connection.cursor()
        try:
            cursor.execute(self._begin)
            appended = self._appending.append(cursor, events_in)
            cursor.execute("COMMIT")
        except BaseException as error:
            connection.rollback()
            if _is_busy(error):
                return None
            raise
        finally:
            cursor.close()
        return appended

    def checkpoint(self) -> None:
        """See `EventStore.checkpoint`.

        The log is copied while others write, who are not disturbed. Only one that is copied to its end begins
        anew. Where nothing came meanwhile it is, and begins here, because the next commit would wait for
        the disk then; a long one has its rest copied with writers locked out, or it would grow for ever.
        """
        if self._checkpointer is None:
            timeout = f"busy_timeout={RESET_TIMEOUT_MS}"
            self._checkpointer = self._connected(timeout, "wal_autocheckpoint=0")
        cursor = self._checkpointer.cursor()
        try:
            before = cursor.execute(WRITTEN).fetchall()
            pages = self._copied(cursor)
            if pages > self._long_log_pages:
                # What came while it was copied is copied too, each time in less time, so that hardly
                # anything is left for the step in which writers are locked out.
                for _ in range(AGAIN):
                    self._copied(cursor)
            with self._mine:  # or `append` could come first, and wait for the disk
                if cursor.execute(WRITTEN).fetchall() == before or pages > self._long_log_pages:
                    cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
                    cursor.execute(BEGIN_LOG)
        except sqlite3.OperationalError as error:
            if not _is_busy(error):  # else another writer is there, and begins the log
                raise
        finally:
            cursor.close()

    def _copied(self, cursor: DBAPICursor) -> int:
        """Copies the log as far as it goes now, while others write; the pages that it has."""
        cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        ((_, pages, _),) = cursor.fetchall()
        return int(pages)

    def close(self) -> None:
        """Lets go of the connections."""
        for connection in (self._writer, self._checkpointer):
            if connection is not None:
                connection.close()
        self._engine.dispose()

    def _connected(self, *pragmas: str) -> PoolProxiedConnection:
        connection = self._engine.raw_connection()
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        return connection


def _is_busy(error: BaseException) -> bool:
    """Whether another writer was in the way. The code's upper bits say which way that was."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
