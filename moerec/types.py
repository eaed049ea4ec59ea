"""The nouns that every folder shares.

Outside ids are strings and stay strings; inside, an item is a row number of the model's tables.
The two never mix: `UserId` and `ItemId` are what callers send and get, `ItemIndex` never leaves
the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, NewType

UserId = NewType("UserId", str)
ItemId = NewType("ItemId", str)
ItemIndex = NewType("ItemIndex", int)

LARGEST_VALUE: Final = 1e9
"""Ratings and weights are at most so large, up or down: sums of their squares are still exact enough."""

PADDING: Final = ItemIndex(0)
"""Row 0 of every item table: no item. Items are numbered from 1."""

EventType = str
"""What a user did: "view", "click", "purchase", "rating" ... free text, at most 64 characters."""

DEFAULT_EVENT_TYPE: Final[EventType] = "interaction"


@dataclass(frozen=True, slots=True)
class Event:
    """One user did something with one item, once.

    `timestamp_ms` is UTC milliseconds since 1970. `value` is a rating or a weight where there is one.
    `event_id` is the caller's own name of the event: the same id twice is the same event.
    """

    event_id: str
    user_id: UserId
    item_id: ItemId
    timestamp_ms: int
    type: EventType = DEFAULT_EVENT_TYPE
    value: float | None = None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as the event table holds it.

    `user_number` counts the user's events 1, 2, 3 ... without holes, in the order of arrival;
    `table_number` grows over the whole table. A user's canonical order is
    (`timestamp_ms`, `user_number`).
    """

    event: Event
    user_number: int
    table_number: int


ItemField = str | float | bool | list[str] | None
"""What one column of an item file says of an item."""


@dataclass(frozen=True, slots=True)
class ItemChange:
    """What became of an item last: it was put with these `fields`, or `removed`, and keeps those it had.

    The fields are the columns of an item file: "title" a text, "categories" a list of texts, and any others.
    None for an item that was never put, and is the bundle's. `number` grows over all changes; an item that
    changes again has the new one's.
    """

    number: int
    item_id: ItemId
    fields: Mapping[str, ItemField] | None
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One place of a list. `score` is comparable within a list only; `rank` counts from 1."""

    item_id: ItemId
    rank: int
    score: float
    title: str | None = None
