"""The parts that a running gateway holds, and how they are opened and closed."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Annotated, cast

from fastapi import Depends, Request

from moerec.api.catalogue import Catalogue
from moerec.api.guard import Guard, guard_of
from moerec.api.ingest import IngestService
from moerec.api.items import ItemService
from moerec.api.recommend import RecommendService
from moerec.api.tokens import TokenVerifier
from moerec.artifacts.bundle import Bundle, read_bundle
from moerec.observability.metrics import Metrics
from moerec.settings import Settings
from moerec.store.cache import AnswerCache
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.store.writer import GroupCommitWriter
from moerec.transport.client import EngineClient
from moerec.transport.fleet import connect
from moerec.transport.frames import ListReply


@dataclass(frozen=True, slots=True)
class Gateway:
    """What the routes work with."""

    catalogue: Catalogue
    engine: EngineClient
    store: EventStore
    metrics: Metrics
    guard: Guard
    recommend: RecommendService
    ingest: IngestService
    items: ItemService


@asynccontextmanager
async def open_gateway(
    settings: Settings,
    metrics: Metrics,
    verifier: TokenVerifier,
    *,
    bundle: Bundle | None,
    engine: EngineClient | None,
    store: EventStore | None,
) -> AsyncIterator[Gateway]:
    """A gateway with the given parts, and with those of the settings where none is given.

    All parts, given or not, are closed at the end, in reverse order.
    """
    async with AsyncExitStack() as stack:
        catalogue = Catalogue.of(bundle or read_bundle(settings.bundle_path()))
        store = store or open_event_store(settings.database_url, settings.durability)
        stack.callback(store.close)
        writer = GroupCommitWriter(store, metrics.write)
        stack.callback(writer.close)
        engine = engine or connect(settings.engine_addresses, catalogue.version)
        stack.push_async_callback(engine.close)
        deadline_s = settings.deadline_ms / 1000
        items = ItemService(catalogue, engine, store, metrics)
        await items.catch_up()
        stack.push_async_callback(_ended, asyncio.create_task(items.follow()))
        cache: AnswerCache[ListReply] = AnswerCache(settings.cache_ttl_s)
        yield Gateway(
            catalogue,
            engine,
            store,
            metrics,
            guard_of(settings, verifier, metrics),
            RecommendService(catalogue, engine, store, metrics, cache, deadline_s),
            IngestService(writer, engine, metrics, deadline_s),
            items,
        )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def _gateway(request: Request) -> Gateway:  # async: FastAPI would give a `def` a thread
    return cast(Gateway, request.app.state.gateway)


GatewayDep = Annotated[Gateway, Depends(_gateway)]
