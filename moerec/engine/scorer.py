"""The engine as a `Scorer`: an evaluation of what is served, by the way that a live request takes.

Each history becomes a user of an event table in memory. The engine is asked before the newest event, is
told of it as a gateway tells it, and is asked again: states are built from the table and go on by one
streamed event, lists come from its retrieval, exclusions inside.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from moerec.artifacts.bundle import Bundle
from moerec.data.sequences import History
from moerec.engine.engine import Engine
from moerec.engine.kernels.rows import StoredType
from moerec.errors import MoerecError
from moerec.evaluation.evaluate import LIST_LENGTH
from moerec.store.interfaces import PastRow
from moerec.transport.frames import (
    FRAME_LIMIT,
    EventPush,
    EventReply,
    ListReply,
    RecommendRequest,
    Reply,
)
from moerec.types import Event, ItemId, StoredEvent, UserId


class EngineScorer:
    """Scores of the engine's own lists; what it does not list scores -inf.

    The first 50 places are those of a list of 50, which an index may have found. The others follow in the
    order of a list as long as the catalogue, which reads all items.

    A history without a known item scores 0 everywhere, as for the model: no list is the model's there.
    `device` and `stored` as for `Engine`. MoerecError where the engine answers a request with a fault.
    """

    name = "engine"

    def __init__(
        self,
        bundle: Bundle,
        device: torch.device | str = "cpu",
        stored: StoredType = np.int8,
    ) -> None:
        self._ids = list(bundle.id_map.ids)
        self._rows = {item_id: row for row, item_id in enumerate(self._ids, start=1)}
        self._table = _TableInMemory(self._ids)
        # Users come once: no more of them are kept than one frame holds.
        self._engine = Engine(bundle, self._table, device, 0, stored)
        self._users = 0

    def scores(
        self, histories: Sequence[History], leaving: Sequence[NDArray[np.int32]] = ()
    ) -> NDArray[np.float32]:
        """float32 [B, V + 1], as `evaluation.evaluate.Scorer`."""
        found = np.zeros((len(histories), len(self._ids) + 1), np.float32)
        asked = [row for row, history in enumerate(histories) if len(history)]
        for first in range(0, len(asked), FRAME_LIMIT):
            rows = asked[first : first + FRAME_LIMIT]
            users = self._take_in([histories[row] for row in rows])
            requests = [
                self._request(user, histories[row], leaving[row] if leaving else None)
                for user, row in zip(users, rows, strict=True)
            ]
            short = self._ask([replace(each, k=LIST_LENGTH) for each in requests])
            for row, first_ones, every in zip(rows, short, self._ask(requests), strict=True):
                found[row] = merged(first_ones, every, self._rows)
        return found

    def _take_in(self, histories: Sequence[History]) -> list[UserId]:
        """New users of the engine: their states are built without the newest event, which then comes."""
        users = [UserId(str(self._users + place)) for place in range(len(histories))]
        self._users += len(users)
        self._table.open([history[:-1] for history in histories], users)
        self._ask([RecommendRequest(user, None, 1) for user in users])
        self._table.open(histories, users)
        told = self._engine.answer([self._table.push(user) for user in users])
        _refuse_faults(told, EventReply)
        return users

    def _request(
        self, user: UserId, history: History, leaving: NDArray[np.int32] | None
    ) -> RecommendRequest:
        """As clients ask where everything seen leaves; where a seen target stays, the others by name."""
        if leaving is None or np.isin(history.items, leaving).all():
            return RecommendRequest(user, None, len(self._ids), exclude_seen=leaving is not None)
        named: list[str] = [self._ids[item - 1] for item in leaving.tolist()]
        return RecommendRequest(user, None, len(self._ids), named, exclude_seen=False)

    def _ask(self, requests: list[RecommendRequest]) -> list[ListReply]:
        replies = self._engine.answer(requests)
        _refuse_faults(replies, ListReply)
        return [reply for reply in replies if isinstance(reply, ListReply)]


def merged(short: ListReply, full: ListReply, rows: Mapping[ItemId, int]) -> NDArray[np.float32]:
    """Scores [V + 1] of two lists of a user, items at their `rows`. What the short one does not have cannot
    be before its last, whatever it scores in the full one."""
    scores = np.full(len(rows) + 1, -np.inf, np.float32)
    scores[[rows[ItemId(item)] for item in full.item_ids]] = full.scores
    if short.scores:
        scores = np.minimum(scores, np.float32(short.scores[-1]))
    scores[[rows[ItemId(item)] for item in short.item_ids]] = short.scores
    return scores


class _TableInMemory:
    """The events of the users at hand, as the event table gives them."""

    def __init__(self, ids: list[ItemId]) -> None:
        self._ids = ids
        self._histories: dict[UserId, History] = {}

    def open(self, histories: Sequence[History], users: Sequence[UserId]) -> None:
        """From now on it holds these users."""
        self._histories = dict(zip(users, histories, strict=True))

    def history(self, user_id: UserId, limit: int) -> list[StoredEvent]:
        """As `UserEvents`."""
        history = self._histories[user_id]
        first = max(len(history) - limit, 0)
        newest = history[first:]
        return [
            StoredEvent(
                Event(
                    f"{user_id}-{number}",
                    user_id,
                    self._ids[item - 1],
                    timestamp,
                    value=None if np.isnan(value) else value,
                ),
                number,
                number,
            )
            for number, (item, timestamp, value) in enumerate(
                zip(
                    newest.items.tolist(),
                    newest.timestamps.tolist(),
                    newest.values.tolist(),
                    strict=True,
                ),
                start=first + 1,
            )
        ]

    def newest(self, user_ids: Sequence[UserId], limit: int) -> list[list[PastRow]]:
        """As `UserEvents`."""
        return [
            [
                PastRow(
                    stored.event.item_id,
                    stored.event.timestamp_ms,
                    stored.event.value,
                    stored.user_number,
                )
                for stored in self.history(user_id, limit)
            ]
            for user_id in user_ids
        ]

    def seen(self, user_id: UserId, limit: int) -> list[ItemId]:
        """As `UserEvents`."""
        newest_first = dict.fromkeys(self._histories[user_id].items[::-1].tolist())
        return [self._ids[item - 1] for item in list(newest_first)[:limit]]

    def last_user_number(self, user_id: UserId) -> int:
        """As `UserEvents`."""
        return len(self._histories[user_id])

    def push(self, user_id: UserId) -> EventPush:
        """What a gateway says of the user's newest event."""
        (stored,) = self.history(user_id, 1)
        event = stored.event
        return EventPush(
            user_id,
            event.item_id,
            event.timestamp_ms,
            stored.user_number,
            stored.table_number,
            event.value,
        )


def _refuse_faults(replies: Sequence[Reply], kind: type[ListReply] | type[EventReply]) -> None:
    for reply in replies:
        if not isinstance(reply, kind):
            raise MoerecError(f"the engine failed on a request of the evaluation: {reply}")
