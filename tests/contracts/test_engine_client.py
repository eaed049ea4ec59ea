"""What every EngineClient promises: that of an engine process, a fleet of which one engine is away, and the
fake that ships."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from moerec.errors import EngineAwayError, EngineUnavailableError
from moerec.transport.client import EngineClient, Handler, LocalEngineClient, Outcome
from moerec.transport.fleet import connect
from moerec.transport.frames import (
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
from moerec.transport.server import serve

OpenClient = Callable[[Handler], AbstractAsyncContextManager[EngineClient]]


def answer(request: Request) -> Reply:
    """A toy engine: the answer names the question, so that mixed-up replies are seen."""
    match request:
        case RecommendRequest(user_id="broken"):
            raise ValueError("a fault")
        case RecommendRequest(user_id, _, k):
            return ListReply(
                [f"{user_id}-{place}" for place in range(k)],
                [1 / (1 + place) for place in range(k)],
            )
        case SimilarRequest(item_id):
            return ListReply([], [], fallback="unknown_item" if item_id == "none" else None)
        case EventPush():
            return EventReply()
        case InfoRequest():
            return InfoReply("toy", items=3, hot_users=0)
        case ItemsPush(number):
            return ItemsReply(number - 1)


def toy(requests: list[Request]) -> list[Reply]:
    return [answer(request) for request in requests]


@asynccontextmanager
async def local(handler: Handler) -> AsyncIterator[EngineClient]:
    client = LocalEngineClient(handler)
    yield client
    await client.close()


@pytest.fixture(params=["local", "remote", "fleet"])
def open_client(request: pytest.FixtureRequest, tmp_path: Path) -> OpenClient:
    @asynccontextmanager
    async def over_a_socket(handler: Handler) -> AsyncIterator[EngineClient]:
        address = f"unix:{tmp_path}/engine.sock"
        server = serve(handler, address)
        away = [f"unix:{tmp_path}/away.sock"] if request.param == "fleet" else []
        client = connect([*away, address])
        yield client
        await client.close()
        server.stop(0)

    return local if request.param == "local" else over_a_socket


async def test_every_kind_of_request_gets_its_kind_of_reply(open_client: OpenClient) -> None:
    async with open_client(toy) as client:
        assert await client.ask(RecommendRequest("ann", None, 2), 2.0) == ListReply(
            ["ann-0", "ann-1"], [1.0, 0.5]
        )
        assert await client.ask(SimilarRequest("none", 3), 2.0) == ListReply(
            [], [], fallback="unknown_item"
        )
        assert await client.ask(EventPush("ann", "i", 5, 1, 1), 2.0) == EventReply()
        assert await client.ask(InfoRequest(), 2.0) == InfoReply("toy", 3, 0)
        assert await client.ask(ItemsPush(2**40), 2.0) == ItemsReply(2**40 - 1)


async def test_each_engine_that_is_there_can_be_told_of_items(open_client: OpenClient) -> None:
    """By itself: any one of a fleet would answer for the others."""
    async with open_client(toy) as client:
        told = [
            await asyncio.gather(engine.ask(ItemsPush(3), 2.0), return_exceptions=True)
            for engine in client.engines().values()
        ]
    there = [one for (one,) in told if not isinstance(one, EngineAwayError)]
    assert there == [ItemsReply(2)]


async def test_many_at_once_each_get_their_own_answer(open_client: OpenClient) -> None:
    async with open_client(toy) as client:
        users = [f"u{number}" for number in range(500)]
        replies = await asyncio.gather(
            *(client.ask(RecommendRequest(u, None, 1), 5.0) for u in users)
        )
    assert [reply.item_ids[0] for reply in replies if isinstance(reply, ListReply)] == [
        f"{user}-0" for user in users
    ]


async def test_a_fault_in_the_engine_is_a_reply_and_the_next_question_works(
    open_client: OpenClient,
) -> None:
    async with open_client(toy) as client:
        assert await client.ask(RecommendRequest("broken", None, 1), 2.0) == ErrorReply(
            "ValueError: a fault"
        )
        assert isinstance(await client.ask(InfoRequest(), 2.0), InfoReply)


async def test_a_slow_answer_is_given_up_at_its_deadline(open_client: OpenClient) -> None:
    """The caller is told while the engine is at it still: that goes on when the caller says so."""
    told = threading.Event()

    def waiting(requests: list[Request]) -> list[Reply]:
        if any(isinstance(each, RecommendRequest) for each in requests):
            told.wait(10.0)
        return toy(requests)

    async with open_client(waiting) as client:
        await client.ask(InfoRequest(), 2.0)
        with pytest.raises(EngineUnavailableError, match="within 50 ms"):
            await client.ask(RecommendRequest("slow", None, 1), 0.05)
        told.set()
        assert isinstance(await client.ask(InfoRequest(), 2.0), InfoReply)


async def test_after_close_questions_are_refused(open_client: OpenClient) -> None:
    async with open_client(toy) as client:
        await client.close()
        with pytest.raises(EngineUnavailableError, match="closed"):
            await client.ask(InfoRequest(), 1.0)


async def test_who_asks_by_a_call_is_told_once(open_client: OpenClient) -> None:
    told: list[Outcome] = []
    everybody = asyncio.Event()

    def tell(outcome: Outcome) -> None:
        told.append(outcome)
        if len(told) == 3:
            everybody.set()

    async with open_client(toy) as client:
        await client.ask(InfoRequest(), 5.0)
        client.begin(RecommendRequest("ann", None, 1), 5.0, tell)
        client.begin(EventPush("ann", "i", 5, 1, 1), 5.0, tell)
        client.begin(InfoRequest(), 0.0, tell)
        async with asyncio.timeout(5):
            await everybody.wait()
    client.begin(InfoRequest(), 5.0, told.append)
    await asyncio.sleep(0.05)
    kinds = sorted(type(outcome).__name__ for outcome in told)
    assert kinds == ["EngineAwayError", "EngineTooSlowError", "EventReply", "ListReply"]


async def test_a_surprise_of_who_is_told_is_nobody_elses(open_client: OpenClient) -> None:
    """They share a frame, and what the engine says is told to one after the other."""

    def surprising(_: Outcome) -> None:
        raise ValueError("a fault of the caller's")

    async with open_client(toy) as client:
        client.begin(InfoRequest(), 5.0, surprising)
        assert await client.ask(InfoRequest(), 5.0) == InfoReply("toy", 3, 0)
        assert await client.ask(InfoRequest(), 5.0) == InfoReply("toy", 3, 0)
