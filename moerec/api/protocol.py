"""HTTP on a connection: uvicorn's protocol, which leads plain requests to the short way.

uvicorn makes an ASGI scope and a task for each request and passes messages between them. A plain request
needs none of it: it is answered with one write, as soon as its list is there. It stands in the place of
uvicorn's own cycle meanwhile, so that requests behind it on the connection wait for it, a shutdown waits
for it, and a lost connection tells it.
"""

import math
import time
from asyncio import AbstractEventLoop
from functools import partial
from typing import Any, Final, NamedTuple

from uvicorn import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from moerec.api.auth import Head
from moerec.api.hot import Made, ShortWay
from moerec.api.ids import new_id
from moerec.api.middleware import REQUEST_ID
from moerec.api.plain import BODIES, Asked, of_line, of_url
from moerec.observability.logging import request_id
from moerec.observability.metrics import Metrics

_SPECIAL: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade"))
"""A request with one of these takes the long way."""


LONGEST_KNOWN: Final = 4096
"""Bytes of a request whose head is kept, for each connection, to be recognised."""


class _Nobody:
    """Who waits for more of a plain request: its cycle has no task."""

    def set(self) -> None:
        """As `asyncio.Event`."""


class _Plain:
    """A plain request from its head to its answer, for uvicorn one of its cycles.

    `is_get`, or a POST; `own_id` is the caller's, or made here (`is_own`).
    """

    __slots__ = (
        "body",
        "disconnected",
        "is_get",
        "is_own",
        "keep_alive",
        "more_body",
        "own_id",
        "response_complete",
        "start",
    )
    message_event = _Nobody()

    def __init__(self, own_id: str, *, is_get: bool, keep_alive: bool) -> None:
        self.body = b""
        self.more_body = True
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False
        self.start = time.perf_counter()
        self.is_get = is_get
        self.is_own = not own_id
        self.own_id = own_id or new_id()


class _KnownGet(NamedTuple):
    """What stood behind the first line of a plain GET, as bytes and as its head."""

    rest: bytes
    head: Head

    def asked(self, data: bytes) -> Asked | None:
        """What another request with the same headers asks for."""
        if not data.endswith(self.rest):
            return None
        return of_line(data, len(data) - len(self.rest))


class _KnownPost(NamedTuple):
    """What stood before the body of a plain POST, its length too, and how long the whole of it was."""

    start: bytes
    size: int
    url: bytes
    head: Head

    def asked(self, data: bytes) -> Asked | None:
        """As `_KnownGet.asked`."""
        if len(data) != self.size or not data.startswith(self.start):
            return None
        return BODIES[self.url](data[len(self.start) :])


class FrontDoor(HttpToolsProtocol):
    """A connection to a gateway; `short_way` and `metrics` are those of its application."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: AbstractEventLoop | None = None,
        *,
        short_way: ShortWay,
        metrics: Metrics,
        max_body_bytes: int,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._short_way = short_way
        self._metrics = metrics
        # Of a longer body uvicorn waits for somebody to read the beginning.
        self._most_bytes = min(max_body_bytes, HIGH_WATER_LIMIT)
        self._idle_since = math.inf
        self._is_between = True
        self._begun = 0
        self._known_get: _KnownGet | None = None
        self._known_post: _KnownPost | None = None
        self._usual: tuple[object, bytes] = (None, b"")

    def data_received(self, data: bytes) -> None:
        """Bytes have come. A plain request with the same headers as the last one, byte for byte, is not
        parsed again."""
        known = self._known_get if data[:1] == b"G" else self._known_post
        if known is not None and self._is_between and self._repeat(data, known):
            return
        was_between, self._begun = self._is_between, 0
        super().data_received(data)
        self._idle_since = self.loop.time()
        if was_between and self._is_between and self._begun == 1 and len(data) <= LONGEST_KNOWN:
            # The one request in it ended where the data did: its head can be recognised.
            self._remember(data)

    def _remember(self, data: bytes) -> None:
        plain: object = self.cycle
        if type(plain) is not _Plain or not (plain.keep_alive and plain.is_own):
            return
        head = Head(self.headers)
        # Empty lines may come before a request: those are not repeated.
        if plain.is_get and data.startswith(b"GET "):
            self._known_get = _KnownGet(data[data.index(b"\r\n") :], head)
        elif data.startswith(b"POST "):
            start = data[: data.index(b"\r\n\r\n") + 4]
            # Nor those behind one.
            if len(start) + len(plain.body) == len(data):
                self._known_post = _KnownPost(start, len(data), self.url, head)

    def _repeat(self, data: bytes, known: _KnownGet | _KnownPost) -> bool:
        """Takes the request if it is a plain one behind which nothing else comes."""
        asked = known.asked(data)
        if asked is None or not self._is_free() or not self._short_way.suits(asked):
            return False
        plain = _Plain("", is_get=type(known) is _KnownGet, keep_alive=True)
        plain.more_body = False
        self.cycle = plain  # type: ignore[assignment]
        self._begin(plain, asked, known.head)
        return True

    def on_message_begin(self) -> None:
        """A request begins; what ASGI wants to know is put together when it takes the long way."""
        self._is_between = False
        self._begun += 1
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        plain = self._plain()
        if plain is None:
            self._take_long_way()
        else:
            self.cycle = plain  # type: ignore[assignment]

    def on_message_complete(self) -> None:
        """The whole of a request is there."""
        self._is_between = True
        plain: object = self.cycle
        if type(plain) is not _Plain or not plain.more_body:
            super().on_message_complete()
            return
        asked = of_url(self.url) if plain.is_get else BODIES[self.url](plain.body)
        if asked is not None and self._short_way.suits(asked):
            plain.more_body = False
            self._begin(plain, asked, Head(self.headers))
            return
        # The long way after all: uvicorn is told what it has not heard.
        self.cycle = None  # type: ignore[assignment]
        self._take_long_way()
        self.cycle.keep_alive &= plain.keep_alive  # the server may have begun to stop
        if plain.body:
            super().on_body(plain.body)
        super().on_message_complete()

    def _take_long_way(self) -> None:
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers += headers  # the scope has this list
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """An answer is out: the next request's turn, or a connection that is idle from now on."""
        if self.pipeline or self.transport.is_closing():
            super().on_response_complete()
            return
        self.server_state.total_requests += 1
        self.flow.resume_reading()
        self._idle_since = self.loop.time()
        if self.timeout_keep_alive_task is None:
            self._close_when_idle(self.timeout_keep_alive)

    def timeout_keep_alive_handler(self) -> None:
        """One timer at a time: to set it anew for each request costs as much as to look at its head."""
        self.timeout_keep_alive_task = None
        idle_s = self.loop.time() - self._idle_since
        if self.cycle is None or not self.cycle.response_complete:
            return  # its end will set the timer
        if idle_s >= self.timeout_keep_alive:
            super().timeout_keep_alive_handler()
        else:
            self._close_when_idle(self.timeout_keep_alive - idle_s)

    def _unset_keepalive_if_required(self) -> None:
        if self.transport.is_closing():
            super()._unset_keepalive_if_required()

    def _close_when_idle(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(
            seconds, self.timeout_keep_alive_handler
        )

    def _is_free(self) -> bool:
        """Whether an answer could go out at once."""
        before = self.cycle
        return (before is None or before.response_complete) and not self.flow.write_paused

    def _plain(self) -> _Plain | None:
        """A request that may take the short way, by its head. It is the only one on the connection."""
        parser = self.parser
        if not self._is_free():
            return None
        is_get = parser.get_method() == b"GET"
        own_id, kinds, length = "", 0, -1
        for name, value in self.headers:
            if name == b"content-type":
                kinds += 1 if value == b"application/json" else 2
            elif name == b"content-length":
                # Twice, or with something else than digits, the parser refuses it.
                length = int(value[:20])
            elif name == b"x-request-id" and REQUEST_ID.fullmatch(value):
                own_id = value.decode()
            elif name in _SPECIAL:
                return None
        if is_get:
            may_be = length <= 0 and self.url.startswith(b"/v1/users/")
        else:
            may_be = kinds == 1 and 0 <= length <= self._most_bytes and self.url in BODIES
            may_be = may_be and parser.get_method() == b"POST"
        if not may_be or self.root_path or parser.get_http_version() != "1.1":
            return None
        return _Plain(own_id, is_get=is_get, keep_alive=parser.should_keep_alive())

    def _begin(self, plain: _Plain, asked: Asked, head: Head) -> None:
        # What is begun in this step takes its context along.
        token = request_id.set(plain.own_id)
        try:
            self._short_way.begin(asked, head, partial(self._answer, plain, asked.route))
        finally:
            request_id.reset(token)

    def _answer(self, plain: _Plain, route: str, made: Made) -> None:
        if plain.response_complete:
            return  # a second answer would be taken for the next request's
        plain.response_complete = True
        method = "GET" if plain.is_get else "POST"
        self._metrics.request(route, method, made.status, time.perf_counter() - plain.start)
        transport = self.transport
        if transport.is_closing():
            return
        transport.write(
            b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b"
            % (
                STATUS_LINE[made.status],
                self._usual_lines(),
                made.head,
                len(made.body),
                plain.own_id.encode(),
                b"" if plain.keep_alive else b"connection: close\r\n",
                made.body,
            )
        )
        if not plain.keep_alive:
            transport.close()
        self.on_response_complete()

    def _usual_lines(self) -> bytes:
        """The server's own headers: another list each second, for the date in it."""
        usual = self.server_state.default_headers
        if usual is not self._usual[0]:
            self._usual = (usual, b"".join(b"%b: %b\r\n" % each for each in usual))
        return self._usual[1]
