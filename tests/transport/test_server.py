"""The engine's door refuses an address it cannot have, and makes the socket's folder."""

import asyncio
import contextlib
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from moerec.errors import EngineUnavailableError, SettingsError
from moerec.transport.frames import (
    FRAME_LIMIT,
    PROTOCOL,
    ErrorReply,
    Greeting,
    InfoReply,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Reply,
    ReplyFrame,
    Request,
    RequestFrame,
    decode_greeting,
    decode_reply,
    encode,
)
from moerec.transport.remote import RemoteEngineClient
from moerec.transport.server import FRAMES_WAITING, serve


def toy(requests: list[Request]) -> list[Reply]:
    return [InfoReply("toy", 1, 0)] * len(requests)


def test_the_sockets_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    server = serve(toy, f"unix:{tmp_path}/run/engine.sock")
    server.stop(0)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o700


class Caller:
    """A gateway by hand: raw messages."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(address.removeprefix("unix:"))
        self.stream = self.socket.makefile("rb")
        self.greeting = decode_greeting(self.read())

    def send(self, message: bytes) -> None:
        self.socket.sendall(len(message).to_bytes(4, "little") + message)

    def read(self) -> bytes:
        """The next message, empty at the end."""
        return self.stream.read(int.from_bytes(self.stream.read(4), "little"))

    def close(self) -> None:
        self.stream.close()
        self.socket.close()


def frame(number: int, count: int = 1, budget_ms: float = 10_000.0) -> bytes:
    return encode(RequestFrame(number, budget_ms, [InfoRequest()] * count))


def test_foreign_bytes_end_their_connection_and_not_the_server(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = serve(toy, address, version="v7")
    stranger, friend = Caller(address), Caller(address)
    assert friend.greeting == Greeting(PROTOCOL, "v7")
    stranger.send(b"GET / HTTP/1.1")
    assert stranger.read() == b""
    friend.send(frame(7))
    assert decode_reply(friend.read()) == ReplyFrame(7, [InfoReply("toy", 1, 0)])
    server.stop(5)
    assert friend.read() == b""
    assert "foreign bytes" in caplog.text
    for caller in (stranger, friend):
        caller.close()


def test_messages_arrive_whole_however_they_are_cut(address: str) -> None:
    server = serve(toy, address)
    caller = Caller(address)
    message = frame(1, FRAME_LIMIT)
    both = (len(message).to_bytes(4, "little") + message) * 2
    for first in range(0, len(both), 7):
        caller.socket.sendall(both[first : first + 7])
        if first % 70 == 0:
            time.sleep(0.001)
    for _ in range(2):
        assert decode_reply(caller.read()) == ReplyFrame(1, [InfoReply("toy", 1, 0)] * FRAME_LIMIT)
    caller.close()
    server.stop(5)


def test_a_long_message(address: str) -> None:
    """It comes in many pieces, and goes out in many."""
    item = "x" * 1000

    def long(requests: list[Request]) -> list[Reply]:
        assert isinstance(requests[0], RecommendRequest)
        assert requests[0].history is not None
        return [ListReply(requests[0].history, [0.0] * len(requests[0].history))]

    server = serve(long, address)
    caller = Caller(address)
    caller.send(encode(RequestFrame(1, 10_000.0, [RecommendRequest(None, [item] * 3000, 1)])))
    (reply,) = decode_reply(caller.read()).replies
    assert isinstance(reply, ListReply)
    assert reply.item_ids == [item] * 3000
    caller.close()
    server.stop(5)


def test_what_has_arrived_is_answered_before_the_end(address: str) -> None:
    asked, release = threading.Event(), threading.Event()

    def slow(requests: list[Request]) -> list[Reply]:
        asked.set()
        release.wait(10)
        return toy(requests)

    server = serve(slow, address)
    caller = Caller(address)
    for number in range(3):
        caller.send(frame(number))
    assert asked.wait(10)
    stopped = threading.Thread(target=server.stop, args=(10,))
    stopped.start()
    release.set()
    assert [decode_reply(caller.read()).frame_id for _ in range(3)] == [0, 1, 2]
    assert caller.read() == b""
    stopped.join()
    assert not Path(address.removeprefix("unix:")).exists()
    caller.close()


def test_a_gateway_that_sends_frame_after_frame_is_turned_away(address: str) -> None:
    release = threading.Event()

    def hangs(requests: list[Request]) -> list[Reply]:
        release.wait(10)
        return toy(requests)

    server = serve(hangs, address)
    greedy = Caller(address)
    greedy.send(frame(0))
    for number in range(FRAMES_WAITING + 2):
        greedy.send(frame(number))
    release.set()
    while greedy.read():
        pass
    modest = Caller(address)
    modest.send(frame(5))
    assert decode_reply(modest.read()).frame_id == 5
    server.stop(5)
    for caller in (greedy, modest):
        caller.close()


def test_nobody_is_answered_before_the_first_call_and_others_do_not_wait_for_it(
    address: str,
) -> None:
    """What a gateway told other engines until then has to be read from the table first."""
    reading, release = threading.Event(), threading.Event()
    introduced = 0

    def read_the_table() -> None:
        nonlocal introduced
        introduced += 1
        if introduced == 2:
            reading.set()
            release.wait(10)

    server = serve(toy, address, read_the_table)
    first, second = Caller(address), Caller(address)
    first.send(frame(1))
    assert decode_reply(first.read()).frame_id == 1
    second.send(frame(2))
    assert reading.wait(10)
    first.send(frame(3))
    assert decode_reply(first.read()).frame_id == 3
    release.set()
    assert decode_reply(second.read()).frame_id == 2
    second.send(frame(4))
    assert decode_reply(second.read()).frame_id == 4
    assert introduced == 2
    server.stop(5)
    for caller in (first, second):
        caller.close()


def test_a_gateway_that_cannot_be_introduced_is_let_go(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("no table")

    server = serve(toy, address, fails)
    caller = Caller(address)
    caller.send(frame(1))
    assert caller.read() == b""
    assert "could not be let in" in caplog.text
    caller.close()
    server.stop(5)


def test_a_socket_left_by_a_killed_engine_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    server = serve(toy, f"unix:{path}")
    server.stop(0)


def test_an_address_that_cannot_be_bound_is_refused_with_its_name() -> None:
    with pytest.raises(SettingsError, match=r"cannot listen on 256\.0\.0\.1:1"):
        serve(toy, "256.0.0.1:1")


def test_it_ends_in_time_while_its_gateways_keep_asking(address: str) -> None:
    """They came back as soon as they had lost their connection, found the door open, and kept it so."""

    def slow(requests: list[Request]) -> list[Reply]:
        time.sleep(0.02)
        return toy(requests)

    server, ended = serve(slow, address), threading.Event()

    async def callers() -> None:
        clients = [RemoteEngineClient(address) for _ in range(3)]

        async def ask(client: RemoteEngineClient) -> None:
            while not ended.is_set():
                with contextlib.suppress(EngineUnavailableError):
                    await client.ask(InfoRequest(), 0.5)
                await asyncio.sleep(0)

        await asyncio.gather(*(ask(client) for client in clients for _ in range(70)))
        for client in clients:
            await client.close()

    load = threading.Thread(target=asyncio.run, args=(callers(),))
    load.start()
    time.sleep(0.5)
    stopping = threading.Thread(target=server.stop, args=(0.2,))
    stopping.start()
    stopping.join(20)
    assert not stopping.is_alive()
    assert server.wait(0)
    ended.set()
    load.join()


def test_a_reply_that_cannot_be_sent_is_a_fault_of_its_frame_alone(address: str) -> None:
    """It ended the door's thread: the process lived on, and answered nobody."""
    replies = iter([ListReply(["i1"], [np.float32(1.0)]), InfoReply("toy", 1, 0)])  # type: ignore[list-item]
    server = serve(lambda _: [next(replies)], address)
    caller = Caller(address)
    for number in range(2):
        caller.send(frame(number))
    (fault,) = decode_reply(caller.read()).replies
    assert isinstance(fault, ErrorReply)
    assert "float32" in fault.message
    assert decode_reply(caller.read()).replies == [InfoReply("toy", 1, 0)]
    caller.close()
    server.stop(5)


@pytest.mark.parametrize("cut", [2, 5])
def test_a_message_beyond_the_limit_is_refused_as_soon_as_its_length_is_there(
    address: str, cut: int
) -> None:
    """In pieces it was kept until 64 MiB of it were there."""
    server = serve(toy, address)
    caller = Caller(address)
    announced = b"\xff" * 4 + b"x" * 100
    caller.socket.sendall(announced[:cut])
    time.sleep(0.05)
    with contextlib.suppress(OSError):
        caller.socket.sendall(announced[cut:])
    with contextlib.suppress(ConnectionResetError):
        assert caller.read() == b""
    caller.close()
    server.stop(5)
