"""What is remembered, as small interfaces.

All calls but `append_at_once` block: async callers go through a thread.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from moerec.types import Event, ItemChange, ItemField, ItemId, StoredEvent, UserId


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of one event.

    A `duplicate` was stored before with the same content. A conflict was stored before with other
    content, and stays as it was: `differs` names the fields. In both cases the numbers are those of the
    stored event.
    """

    event_id: str
    user_number: int
    table_number: int
    duplicate: bool = False
    differs: tuple[str, ...] = ()

    @property
    def conflict(self) -> bool:
        """True if another event has this id."""
        return bool(self.differs)


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """How much is stored."""

    users: int
    events: int


class PastRow(NamedTuple):
    """What a user's state is made of: an event without the names that answers do not need."""

    item_id: ItemId
    timestamp_ms: int
    value: float | None
    user_number: int


class UserEvents(Protocol):
    """What the event table says of users. Every method raises StorageError if the database refuses."""

    def newest(self, user_ids: Sequence[UserId], limit: int) -> list[list[PastRow]]:
        """As `history` of each of the users, read together: several times faster than one by one."""
        ...

    def history(self, user_id: UserId, limit: int) -> list[StoredEvent]:
        """The newest `limit` events in canonical order (timestamp, user number), oldest first."""
        ...

    def last_user_number(self, user_id: UserId) -> int:
        """The largest number of the user's events, whatever their times; 0 for a user without events."""
        ...

    def seen(self, user_id: UserId, limit: int) -> list[ItemId]:
        """At most `limit` distinct items of the user, the most recently seen first."""
        ...


class ItemTable(Protocol):
    """Items that came and went since the bundle was made. Methods raise StorageError as well."""

    def change_items(
        self, changes: Mapping[ItemId, Mapping[str, ItemField] | None]
    ) -> list[ItemChange]:
        """Puts items with all their fields, in place of what was there, or removes them (None), and what was
        there stays: in ONE transaction, durable on return, numbers growing in the order of `changes`."""
        ...

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        """At most `limit` items whose last change has a larger number, in the order of that number."""
        ...

    def item(self, item_id: ItemId) -> ItemChange | None:
        """The last change of an item; None if it never changed."""
        ...


class EventStore(UserEvents, ItemTable, Protocol):
    """The event table, and that of the items. Every method raises StorageError if the database refuses."""

    def append(self, events: Sequence[Event]) -> list[Appended]:
        """Stores events in ONE transaction, durable on return; results in the order of `events`.

        A user's events are numbered 1, 2, 3 ... without holes in the order of arrival, and likewise
        the whole table. Idempotent by `event_id`, also within one call.
        """
        ...

    def append_at_once(self, events: Sequence[Event]) -> list[Appended] | None:
        """As `append`, for a caller who cannot wait: an event loop.

        None, and nothing is stored, if there is something to wait for: another writer, or a disk or a
        network that has to answer before the events are durable. A store may answer so always.
        """
        ...

    def checkpoint(self) -> None:
        """Does what `append_at_once` leaves for later; due every few thousand events. Blocks."""
        ...

    def since(self, table_number: int, limit: int) -> list[StoredEvent]:
        """At most `limit` events with a larger table number, in the order of that number."""
        ...

    def last_number(self) -> int:
        """The largest table number, 0 in an empty table."""
        ...

    def counts(self) -> StoreCounts:
        """How many users and events are stored."""
        ...

    def close(self) -> None:
        """Lets go of all connections."""
        ...
