"""What the client of a process adds: shared frames, quick failure while the engine is away, reconnection."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
import uvloop

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.transport.client import Handler
from moerec.transport.frames import (
    FRAME_LIMIT,
    ErrorReply,
    InfoReply,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
)
from moerec.transport.remote import FRAMES_IN_FLIGHT, LEAVE_AT, WAITING_LIMIT, RemoteEngineClient
from moerec.transport.server import EngineDoor, serve

INFO = InfoReply("toy", 1, 0)


def toy(requests: list[Request]) -> list[Reply]:
    return [INFO] * len(requests)


async def until_answered(client: RemoteEngineClient, within_s: float) -> None:
    """Ask until the engine answers again."""
    start = time.perf_counter()
    while True:
        try:
            await client.ask(InfoRequest(), 1.0)
            return
        except EngineUnavailableError:
            assert time.perf_counter() - start < within_s
            await asyncio.sleep(0.01)


async def test_callers_who_wait_together_share_a_frame(
    address: str, client: RemoteEngineClient
) -> None:
    sizes: list[int] = []

    def slow(requests: list[Request]) -> list[Reply]:
        sizes.append(len(requests))
        time.sleep(0.02)
        return toy(requests)

    server = serve(slow, address)
    await client.ask(InfoRequest(), 2.0)
    await asyncio.gather(*(client.ask(InfoRequest(), 5.0) for _ in range(200)))
    server.stop(0)
    assert sum(sizes) == 201
    assert max(sizes) == FRAME_LIMIT
    assert len(sizes) <= 20


async def test_many_who_ask_in_one_step_leave_in_pieces(
    address: str, client: RemoteEngineClient
) -> None:
    """In one frame, the engine had nothing to do until the last of them had been read."""
    sizes: list[int] = []

    def counting(requests: list[Request]) -> list[Reply]:
        sizes.append(len(requests))
        return toy(requests)

    server = serve(counting, address)
    await client.ask(InfoRequest(), 2.0)
    sizes.clear()
    await asyncio.gather(*(client.ask(InfoRequest(), 5.0) for _ in range(LEAVE_AT + 3)))
    server.stop(0)
    assert sizes == [LEAVE_AT, 3]


async def test_an_absent_engine_is_refused_quickly_and_found_when_it_comes(
    address: str, client: RemoteEngineClient
) -> None:
    with pytest.raises(EngineUnavailableError):
        await client.ask(InfoRequest(), 3.0)
    start = time.perf_counter()
    with pytest.raises(EngineUnavailableError, match="away"):
        await client.ask(InfoRequest(), 3.0)
    assert time.perf_counter() - start < 2.0, "it waited for its time limit"
    server = serve(toy, address)
    await until_answered(client, 30.0)
    server.stop(0)


async def test_what_is_in_flight_fails_at_once_when_the_engine_dies(
    address: str, client: RemoteEngineClient
) -> None:
    busy = threading.Event()
    release = threading.Event()

    def hangs(requests: list[Request]) -> list[Reply]:
        busy.set()
        release.wait(5)
        return toy(requests)

    server = serve(hangs, address)
    asked = asyncio.ensure_future(client.ask(InfoRequest(), 30.0))
    assert await asyncio.to_thread(busy.wait, 3)
    start = time.perf_counter()
    stopped = asyncio.create_task(asyncio.to_thread(server.stop, 0))
    with pytest.raises(EngineUnavailableError):
        await asked
    assert time.perf_counter() - start < 15.0, "it waited for its time limit"
    release.set()
    await stopped

    server = serve(toy, address)
    await until_answered(client, 30.0)
    server.stop(0)


def hanging_until(release: threading.Event) -> Handler:
    """An engine that answers questions for lists from then on."""

    def hangs(requests: list[Request]) -> list[Reply]:
        if isinstance(requests[0], RecommendRequest):
            release.wait(10)
        return toy(requests)

    return hangs


async def test_an_engine_that_hangs_is_refused_quickly_until_it_answers_again(
    address: str, client: RemoteEngineClient
) -> None:
    """Without the stall watch every request would wait out its deadline for as long as the engine hangs."""
    release = threading.Event()
    server = serve(hanging_until(release), address)
    await client.ask(InfoRequest(), 2.0)
    with pytest.raises(EngineUnavailableError, match="within"):
        await client.ask(RecommendRequest("u", None, 1), 0.05)
    await asyncio.sleep(1.5)
    with pytest.raises(EngineAwayError):
        await client.ask(InfoRequest(), 20.0)
    release.set()
    await until_answered(client, 30.0)
    server.stop(0)


async def test_each_caller_gives_up_at_its_own_time(
    address: str, client: RemoteEngineClient
) -> None:
    """One timer serves all callers: the next deadline may be before the one that it was set for."""
    release = threading.Event()
    server = serve(hanging_until(release), address)
    await client.ask(InfoRequest(), 2.0)
    patient = asyncio.ensure_future(client.ask(RecommendRequest("u", None, 1), 30.0))
    await asyncio.sleep(0)
    for _ in range(2):
        with pytest.raises(EngineUnavailableError, match="within 30 ms"):
            await client.ask(RecommendRequest("u", None, 1), 0.03)
    assert not patient.done()
    release.set()
    assert await patient == INFO
    server.stop(0)


class Stubborn(RemoteEngineClient):
    """Its connection swallows the first cancellation."""

    async def _stay_connected(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        await asyncio.sleep(60)


async def test_a_cancellation_that_got_lost_does_not_hold_up_the_end(address: str) -> None:
    """`asyncio.wait_for` of Python 3.11 swallows a cancellation that comes while its call fails: one
    gateway in a few hundred then never ended, because `close` waited for a loop that went on."""
    client = Stubborn(address)
    with pytest.raises(EngineUnavailableError, match="within"):
        await client.ask(InfoRequest(), 0.01)
    async with asyncio.timeout(2):
        await client.close()


ENGINE_PROCESS = """
import sys
from moerec.transport.frames import InfoReply
from moerec.transport.server import serve
serve(lambda requests: [InfoReply("toy", 1, 0)] * len(requests), sys.argv[1]).wait()
"""


async def test_a_stopped_engine_process_is_refused_quickly_and_a_killed_one_at_once(
    address: str, client: RemoteEngineClient
) -> None:
    """A stopped process accepts connections (the kernel does) and answers none of them."""
    engine = subprocess.Popen([sys.executable, "-c", ENGINE_PROCESS, address])
    try:
        await until_answered(client, 20.0)
        engine.send_signal(signal.SIGSTOP)
        os.waitpid(engine.pid, os.WUNTRACED)
        with pytest.raises(EngineUnavailableError, match="within 100 ms"):
            await client.ask(InfoRequest(), 0.1)
        await asyncio.sleep(2.0)
        start = time.perf_counter()
        with pytest.raises(EngineUnavailableError, match="away"):
            await client.ask(InfoRequest(), 5.0)
        assert time.perf_counter() - start < 2.0, "it waited for its time limit"
        engine.send_signal(signal.SIGCONT)
        await until_answered(client, 30.0)
        engine.kill()
        engine.wait()
        start = time.perf_counter()
        with pytest.raises(EngineUnavailableError):
            await client.ask(InfoRequest(), 30.0)
        assert time.perf_counter() - start < 15.0, "it waited for its time limit"
    finally:
        engine.kill()
        engine.wait()


async def test_a_frame_whose_budget_ran_out_is_not_computed(
    address: str, client: RemoteEngineClient
) -> None:
    seen: list[Request] = []

    def slow(requests: list[Request]) -> list[Reply]:
        seen.extend(requests)
        time.sleep(0.2)
        return [ListReply([], [])] * len(requests)

    server = serve(slow, address)
    first = asyncio.ensure_future(client.ask(RecommendRequest("first", None, 1), 2.0))
    while not seen:
        await asyncio.sleep(0.01)
    with pytest.raises(EngineUnavailableError, match="within 20 ms"):
        await client.ask(RecommendRequest("late", None, 1), 0.02)
    await first
    assert await client.ask(RecommendRequest("next", None, 1), 2.0) == ListReply([], [])
    server.stop(0)
    assert [request.user_id for request in seen if isinstance(request, RecommendRequest)] == [
        "first",
        "next",
    ]


async def hanging(
    address: str, client: RemoteEngineClient
) -> tuple[EngineDoor, threading.Event, list[asyncio.Future[Reply]]]:
    """An engine that answers when the event is set, and callers who fill all frames that may be under way."""
    release = threading.Event()

    def hangs(requests: list[Request]) -> list[Reply]:
        release.wait(5)
        return toy(requests)

    server = serve(hangs, address)
    full = FRAMES_IN_FLIGHT * FRAME_LIMIT
    asked = [asyncio.ensure_future(client.ask(InfoRequest(), 20.0)) for _ in range(full)]
    await asyncio.sleep(0.3)
    return server, release, asked


async def test_more_waiting_callers_than_the_limit_are_refused_at_once(
    address: str, client: RemoteEngineClient
) -> None:
    server, release, asked = await hanging(address, client)
    asked += [asyncio.ensure_future(client.ask(InfoRequest(), 20.0)) for _ in range(WAITING_LIMIT)]
    await asyncio.sleep(0)
    with pytest.raises(EngineUnavailableError, match="wait for the engine already"):
        await client.ask(InfoRequest(), 20.0)
    release.set()
    assert len(await asyncio.gather(*asked)) == FRAMES_IN_FLIGHT * FRAME_LIMIT + WAITING_LIMIT
    server.stop(0)


async def test_who_gave_up_does_not_wait_any_more(address: str, client: RemoteEngineClient) -> None:
    """While an engine hung, the callers that had given up stayed in the queue: they were looked through
    at each deadline of another, and counted as waiting."""
    server, release, asked = await hanging(address, client)
    short = [asyncio.ensure_future(client.ask(InfoRequest(), 0.1)) for _ in range(WAITING_LIMIT)]
    for outcome in await asyncio.gather(*short, return_exceptions=True):
        assert isinstance(outcome, EngineTooSlowError)
    with pytest.raises(EngineTooSlowError):
        await client.ask(InfoRequest(), 0.1)
    release.set()
    assert len(await asyncio.gather(*asked)) == FRAMES_IN_FLIGHT * FRAME_LIMIT
    server.stop(0)


def test_the_event_loop_of_the_gateway(address: str) -> None:
    """uvicorn runs uvloop where it is installed, whose transports are other classes: the client took none."""

    async def ask() -> Reply:
        client = RemoteEngineClient(address)
        reply = await client.ask(InfoRequest(), 5.0)
        await client.close()
        return reply

    server = serve(toy, address)
    assert uvloop.run(ask()) == INFO
    server.stop(5)


async def test_an_engine_over_tcp(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    server = serve(toy, address)
    client = RemoteEngineClient(address)
    assert await client.ask(InfoRequest(), 5.0) == INFO
    await client.close()
    server.stop(0)


async def test_a_handler_that_returns_too_few_replies_fails_the_frame(
    address: str, client: RemoteEngineClient
) -> None:
    server = serve(lambda _: [], address)
    with pytest.raises(EngineUnavailableError, match="nothing we asked"):
        await client.ask(InfoRequest(), 2.0)
    server.stop(0)


async def test_a_handler_that_raises_answers_each_request_of_the_frame(
    address: str, client: RemoteEngineClient
) -> None:
    def broken(requests: list[Request]) -> list[Reply]:
        raise KeyError("x")

    server = serve(broken, address)
    replies = await asyncio.gather(*(client.ask(InfoRequest(), 2.0) for _ in range(5)))
    server.stop(0)
    assert replies == [ErrorReply("KeyError: 'x'")] * 5
