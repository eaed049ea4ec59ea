"""HTTP on a connection: uvicorn's protocol, which leads plain requests to the short way.

uvicorn makes an ASGI scope and a task for each request and passes messages between them. A plain request
needs none of it: it is answered with one write, as soon as its list is there. It stands in the place of
uvicorn's own cycle meanwhile, so that requests behind it on the connection wait for it, a shutdown waits
for it, and a lost connection tells it.
"""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable
from typing import Any, Final

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from moerec.api.hot import Made, ShortWay
from moerec.api.middleware import own_id_and_length
from moerec.api.plain import BODIES, Asked, of_url
from moerec.observability.logging import request_id
from moerec.observability.metrics import Metrics

_NOTHING: Final = b""
_SPECIAL: Final = frozenset((b"transfer-encoding", b"expect", b"upgrade"))
"""A request with one of these takes the long way."""


class _Nobody:
    """Who waits for more of a plain request: its cycle has no task."""

    def set(self) -> None:
        """As `asyncio.Event`."""


class _Plain:
    """A plain request from its head to its answer; the first five are what uvicorn knows of a cycle."""

    __slots__ = ("body", "disconnected", "headers", "keep_alive", "method", "more_body", "own_id")
    __slots__ += ("response_complete", "route", "start")
    message_event = _Nobody()

    def __init__(
        self, method: str, headers: list[tuple[bytes, bytes]], *, keep_alive: bool
    ) -> None:
        self.body = bytearray()
        self.more_body = True
        self.disconnected = False
        self.keep_alive = keep_alive
        self.response_complete = False
        self.start = time.perf_counter()
        self.method = method
        self.headers = headers
        self.route = ""
        self.own_id = ""


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
        self._max_body_bytes = max_body_bytes

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        if not self._may_be_plain():
            super().on_headers_complete()
            return
        method = self.parser.get_method().decode()
        self.cycle = _Plain(  # type: ignore[assignment]
            method, self.headers, keep_alive=self.parser.should_keep_alive()
        )

    def on_message_complete(self) -> None:
        """The whole of a request is there."""
        plain = self.cycle
        if type(plain) is not _Plain or not plain.more_body:
            super().on_message_complete()
            return
        asked = (
            of_url(self.url) if plain.method == "GET" else BODIES[self.url](bytes(plain.body))
        )
        if asked is not None and self._short_way.suits(asked):
            plain.more_body = False
            self._begin(plain, asked)
            return
        # The long way after all: uvicorn is told what it has not heard.
        self.cycle = None  # type: ignore[assignment]
        super().on_headers_complete()
        if plain.body:
            self.on_body(bytes(plain.body))
        super().on_message_complete()

    def _may_be_plain(self) -> bool:
        """Whether a request may take the short way, by its head. It is the only one on the connection."""
        before = self.cycle
        if (
            (before is not None and not before.response_complete)
            or self.flow.write_paused
            or self.root_path
            or self.parser.get_http_version() != "1.1"
        ):
            return False
        kinds, length = 0, -1
        for name, value in self.headers:
            if name == b"content-type":
                kinds += 1 if value == b"application/json" else 2
            elif name == b"content-length":
                # Twice, or with something else than digits, the parser refuses it.
                length = int(value[:20])
            elif name in _SPECIAL:
                return False
        if self.parser.get_method() == b"GET":
            return length <= 0 and self.url.startswith(b"/v1/users/")
        return (
            kinds == 1
            and 0 <= length <= self._max_body_bytes
            and self.url in BODIES
            and self.parser.get_method() == b"POST"
        )

    def _begin(self, plain: _Plain, asked: Asked) -> None:
        plain.own_id, _ = own_id_and_length(plain.headers)
        plain.route = asked.route
        # What is called later for this request is called in the context of now.
        token = request_id.set(plain.own_id)
        try:
            self._short_way.begin(asked, plain.headers, self._done(plain))
        finally:
            request_id.reset(token)

    def _done(self, plain: _Plain) -> Callable[[Made], None]:
        def done(made: Made) -> None:
            plain.response_complete = True
            self._metrics.request(
                plain.route, plain.method, made.status, time.perf_counter() - plain.start
            )
            if self.transport.is_closing():
                return
            self.transport.write(self._written(plain, made))
            if not plain.keep_alive:
                self.transport.close()
            self.on_response_complete()

        return done

    def _written(self, plain: _Plain, made: Made) -> bytes:
        """The answer as it goes out."""
        usual = [b"%b: %b\r\n" % each for each in self.server_state.default_headers]
        return b"%b%b%bcontent-length: %d\r\nx-request-id: %b\r\n%b\r\n%b" % (
            STATUS_LINE[made.status],
            b"".join(usual),
            made.head,
            len(made.body),
            plain.own_id.encode(),
            _NOTHING if plain.keep_alive else b"connection: close\r\n",
            made.body,
        )
