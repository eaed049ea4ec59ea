"""The use case of asking for a list: the engine first, popular items when it has no answer."""

import asyncio
import logging
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import count, repeat
from typing import Final, Literal

from moerec.api.answers import Answer, Item, Model, Spent, Why
from moerec.api.catalogue import Catalogue
from moerec.api.ids import new_id
from moerec.errors import EngineUnavailableError, StorageError
from moerec.observability.logging import SparingLog
from moerec.observability.metrics import Metrics
from moerec.store.cache import AnswerCache
from moerec.store.interfaces import EventStore
from moerec.transport.client import EngineClient, Outcome, Told
from moerec.transport.frames import ListReply, RecommendRequest, SimilarRequest
from moerec.types import UserId

logger = logging.getLogger(__name__)

SEEN_LIMIT: Final = 2000
"""Items of a user that a fallback list leaves out, the newest first."""

_REASONS: Final = {
    "anonymous": "Neither user_id nor history was given",
    "unknown_user": "No events of this user are stored yet",
    "empty_history": "The history is empty",
    "no_known_items": "The model knows none of the user's items",
    "unknown_item": "The model does not know this item",
    "engine_unavailable": "The model did not answer in time",
    "engine_error": "The model failed on this request",
}
_MODEL: Final[Literal["model"]] = "model"
_FAULTS: Final = ("engine_unavailable", "engine_error")


@dataclass(frozen=True, slots=True)
class RecommendService:
    """Makes lists. Never fails: where the engine has no answer, the popular items are one."""

    catalogue: Catalogue
    engine: EngineClient
    store: EventStore
    metrics: Metrics
    similar_cache: AnswerCache[ListReply]
    deadline_s: float
    log: SparingLog = field(default_factory=lambda: SparingLog(logger))

    async def recommend(self, query: RecommendRequest) -> Answer:
        """The list for a user or a history, or for nobody."""
        start = time.perf_counter()
        if query.user_id is None and query.history is None:
            return await self.fall_back(query, "anonymous", start)
        reply = await self._reply(query)
        if reply.fallback is None:
            return self.from_model(reply, start)
        return await self.fall_back(query, reply.fallback, start)

    def begin(self, request: RecommendRequest, told: Told) -> None:
        """Asks the engine; `reply_of` reads what is told."""
        self.engine.begin(request, self.deadline_s, told)

    def reply_of(self, outcome: Outcome) -> ListReply:
        """The engine's list; what went wrong is a list without items and the fallback's code."""
        if isinstance(outcome, ListReply):
            self.metrics.engine_up(True)
            return outcome
        if isinstance(outcome, EngineUnavailableError):
            self.metrics.engine_up(False)
            return ListReply([], [], fallback="engine_unavailable")
        self.metrics.engine_up(True)
        self.log.warning("The engine answered %s", outcome)
        return ListReply([], [], fallback="engine_error")

    async def fall_back(self, query: RecommendRequest, code: str, start: float) -> Answer:
        """Popular items for a question that the model has no list for; `start` of `time.perf_counter`."""
        exclude = set(query.exclude)
        if query.exclude_seen and code not in ("unknown_user", "anonymous"):
            exclude.update(await self._seen(query))
        return self._fallback(code, self.catalogue.popular_items(query.k, exclude), start)

    async def similar(self, item_id: str, k: int) -> Answer:
        """The items nearest to an item."""
        start = time.perf_counter()
        key = (self.catalogue.version, self.catalogue.number, item_id, k)
        # A list of before a change is not kept as one of after it.
        may_keep = self.catalogue.is_settled
        known = self.similar_cache.get(key)
        self.metrics.cache(hit=known is not None)
        reply = known or await self._reply(SimilarRequest(item_id, k))
        if reply.fallback is not None:
            return self._fallback(
                reply.fallback, self.catalogue.popular_items(k, (item_id,)), start
            )
        if known is None and may_keep:
            self.similar_cache.put(key, reply)
        return self.from_model(reply, start, cached=known is not None)

    def popular(self, k: int, category: str | None) -> Answer:
        """The most popular items: what was asked for here, and so no fallback."""
        start = time.perf_counter()
        return self._answer(self.catalogue.popular_items(k, category=category), start)

    async def _reply(self, request: RecommendRequest | SimilarRequest) -> ListReply:
        try:
            return self.reply_of(await self.engine.ask(request, self.deadline_s))
        except EngineUnavailableError as error:
            return self.reply_of(error)

    async def _seen(self, query: RecommendRequest) -> Collection[str]:
        """The items that the user has seen, if the store says so within half the deadline."""
        if query.history is not None or query.user_id is None:
            return query.history or ()
        try:
            async with asyncio.timeout(self.deadline_s / 2):
                return await asyncio.to_thread(self.store.seen, UserId(query.user_id), SEEN_LIMIT)
        except (StorageError, TimeoutError) as error:
            self.log.warning("The user's seen items are not known: %s", error)
            return ()

    def from_model(self, reply: ListReply, start: float, *, cached: bool = False) -> Answer:
        """The engine's list as an answer; `start` of `time.perf_counter`."""
        self.metrics.experts(reply.experts)
        ids = reply.item_ids
        if len(ids) != len(reply.scores):
            raise ValueError(f"the engine sent {len(ids)} items and {len(reply.scores)} scores")
        titles = map(self.catalogue.titles.get, ids)
        # A loop of the interpreter's own: no step of ours for each item.
        items = list(map(Item, ids, titles, count(1), reply.scores, repeat(_MODEL)))
        return self._answer(items, start, reply=reply, cached=cached)

    def _fallback(self, code: str, items: list[Item], start: float) -> Answer:
        self.metrics.fallback(code)
        reason = f"{_REASONS.get(code, code)}, so these items are the popular ones."
        answer = self._answer(items, start)
        answer.fallback = Why(code, reason)
        answer.degraded = "popular" if code in _FAULTS else None
        return answer

    def _answer(
        self,
        items: list[Item],
        start: float,
        *,
        reply: ListReply | None = None,
        cached: bool = False,
    ) -> Answer:
        experts = reply.experts if reply else []
        return Answer(
            recommendation_id=new_id(),
            items=items,
            model=Model(
                self.catalogue.version,
                sum(map(len, experts)) / len(experts) if experts else None,
                experts,
            ),
            fallback=None,
            degraded=reply.degraded if reply else None,
            cached=cached,
            timings_ms=Spent(
                round(1000 * (time.perf_counter() - start), 3),
                round(reply.engine_ms, 3) if reply and not cached else None,
            ),
        )
