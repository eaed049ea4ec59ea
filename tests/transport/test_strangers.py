"""Whoever sits where the engine should: other programs, other versions, other bundles."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from moerec.errors import EngineAwayError
from moerec.transport.frames import (
    PROTOCOL,
    Greeting,
    InfoRequest,
    Reply,
    ReplyFrame,
    Request,
    encode,
)
from moerec.transport.remote import RemoteEngineClient
from moerec.transport.server import serve
from tests.transport.test_remote import toy, until_answered


@contextlib.asynccontextmanager
async def foreign_engine(address: str, said: bytes) -> AsyncIterator[None]:
    """Somebody who says this, whatever is asked, and hangs up at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def speak(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(said)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

    server = await asyncio.start_unix_server(speak, address.removeprefix("unix:"))
    yield
    server.close()
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def message(data: bytes) -> bytes:
    """With its length before it."""
    return len(data).to_bytes(4, "little") + data


GREETING = message(encode(Greeting(PROTOCOL, "toy")))


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (message(b"\xc1 not a frame"), "foreign bytes"),
        (message(encode(Greeting("moerec 9", "toy"))), "it speaks 'moerec 9' and not 'moerec 2'"),
        (GREETING * 2, "before it is asked|foreign bytes"),
        (b"", "hung up"),
        (GREETING, "ended the connection"),
        (GREETING + b"\xff" * 9, "announced a message of 4294967295 bytes"),
    ],
)
async def test_who_breaks_the_rules_is_away_until_an_engine_is_there(
    address: str, client: RemoteEngineClient, said: bytes, reason: str
) -> None:
    async with foreign_engine(address, said):
        with pytest.raises(EngineAwayError, match=reason):
            await client.ask(InfoRequest(), 2.0)
    server = serve(toy, address)
    await until_answered(client, 30.0)
    server.stop(0)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(b"\xc1 not a frame", "foreign bytes"), (encode(ReplyFrame(99, [])), "nothing we asked")],
)
async def test_answers_that_are_none_end_the_connection(
    address: str, client: RemoteEngineClient, answer: bytes, reason: str
) -> None:
    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GREETING)
        await reader.readexactly(4)
        writer.write(message(answer))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(speak, address.removeprefix("unix:"))
    with pytest.raises(EngineAwayError, match=reason):
        await client.ask(InfoRequest(), 2.0)
    await client.close()
    server.close()
    await asyncio.sleep(0.05)


@pytest.mark.parametrize(("version", "named"), [("other", "other"), (None, "an unknown bundle")])
async def test_an_engine_with_another_bundle_is_away_until_it_serves_the_same(
    address: str, version: str | None, named: str
) -> None:
    """It was asked, and the gateway gave its answers out as those of its own bundle's model."""
    asked: list[Request] = []

    def other(requests: list[Request]) -> list[Reply]:
        asked.extend(requests)
        return toy(requests)

    client = RemoteEngineClient(address, "own")
    server = serve(other, address, version=version)
    for _ in range(2):
        with pytest.raises(EngineAwayError, match=f"serves {named}, this gateway own"):
            await client.ask(InfoRequest(), 30.0)
    server.stop(0)
    assert not asked
    server = serve(toy, address, version="own")
    await until_answered(client, 30.0)
    await client.close()
    server.stop(0)
