"""Loading a whole log into the event store: `moerec import events`."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

import numpy as np
import polars as pl

from moerec.data.interactions import Interactions
from moerec.data.split import HoldOut
from moerec.store.interfaces import EventStore
from moerec.types import DEFAULT_EVENT_TYPE, Event, ItemId, UserId

CHUNK: Final = 10_000
"""Events of one transaction."""

Progress = Callable[[int, int], None]
"""Gets the events that are done, and those there are in all."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did. `events` = `added` + `stored_before`; `held_out` were not to be imported."""

    events: int
    added: int
    stored_before: int
    held_out: int


def import_events(
    store: EventStore,
    interactions: Interactions,
    hold_out: HoldOut | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Stores the events of a log; with `hold_out`, each user's events before the test event.

    A user without a test event is imported whole. An event's id comes from its content, so a second
    import, or one after a kill, adds only what is missing. Raises StorageError; the chunks before it
    stay.
    """
    frame = interactions.frame
    kept = frame if hold_out is None else frame.filter(_before_test(frame, hold_out))
    added = 0
    done = 0
    for chunk in kept.iter_slices(CHUNK):
        results = store.append(list(_events(chunk)))
        added += sum(not result.duplicate for result in results)
        done += len(chunk)
        if progress is not None:
            progress(done, len(kept))
    return ImportReport(
        events=done, added=added, stored_before=done - added, held_out=len(frame) - len(kept)
    )


def _before_test(frame: pl.DataFrame, hold_out: HoldOut) -> pl.Series:
    """Boolean [N]: the event stands before its user's test event, if there is one."""
    lengths = frame.get_column("user_id").rle().struct.field("len").to_numpy().astype(np.int64)
    starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.arange(len(frame)) - starts
    ends = np.where(hold_out.test_at >= 0, hold_out.test_at, lengths)
    return pl.Series(places < np.repeat(ends, lengths))


def _events(chunk: pl.DataFrame) -> Iterator[Event]:
    """The rows of a chunk as events with ids made from their content."""
    columns = [name for name in ("event", "value") if name in chunk.columns]
    event_at = 3 + columns.index("event") if "event" in columns else None
    value_at = 3 + columns.index("value") if "value" in columns else None
    last_user, user_hash = None, ""
    for row in chunk.select("user_id", "item_id", "timestamp", *columns).iter_rows():
        user_id, item_id, timestamp_ms = row[:3]
        if user_id != last_user:
            last_user, user_hash = user_id, _hash(user_id, 8)
        event_type = (row[event_at] if event_at is not None else None) or DEFAULT_EVENT_TYPE
        value = row[value_at] if value_at is not None else None
        # The user's hash first: a user's events are then neighbours in the index of the ids.
        content_hash = _hash(f"{timestamp_ms}\0{item_id}\0{event_type}\0{value}", 10)
        yield Event(
            f"log:{user_hash}{content_hash}",
            UserId(user_id),
            ItemId(item_id),
            timestamp_ms,
            event_type,
            value,
        )


def _hash(text: str, size: int) -> str:
    digest = blake2b(text.encode(), digest_size=size).digest()
    return urlsafe_b64encode(digest).rstrip(b"=").decode()
