"""Our own generator against a small real server: everything is counted, and waiting is not forgotten."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from moerec.loadtest.connection import Connection
from moerec.loadtest.generator import Job, Result, generate
from moerec.loadtest.requests import Ask, write_asks

LIST = b'{"items":[],"fallback":null}'
POPULAR = b'{"items":[],"fallback":{"code":"unknown_user"}}'

Respond = Callable[[bytes], Awaitable[bytes]]
"""From a request's head to the whole response."""


def response(body: bytes, status: int = 200, more: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@asynccontextmanager
async def server(respond: Respond) -> AsyncIterator[int]:
    """The port of a server; connections are kept until the client closes them."""

    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        await reader.readexactly(int(line.split(b":")[1]))
                writer.write(await respond(head))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    made = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with made:
        yield made.sockets[0].getsockname()[1]
        await asyncio.gather(*(task for task in serving if task))


def a_job(tmp_path: Path, port: int, asks: list[Ask], **other: object) -> Job:
    write_asks(tmp_path / "asks", asks)
    given = {"k": 10, "connections": 4, "seconds": 0.5, "token": None, **other}
    return Job(asks=str(tmp_path / "asks"), host="127.0.0.1", port=port, **given)  # type: ignore[arg-type]


def latencies(result: Result) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.frombuffer(result.latencies_ms)


async def test_a_closed_loop_counts_answers_errors_and_fallbacks(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def respond(head: bytes) -> bytes:
        heads.append(head)
        if head.startswith(b"POST"):
            return response(b"{}", 202)
        if b"/broken/" in head:
            return response(b"{}", 503)
        return response(POPULAR if b"/new/" in head else LIST)

    asks = [Ask("ann"), Ask("ann", '"i1"'), Ask("broken"), Ask("new")]
    async with server(respond) as port:
        job = a_job(tmp_path, port, asks, token="abc", keep_every=1)  # noqa: S106
        result = await generate(job)
    count = len(latencies(result))
    assert count == len(heads) == sum(result.statuses.values()) > 20
    assert set(result.statuses) == {200, 202, 503}
    # Connections take the requests in turn.
    assert abs(result.statuses[503] - count / 4) <= 4
    assert abs(result.fallbacks - count / 4) <= 4
    assert {kept.user for kept in result.kept} == {"ann"}
    assert {kept.body for kept in result.kept} == {LIST}
    assert (result.unanswered, result.lost) == (0, 0)
    assert all(b"Authorization: Bearer abc\r\n" in head for head in heads)


async def test_each_request_once_in_order(tmp_path: Path) -> None:
    heads: list[bytes] = []

    async def respond(head: bytes) -> bytes:
        heads.append(head.split(b"/")[3])
        return response(LIST)

    asks = [Ask(f"u{number}") for number in range(103)]
    async with server(respond) as port:
        result = await generate(a_job(tmp_path, port, asks, once=True, seconds=60.0, connections=1))
    assert [head.decode() for head in heads] == [ask.user for ask in asks]
    assert result.statuses == {200: 103}


async def test_an_open_loop_does_not_forget_who_waited(tmp_path: Path) -> None:
    """A server that stands still for a while: a closed loop would measure one slow request. Here all
    that were due meanwhile are late, and it shows."""
    first = True

    async def respond(head: bytes) -> bytes:
        nonlocal first
        if first:
            first = False
            await asyncio.sleep(0.6)
        return response(LIST)

    async with server(respond) as port:
        job = a_job(tmp_path, port, [Ask("ann")], rate=200.0, seconds=1.0, connections=1)
        result = await generate(job)
    assert len(latencies(result)) == 200
    # About 60 requests were due in the first 0.3 s, and none of them can have been answered before 0.6 s.
    assert (latencies(result) > 300).sum() > 30
    assert (np.frombuffer(result.late_ms) > 300).sum() > 30


async def test_connections_that_break_are_counted_and_end_the_load(tmp_path: Path) -> None:
    async def respond(_head: bytes) -> bytes:
        return response(LIST, more="Connection: close\r\n")

    async with server(respond) as port:
        result = await generate(a_job(tmp_path, port, [Ask("ann")], seconds=60.0))
    assert (result.statuses, result.lost, result.reason) == ({200: 4}, 4, "closed by the server")


async def test_the_process_does_the_job_on_its_own_event_loop(tmp_path: Path) -> None:
    """uvloop's transports are no asyncio.Transport: the process waited for ever for its first connection."""

    async def respond(_head: bytes) -> bytes:
        return response(LIST)

    async with server(respond) as port:
        job, out = tmp_path / "job.json", tmp_path / "out"
        job.write_bytes(msgspec.json.encode(a_job(tmp_path, port, [Ask("ann")] * 20, once=True)))
        command = ("-m", "moerec.loadtest.generator", str(job), str(out))
        process = await asyncio.create_subprocess_exec(sys.executable, *command)
        assert await process.wait() == 0
    result = msgspec.msgpack.decode(out.read_bytes(), type=Result)
    assert (result.statuses, result.lost) == ({200: 20}, 0)


def test_the_process_says_that_nobody_listens(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_bytes(msgspec.json.encode(a_job(tmp_path, 1, [Ask("ann")])))
    command = [sys.executable, "-m", "moerec.loadtest.generator", str(job), str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "127.0.0.1:1" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_answers_come_in_any_pieces(size: int) -> None:
    answers: list[tuple[int, bytes]] = []
    lost: list[str] = []
    connection = Connection(
        lambda _, status, body: answers.append((status, body)),
        lambda _, reason: lost.append(reason),
    )
    whole = response(b"x" * 100, 202, "content-type: text/plain\r\n")
    for start in range(0, len(whole), size):
        connection.data_received(whole[start : start + size])
    assert (answers, lost) == ([(202, b"x" * 100)], [])


@pytest.mark.parametrize(
    "odd", [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"SSH-2.0\r\n\r\n"]
)
def test_what_is_no_answer_with_a_length_ends_the_connection(odd: bytes) -> None:
    lost: list[str] = []
    connection = Connection(lambda *_: None, lambda _, reason: lost.append(reason))
    connection.data_received(odd)
    connection.connection_lost(None)
    assert lost == ["an answer without a length"]
