"""The engine: micro-batches of requests in, replies out. Knows histories and vectors, no sockets."""

import logging
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from moerec.artifacts.bundle import Bundle, UserSample
from moerec.engine.catalogue import Catalogue
from moerec.engine.counters import Counters
from moerec.engine.encoders import Encoder, ReplayEncoder, StreamedEncoder, is_streamable
from moerec.engine.index import LEAST_ITEMS, make_index
from moerec.engine.kernels.nearby import Index
from moerec.engine.kernels.rows import StoredType, bytes_a_user
from moerec.engine.policy import ExpertPolicy
from moerec.engine.query import QueryRows
from moerec.engine.retrieval import (
    CompiledRetrieval,
    Retrieval,
    TorchRetrieval,
    cosine_scores,
    listed,
    top_k,
)
from moerec.engine.state import HotUsers, Past, PastEvent, UserState
from moerec.errors import UsageError
from moerec.models.loading import load_model
from moerec.models.recommender import take_out
from moerec.store.interfaces import UserEvents
from moerec.transport.frames import (
    FRAME_LIMIT,
    ErrorReply,
    EventPush,
    EventReply,
    InfoReply,
    InfoRequest,
    ItemsPush,
    ItemsReply,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
    SimilarRequest,
)
from moerec.types import PADDING, ItemChange, ItemId, StoredEvent, UserId

logger = logging.getLogger(__name__)

ARENA_BYTES: Final = 4 << 30
"""The most memory for the states of hot users, unless the caller says otherwise; taken as they come."""

OTHER_BYTES_A_USER: Final = 2_048
"""Of a hot user's memory, what is not attention: ids, last items, the vector, 50 seen items."""


MOST_FRESH: Final = 4_000
"""Items that lists compare one by one before an index of all is made anew: about as much work as the cells
of a catalogue of 100,000."""

GROWN: Final = 1.25
"""So many times the items for which there was no index before one is tried again."""


@dataclass(slots=True)
class _Ranking:
    """A recommend request on its way through the batch. The past of `state` is not empty."""

    k: int
    excluded: "array[int]"
    state: UserState
    max_experts: int | None


class Engine:
    """Answers for one bundle. Thread-safe; requests are worked one batch at a time.

    The states of so many users are kept as `arena_bytes` hold, at least those of one frame; on a CPU as
    `stored`, int8 (a quarter of the memory) or float32. `expert_quota` and `busy_frame` are those of
    `ExpertPolicy`, with its SettingsError; `memo` is that of `QueryRows`. `when_told` is called where a
    gateway says that items have changed.
    """

    def __init__(
        self,
        bundle: Bundle,
        store: UserEvents,
        device: torch.device | str = "cpu",
        arena_bytes: int = ARENA_BYTES,
        stored: StoredType = np.int8,
        expert_quota: float = 0.0,
        busy_frame: int = 0,
        memo: bool = True,
        when_told: Callable[[], None] = lambda: None,
    ) -> None:
        self._version = bundle.version
        self._device = torch.device(device)
        self._model = load_model(bundle.config, bundle.weights(), device)
        self._reach = self._model.config.reach
        self._catalogue = Catalogue(self._model, bundle.id_map.ids, bundle.content)
        self._sample = bundle.user_sample()
        self._indexed = len(bundle.id_map)
        self._moved: set[int] = set()
        self._when_told = when_told
        self._counters = Counters()
        # All users of a frame are hot at once.
        hot_users = max(
            arena_bytes // (bytes_a_user(self._model.config, stored) + OTHER_BYTES_A_USER),
            FRAME_LIMIT,
        )
        self._encoder, self._retrieval = self._parts(hot_users + FRAME_LIMIT, stored)
        self.policy = ExpertPolicy(self._model.config, expert_quota, busy_frame)
        self._query_rows = QueryRows(self._encoder, self.policy, self._counters, memo)
        self._users = HotUsers(
            store,
            self._catalogue.indexes,
            self._reach,
            hot_users,
            self._encoder.release,
            self._counters,
        )
        self._lock = threading.Lock()

    def _parts(self, slots: int, stored: StoredType) -> tuple[Encoder, Retrieval]:
        """The compiled ones where they can run, else the model's own code."""
        items = self._catalogue.vectors
        if self._device.type != "cpu":
            replayed = ReplayEncoder(self._model, items, self._counters)
            return replayed, TorchRetrieval(self._model, items)
        index = None
        if self._sample is None and len(items) > LEAST_ITEMS:
            logger.warning("The bundle shows no users: every list reads all of its items.")
        if self._sample is not None:
            index = self._index_of(items, self._sample)
        retrieval = CompiledRetrieval(self._model, items, index)
        if not is_streamable(self._model.config):
            return ReplayEncoder(self._model, items, self._counters), retrieval
        return StreamedEncoder(self._model, items, slots, stored, self._counters), retrieval

    def _index_of(self, items_VD: Tensor, sample: UserSample) -> Index:
        table, temperature = self._model.transitions, self._model.config.temperature
        return make_index(items_VD, sample, table, temperature)

    def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply for each request, in order; never raises for what a request holds."""
        started = time.perf_counter()
        replies: list[Reply] = []
        with self._lock, torch.inference_mode():
            begun = time.perf_counter()
            # The users of one piece are all hot at once.
            for first in range(0, len(requests), FRAME_LIMIT):
                replies += self._answer(requests[first : first + FRAME_LIMIT], started)
            self._counters.frames += 1
            self._counters.requests += len(requests)
            self._counters.busy_seconds += time.perf_counter() - begun
        return replies

    def _answer(self, requests: Sequence[Request], started: float) -> list[Reply]:
        asked = [each for each in requests if isinstance(each, RecommendRequest)]
        # Whatever goes wrong here, the request that it is about meets it again, and answers so.
        with suppress(Exception):
            self._users.bring(
                [UserId(each.user_id) for each in asked if each.user_id and each.history is None]
            )
        drafts = [self._begin(request, started) for request in requests]
        rankings = [draft for draft in drafts if isinstance(draft, _Ranking)]
        try:
            lists = iter(self._rank(rankings, len(requests), started) if rankings else ())
        except Exception:
            # How far they were taken in is not known.
            self._users.clear()
            raise
        finally:
            for ranking in rankings:
                if ranking.state.passing:
                    self._encoder.release(ranking.state)
            self._users.sweep()
        return [next(lists) if isinstance(draft, _Ranking) else draft for draft in drafts]

    def apply_stored(self, events: Sequence[StoredEvent]) -> None:
        """Take in events that were read from the table (the follower's door)."""
        with self._lock:
            self._users.apply_stored(events)
            self._users.sweep()

    def forget_users(self) -> None:
        """Drop every user's state; each is rebuilt when next read."""
        with self._lock:
            self._users.clear()
            self._users.sweep()

    def change_items(self, changes: Sequence[ItemChange]) -> None:
        """Takes in items that came and went, read from the table of items in their order. From one thread.

        Users whose states would be others by now are forgotten, and read again when they ask.
        """
        catalogue = self._catalogue
        content = catalogue.content(changes)
        catalogue.make_room(changes)
        with self._lock, torch.inference_mode():
            effect = catalogue.apply(changes, content)
            new = {catalogue.indexes[item] for item in effect.came}
            self._users.change_items(effect.came, {*effect.moved} - new)
            self._moved.update(effect.moved)
            self._encoder.see_items(catalogue.vectors)
            self._retrieval.see_items(catalogue.vectors, catalogue.gone, effect.moved)

    @property
    def index_is_due(self) -> bool:
        """Whether an index of the catalogue would be another one now, by enough to pay for making it."""
        retrieval, count = self._retrieval, len(self._catalogue.ids)
        if self._sample is None or not isinstance(retrieval, CompiledRetrieval):
            return False
        grown = count > LEAST_ITEMS and count >= GROWN * self._indexed
        return retrieval.fresh > MOST_FRESH or grown

    def make_index_anew(self) -> None:
        """Makes an index of the items there are now, while requests are answered, and uses it.

        From any one thread, also while items change.
        """
        retrieval, sample = self._retrieval, self._sample
        if sample is None or not isinstance(retrieval, CompiledRetrieval):
            return
        with self._lock:
            # A row that changes meanwhile has moved, and is not looked up in the index then.
            items, self._moved = self._catalogue.vectors, set()
            self._indexed = len(self._catalogue.ids)
        index = self._index_of(items, sample)
        with self._lock:
            retrieval.use_index(index, self._catalogue.gone, [*self._moved])
            self._counters.indexes_made += 1

    def warm_up(self, batch: int = 8) -> None:
        """Run the model once on full histories, so that no user waits for first-time costs."""
        longest = self._catalogue.ids[: self._reach]
        self.answer([RecommendRequest(None, longest, 10)] * batch)
        state = UserState(Past.of([PastEvent(1)], self._reach))
        with self._lock, torch.inference_mode():
            self._encoder.encode([state])
            self._query_rows.warm_up(state)
            self._encoder.release(state)

    def _begin(self, request: Request, started: float) -> Reply | _Ranking:
        """Whatever goes wrong becomes the request's own reply: one request never spoils its batch."""
        try:
            match request:
                case RecommendRequest():
                    return self._begin_ranking(request)
                case SimilarRequest():
                    return self._similar(request, started)
                case EventPush():
                    self._apply(request)
                    return EventReply()
                case ItemsPush():
                    self._when_told()
                    return ItemsReply(self._catalogue.number)
                case InfoRequest():
                    here = len(self._catalogue.ids) - self._catalogue.removed
                    return InfoReply(self._version, here, len(self._users), self._figures())
        except Exception as error:
            return ErrorReply(f"{type(error).__name__}: {error}")

    def _apply(self, event: EventPush) -> None:
        user_id, item_id = UserId(event.user_id), ItemId(event.item_id)
        self._users.apply(user_id, item_id, event.timestamp_ms, event.user_number, event.value)

    def _figures(self) -> dict[str, float]:
        """What is counted, and what is kept now."""
        slots = self._encoder.slots
        return {
            **asdict(self._counters),
            **self.policy.counters(),
            "users_hot": len(self._users),
            "items_added": self._catalogue.added,
            "items_removed": self._catalogue.removed,
            "slots": slots.count,
            "arena_used_bytes": slots.used * slots.bytes_each,
            "arena_limit_bytes": slots.count * slots.bytes_each,
        }

    def _begin_ranking(self, request: RecommendRequest) -> Reply | _Ranking:
        _check_k(request.k)
        if request.history is not None:
            if not request.history:
                return ListReply([], [], fallback="empty_history")
            known = self._known(request.history)
            newest = map(PastEvent, known[-self._reach :])
            state = UserState(Past.of(newest, self._reach), array("i", known), passing=True)
        elif request.user_id is not None:
            state = self._users.get(UserId(request.user_id), request.moved_s)
            if state.last_number == 0:
                return ListReply([], [], fallback="unknown_user")
        else:
            raise UsageError("A recommend request names neither a user nor a history.")
        if not state.past.length:
            return ListReply([], [], fallback="no_known_items")
        # A copy: events that come later in the frame lengthen what was seen.
        excluded = state.seen[:] if request.exclude_seen else array("i")
        if request.exclude:
            excluded.extend(self._known(request.exclude))
        return _Ranking(request.k, excluded, state, request.max_experts)

    def _rank(self, rankings: list[_Ranking], frame: int, started: float) -> list[ListReply]:
        answered = self._query_rows.answer(
            [ranking.state for ranking in rankings],
            [ranking.max_experts for ranking in rankings],
            frame,
        )
        lists = self._retrieval.lists(
            answered.tastes,
            [ranking.excluded for ranking in rankings],
            [ranking.k for ranking in rankings],
        )
        ids, spent_ms = self._catalogue.ids, (time.perf_counter() - started) * 1e3
        return [
            ListReply(
                [ids[index - 1] for index in indexes],
                scores,
                None,
                taste.experts,
                ranking.state.past.length,
                spent_ms,
                degraded,
            )
            for ranking, taste, degraded, (indexes, scores) in zip(
                rankings, answered.tastes, answered.degraded, lists, strict=True
            )
        ]

    def _similar(self, request: SimilarRequest, started: float) -> ListReply:
        _check_k(request.k)
        catalogue = self._catalogue
        index = catalogue.indexes.get(ItemId(request.item_id), PADDING)
        if index == PADDING:
            return ListReply([], [], fallback="unknown_item")
        scores = cosine_scores(catalogue.vectors[index : index + 1], catalogue.units)
        scores.masked_fill_(torch.from_numpy(catalogue.gone).to(self._device), -torch.inf)
        take_out(scores, [[index, *self._known(request.exclude)]])
        ((indexes, cosines),) = listed(*top_k(scores, request.k), [request.k])
        found = [catalogue.ids[each - 1] for each in indexes]
        return ListReply(found, cosines, engine_ms=(time.perf_counter() - started) * 1e3)

    def _known(self, item_ids: Sequence[str]) -> list[int]:
        indexes = self._catalogue.indexes
        found = (indexes.get(ItemId(item_id), PADDING) for item_id in item_ids)
        return [index for index in found if index != PADDING]


def _check_k(k: int) -> None:
    if k < 1:
        raise UsageError(f"A list of {k} items cannot be made; k is 1 or more.")
