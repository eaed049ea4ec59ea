"""Whole messages over a connection, however the bytes come."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from moerec.transport.link import (
    MESSAGE_LIMIT_BYTES,
    Link,
    LinkError,
    connect_link,
    host_and_port,
    listen_for_links,
)


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "little") + message


class Other:
    """The other end, by hand."""

    def __init__(self) -> None:
        self.met = asyncio.Event()
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    def meet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.met.set()


@asynccontextmanager
async def connected(
    path: Path, received: Callable[[bytes], None]
) -> AsyncIterator[tuple[Link, Other]]:
    other, link = Other(), Link(received)
    server = await asyncio.start_unix_server(other.meet, path)
    await connect_link(f"unix:{path}", link)
    await other.met.wait()
    yield link, other
    link.end()
    await link.ended
    other.writer.close()
    server.close()


@pytest.mark.parametrize("piece", [1, 3, 7, 1_000])
async def test_messages_come_whole_and_in_order(tmp_path: Path, piece: int) -> None:
    messages = [b"", b"one", b"two" * 90, b"", b"3"]
    sent, got = b"".join(map(framed, messages)), list[bytes]()
    async with connected(tmp_path / "s", got.append) as (_, other):
        for first in range(0, len(sent), piece):
            other.writer.write(sent[first : first + piece])
            await other.writer.drain()
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            while len(got) < len(messages):
                await asyncio.sleep(0.001)
    assert got == messages


async def test_what_is_sent_has_its_length_before_it(tmp_path: Path) -> None:
    async with connected(tmp_path / "s", lambda _: None) as (link, other):
        link.send(b"hello")
        link.send(b"")
        assert await other.reader.readexactly(13) == framed(b"hello") + framed(b"")
        link.close()
        assert await other.reader.read() == b""
        assert await link.ended is None
        link.send(b"too late")


@pytest.mark.parametrize("before", [b"", framed(b"fine")])
async def test_a_length_beyond_the_limit_is_a_fault(tmp_path: Path, before: bytes) -> None:
    got = list[bytes]()
    async with connected(tmp_path / "s", got.append) as (link, other):
        other.writer.write(before + (MESSAGE_LIMIT_BYTES + 1).to_bytes(4, "little"))
        fault = await link.ended
    assert isinstance(fault, LinkError)
    assert "67108865 bytes" in str(fault)
    assert got == ([b"fine"] if before else [])


async def test_who_receives_may_refuse_and_gets_nothing_more(tmp_path: Path) -> None:
    got = list[bytes]()

    def refuse(message: bytes) -> None:
        got.append(message)
        raise LinkError("not this")

    async with connected(tmp_path / "s", refuse) as (link, other):
        other.writer.write(framed(b"first") + framed(b"second"))
        fault = await link.ended
    assert str(fault) == "not this"
    assert got == [b"first"]


async def test_another_thread_can_shut_it_down(tmp_path: Path) -> None:
    """While the event loop is at work elsewhere, the other side sees the end."""
    async with connected(tmp_path / "s", lambda _: None) as (link, other):
        thread = threading.Thread(target=link.shut_down)
        thread.start()
        thread.join()
        assert await other.reader.read() == b""
        assert await link.ended is None
        link.shut_down()


async def test_links_over_tcp() -> None:
    links: list[Link] = []
    got: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def answering() -> Link:
        links.append(Link(lambda message: links[0].send(message.upper())))
        return links[0]

    server = await listen_for_links("127.0.0.1:0", answering)
    port = server.sockets[0].getsockname()[1]
    link = Link(got.set_result)
    await connect_link(f"127.0.0.1:{port}", link)
    link.send(b"hello")
    assert await got == b"HELLO"
    link.end()
    await asyncio.gather(link.ended, links[0].ended)
    server.close()
    with pytest.raises(OSError, match=r"."):
        await connect_link(f"127.0.0.1:{port}", Link(lambda _: None))


def test_the_host_is_what_stands_before_the_last_colon() -> None:
    assert host_and_port("engine:50051") == ("engine", 50051)
    assert host_and_port("[::]:1") == ("::", 1)
    with pytest.raises(ValueError, match="invalid literal"):
        host_and_port("engine")
