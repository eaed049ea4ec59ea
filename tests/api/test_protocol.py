"""A connection to the gateway as bytes: what HTTP asks of it, whichever way a request takes."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from moerec.api.main import create_app
from moerec.api.protocol import FrontDoor
from moerec.settings import Settings
from moerec.transport.client import LocalEngineClient
from moerec.transport.frames import EventPush, RecommendRequest
from tests.api.toy import ToyEngine, running, toy_bundle, toy_gateway

LIST = b"GET /v1/users/ann/recommendations?k=2 HTTP/1.1\r\nHost: x\r\n"
LIVE = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
END = b"\r\n"


def event(number: int) -> bytes:
    body = b'{"user_id": "ann", "item_id": "i%d"}' % number
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class Wire:
    """A connection, by hand."""

    def __init__(self, client: httpx.Client) -> None:
        address = (client.base_url.host, client.base_url.port or 80)
        self.socket = socket.create_connection(address, timeout=10)
        self._stream = self.socket.makefile("rb")

    def send(self, *requests: bytes) -> None:
        self.socket.sendall(b"".join(requests))

    def answers(self, count: int) -> Iterator[tuple[int, dict[str, str], bytes]]:
        """Status, headers and body of so many."""
        for _ in range(count):
            status = int(self._stream.readline().split()[1])
            lines = iter(lambda: self._stream.readline().strip().decode(), "")
            headers = dict(line.split(": ", 1) for line in lines)
            yield status, headers, self._stream.read(int(headers["content-length"]))

    def rest(self) -> bytes:
        """Everything until the other side closes."""
        return self._stream.read()

    def close(self) -> None:
        self._stream.close()
        self.socket.close()


@pytest.fixture
def wire(client: httpx.Client) -> Iterator[Wire]:
    wire = Wire(client)
    yield wire
    wire.close()


def test_a_connection_serves_one_request_after_the_other(wire: Wire) -> None:
    for request, status in ((LIST + END, 200), (event(1), 202), (LIVE + END, 200)) * 2:
        wire.send(request)
        ((found, headers, body),) = wire.answers(1)
        assert found == status, body
        assert len(headers["x-request-id"]) == 32
        assert "date" in headers


def test_requests_that_are_sent_at_once_are_answered_in_their_order(
    wire: Wire, engine: ToyEngine
) -> None:
    """Plain ones are answered when their lists are there, others at once: none may overtake another."""
    engine.sleep_s = 0.05
    ids = [b"X-Request-Id: %d\r\n\r\n" % number for number in range(6)]
    both = (LIST, LIVE, LIST, LIST, LIVE, LIVE)
    wire.send(*(request + own_id for request, own_id in zip(both, ids, strict=True)))
    found = [headers["x-request-id"] for _, headers, _ in wire.answers(6)]
    assert found == [str(number) for number in range(6)]


def test_a_head_that_is_known_is_recognised_where_a_request_begins_and_nowhere_else(
    wire: Wire, engine: ToyEngine
) -> None:
    """The same bytes may be the body of another request, its end, or the first of several."""
    for _ in range(2):
        wire.send(LIST + END)
        ((status, _, _),) = wire.answers(1)
        assert status == 200
    body = LIST + END
    head = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    wire.send(head + b"Content-Length: %d\r\n\r\n" % len(body))
    time.sleep(0.05)
    wire.send(body)
    ((status, _, answer),) = wire.answers(1)
    assert (status, b"this is not JSON" in answer) == (422, True)
    asked = len(engine.asked)
    wire.send(LIST + END + LIST.replace(b"ann", b"bob") + END + LIST.replace(b"k=2", b"k=3") + END)
    assert [status for status, _, _ in wire.answers(3)] == [200] * 3
    wire.send(LIST[:30])
    time.sleep(0.05)
    wire.send(LIST[30:] + END)
    assert [status for status, _, _ in wire.answers(1)] == [200]
    found = [each for each in engine.asked[asked:] if isinstance(each, RecommendRequest)]
    assert [(each.user_id, each.k) for each in found] == [
        ("ann", 2),
        ("bob", 2),
        ("ann", 3),
        ("ann", 2),
    ]
    wire.send(LIST.replace(b"ann", b"a b") + END)
    ((status, _, _),) = wire.answers(1)
    assert status == 400


def test_events_with_a_known_head_are_told_apart_by_their_bodies(
    wire: Wire, engine: ToyEngine
) -> None:
    """Whatever else comes behind the same bytes: a fault, another length, less than all, or more."""
    asked = len(engine.asked)
    for number in (1, 2, 3):
        wire.send(event(number))
        assert [status for status, _, _ in wire.answers(1)] == [202]
    broken = event(4).replace(b"}", b"]")
    wire.send(broken)
    ((status, _, answer),) = wire.answers(1)
    assert (status, b"this is not JSON" in answer) == (422, True)
    wire.send(event(10))
    wire.send(event(5)[:-3])
    time.sleep(0.05)
    wire.send(event(5)[-3:] + event(6) + LIST + END)
    assert [status for status, _, _ in wire.answers(4)] == [202, 202, 202, 200]
    wire.send(event(7).replace(b"/events", b"/nowhere"))
    assert [status for status, _, _ in wire.answers(1)] == [404]
    pushed = [each.item_id for each in engine.asked[asked:] if isinstance(each, EventPush)]
    assert pushed == ["i1", "i2", "i3", "i10", "i5", "i6"]


def test_empty_lines_behind_an_event_are_no_part_of_the_next_one(wire: Wire) -> None:
    """They were taken for the end of its body, and the beginning of the body for a part of the head."""
    body = b'  {"user_id": "ann", "item_id": "i1"}'
    head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(body)
    wire.send(head + body + END)
    assert [status for status, _, _ in wire.answers(1)] == [202]
    # As long as before, but its last two bytes are not the message's.
    wire.send(head + b"  " + body)
    assert [status for status, _, _ in wire.answers(1)] == [400]


def test_a_known_head_is_not_parsed_again(tmp_path: Path) -> None:
    heads = 0

    class Counting(FrontDoor):
        def on_headers_complete(self) -> None:
            nonlocal heads
            heads += 1
            super().on_headers_complete()

    settings = Settings.load(database_url=f"sqlite:///{tmp_path}/events.db", deadline_ms=5000)
    bundle = toy_bundle(tmp_path / "bundle")
    app = create_app(settings, bundle=bundle, engine=LocalEngineClient(ToyEngine(bundle.version)))
    app.state.front_door = partial(Counting, **app.state.front_door.keywords)
    with running(app) as client:
        wire = Wire(client)
        for request in (
            event(1),
            event(2),
            event(3),
            LIST + END,
            LIST.replace(b"ann", b"bob") + END,
        ):
            wire.send(request)
            ((status, _, _),) = wire.answers(1)
            assert status in (200, 202)
        # The first of each, and the client's own look at whether the gateway is there.
        assert heads <= 3
        other = event(4).replace(b"Host: x", b"Host: y")
        before = heads
        wire.send(other)
        assert [status for status, _, _ in wire.answers(1)] == [202]
        assert heads == before + 1
        wire.close()


def test_lists_by_body_are_told_apart_from_events(wire: Wire, engine: ToyEngine) -> None:
    asked, body = len(engine.asked), b'{"user_id": "ann", "k": 4}'
    query = b"POST /v1/recommendations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    query += b"Content-Length: %d\r\n\r\n" % len(body) + body
    for request in (query, event(1), query, query.replace(b"4}", b"3}"), event(2), event(3)):
        wire.send(request)
        ((status, _, _),) = wire.answers(1)
        assert status in (200, 202)
    lists = [each.k for each in engine.asked[asked:] if isinstance(each, RecommendRequest)]
    assert lists == [4, 4, 3]


def test_a_known_head_behind_a_request_under_way_waits_for_its_turn(
    wire: Wire, engine: ToyEngine
) -> None:
    for _ in range(2):
        wire.send(LIST + END)
        assert [status for status, _, _ in wire.answers(1)] == [200]
    engine.sleep_s = 0.2
    longer = LIST.replace(b"k=2", b"k=3")
    for request in (LIST, longer, LIVE, LIST):
        wire.send(request + END)
        time.sleep(0.03)
    bodies = [body for _, _, body in wire.answers(4)]
    assert [body.count(b"item_id") for body in bodies] == [2, 3, 0, 2]


def test_an_id_of_the_caller_is_not_repeated(wire: Wire) -> None:
    """It is not the head that differs then, but what is answered."""
    for given in (b"one", b"one", b"", b""):
        line = b"X-Request-Id: " + given + b"\r\n" if given else b""
        wire.send(LIST + line + END)
        ((_, headers, _),) = wire.answers(1)
        assert (headers["x-request-id"] == "one") == bool(given)


def test_a_closing_head_closes_each_time(client: httpx.Client) -> None:
    for _ in range(2):
        wire = Wire(client)
        wire.send(LIST + b"Connection: close\r\n" + END)
        assert wire.rest().startswith(b"HTTP/1.1 200")
        wire.close()


def test_bytes_that_no_parser_has_seen_are_no_request(wire: Wire) -> None:
    """A connection began with a made-up head that a client could send as well."""
    wire.send(b"GET /v1/users/ann/recommendations HTTP/1.1\0")
    wire.send(END + END)
    assert wire.rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_body_that_comes_later_than_its_head(wire: Wire) -> None:
    head, _, body = event(2).partition(END + END)
    for piece in (head[:40], head[40:] + END + END, body[:9], body[9:]):
        wire.send(piece)
        time.sleep(0.02)
    ((status, _, _),) = wire.answers(1)
    assert status == 202


@pytest.mark.parametrize("more", [b"Connection: close\r\n", b""])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_the_connection_is_closed_where_the_client_wants_it(
    wire: Wire, more: bytes, version: bytes
) -> None:
    wire.send(LIST.replace(b"1.1", version) + more + END)
    if more or version == b"1.0":
        answer = wire.rest()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"connection: close\r\n" in answer
    else:
        ((status, headers, _),) = wire.answers(1)
        assert status == 200
        assert "connection" not in headers


def test_a_client_that_waits_for_leave_to_send_its_body_gets_it(wire: Wire) -> None:
    head, _, body = event(3).partition(END + END)
    wire.send(head + END + b"Expect: 100-continue" + END + END)
    assert wire.socket.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(body)
    ((status, _, _),) = wire.answers(1)
    assert status == 202


@pytest.mark.parametrize(
    "request_",
    [
        LIST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        LIST + b"Content-Length: 0\r\n\r\n",
        LIST + b"Content-Length: 2\r\n\r\n{}",
        LIST + b"Upgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        LIST.replace(b"/v1", b"http://x/v1") + END,
        LIST.replace(b"ann", b"%61nn") + END,
    ],
)
def test_unusual_ways_to_ask_for_a_list(wire: Wire, request_: bytes) -> None:
    wire.send(request_)
    ((status, _, body),) = wire.answers(1)
    assert status == 200
    assert b'"items":' in body


@pytest.mark.parametrize("line", [b"GET\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"])
def test_what_is_no_http_is_refused(wire: Wire, line: bytes) -> None:
    wire.send(line)
    assert wire.rest().startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_long_body_is_read_to_its_end(client: httpx.Client) -> None:
    """uvicorn stops reading at 64 KiB until somebody takes the beginning: the short way would hang."""
    history = ["x" * 250] * 400 + ["i1"]
    answer = client.post("/v1/recommendations", json={"history": history})
    assert answer.json()["fallback"] is None


def test_who_leaves_before_the_answer_disturbs_nobody(
    client: httpx.Client, engine: ToyEngine
) -> None:
    """And an event that was sent is stored."""
    engine.sleep_s = 0.1
    for request in (LIST + END, event(4).replace(b'"ann"', b'"eve"')):
        leaving = Wire(client)
        leaving.send(request)
        time.sleep(0.02)
        leaving.close()
    engine.sleep_s = 0.0
    answer = client.post("/v1/events", json={"user_id": "eve", "item_id": "i5"})
    assert answer.json()["results"][0]["number"] == 2


@contextmanager
def stopping(folder: Path) -> Iterator[tuple[httpx.Client, ToyEngine, threading.Event]]:
    """A gateway that is told to stop when the event is set."""
    stop, started = threading.Event(), threading.Event()
    found: list[tuple[httpx.Client, ToyEngine]] = []

    def live() -> None:
        with toy_gateway(folder) as both:
            found.append(both)
            started.set()
            stop.wait(20)

    thread = threading.Thread(target=live)
    thread.start()
    assert started.wait(20)
    yield *found[0], stop
    stop.set()
    thread.join()


def test_the_end_does_not_wait_for_who_sent_an_unusual_body(tmp_path: Path) -> None:
    """The connection that took the long way late forgot that it was to be closed, and stayed open."""
    with stopping(tmp_path) as (client, _, stop):
        wire = Wire(client)
        body = b'{"user_id": "ann", "other": 1}'
        head = event(1).partition(b"Content-Length")[0]
        wire.send(head + b"Content-Length: %d" % len(body) + END * 2)
        time.sleep(0.1)
        stop.set()
        time.sleep(0.3)
        wire.send(body)
        ((status, headers, _),) = wire.answers(1)
        assert (status, headers["connection"]) == (422, "close")
        assert wire.rest() == b""
        wire.close()


def test_a_list_under_way_is_answered_before_the_end(tmp_path: Path) -> None:
    with stopping(tmp_path) as (client, engine, stop):
        engine.sleep_s = 0.5
        connection = HTTPConnection(str(client.base_url.host), client.base_url.port, timeout=10)
        asked = len(engine.asked)
        connection.request("GET", "/v1/users/ann/recommendations")
        while len(engine.asked) == asked:
            time.sleep(0.01)
        stop.set()
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.getheader("connection") == "close"
        answer.read()
        connection.close()


def test_a_connection_is_closed_when_it_has_been_idle_and_not_before(tmp_path: Path) -> None:
    """There is one timer for a connection, and not a new one for each request."""
    bundle = toy_bundle(tmp_path / "bundle")
    chosen = Settings.load(database_url=f"sqlite:///{tmp_path}/events.db", deadline_ms=5000)
    app = create_app(chosen, bundle=bundle, engine=LocalEngineClient(ToyEngine(bundle.version)))
    with running(app, keep_alive_s=1) as client:
        wire = Wire(client)
        for request in (LIST, LIVE) * 3:
            wire.send(request[:20])
            time.sleep(0.2)
            wire.send(request[20:] + END)
            ((status, _, _),) = wire.answers(1)
            assert status == 200
            time.sleep(0.4)
        assert wire.rest() == b""
        wire.close()
