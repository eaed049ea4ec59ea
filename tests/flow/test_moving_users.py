"""A user whose engine is out of reach for a while: nothing that was stored meanwhile is missing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from moerec.artifacts.bundle import Bundle
from moerec.engine.engine import Engine
from moerec.engine.follower import Follower
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.fleet import connect
from moerec.transport.frames import EventPush, EventReply, ListReply, RecommendRequest
from moerec.transport.hashing import Rendezvous
from moerec.transport.server import serve
from moerec.types import Event, ItemId, UserId
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


class Reachable:
    """An engine that lives on while nobody can reach it. Its follower never comes by itself."""

    def __init__(self, bundle: Bundle, store: EventStore, address: str) -> None:
        self.engine = Engine(bundle, store)
        self.engine.warm_up()  # kernels may have to be compiled, which takes longer than a question
        self.address = address
        self.follower = Follower(store, self.engine.apply_stored, self.engine.forget_users)

    @asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        server = serve(self.engine.answer, self.address, self.follower.try_to_catch_up)
        yield
        await asyncio.to_thread(server.stop, 0)


async def test_who_moved_and_came_back_sees_what_was_stored_meanwhile(
    bundle: Bundle, store: EventStore, tmp_path: Path
) -> None:
    addresses = [f"unix:{tmp_path}/{name}.sock" for name in "ab"]
    own_place, other_place = Rendezvous(addresses).of("ann")
    engines = [Reachable(bundle, store, address) for address in addresses]
    own, other = engines[own_place], engines[other_place]
    client = connect(addresses)
    stored: list[str] = []

    async def add(item: str) -> None:
        event = Event(item, UserId("ann"), ItemId(item), 1_000 + len(stored))
        (done,) = store.append([event])
        stored.append(item)
        push = EventPush("ann", item, event.timestamp_ms, done.user_number, done.table_number)
        assert await client.ask(push, 5.0) == EventReply()

    async def assert_nothing_is_missing() -> None:
        reply = await client.ask(RecommendRequest("ann", None, 40), 5.0)
        assert isinstance(reply, ListReply)
        assert reply.history_length == len(stored)
        assert len(reply.item_ids) == 40 - len(stored)
        assert not set(stored) & set(reply.item_ids)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(other())
        stack.push_async_callback(client.close)
        async with own():
            await add("i1")
            await assert_nothing_is_missing()
            asked_own = own.engine._counters.requests
            assert asked_own > 0
        await add("i2")
        await assert_nothing_is_missing()
        await add("i3")
        async with own():
            while own.engine._counters.requests == asked_own:
                await assert_nothing_is_missing()
                await asyncio.sleep(0.01)
            await add("i4")
            await assert_nothing_is_missing()
            await add("i5")
        # The other one was not told of the last two, and still has what it knew before.
        await assert_nothing_is_missing()
