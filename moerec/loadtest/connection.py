"""A client's side of HTTP/1.1, cheap: one request at a time on a connection that is kept."""

import asyncio
import re
from collections.abc import Callable
from typing import Final, cast

_LENGTH: Final = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"\r\nconnection:[ \t]*close", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Sends bytes and gives each answer to `on_answer(connection, status, body)`.

    `on_lost(connection, reason)` is called once when it can be used no more; answers without a
    Content-Length count as the end of it.
    """

    def __init__(
        self,
        on_answer: Callable[["Connection", int, bytes], None],
        on_lost: Callable[["Connection", str], None],
    ) -> None:
        self.begun = 0.0
        self.place = 0
        self._on_answer = on_answer
        self._on_lost = on_lost
        self._buffer = b""
        self._transport: asyncio.Transport | None = None
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio.Protocol"""
        # uvloop's transports are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes) -> None:
        """Begin a request; the one before it was answered."""
        if self._transport is not None:
            self._transport.write(request)

    def close(self) -> None:
        """Without a word to `on_lost`."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """asyncio.Protocol"""
        received = self._buffer + data if self._buffer else data
        end = received.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = received
            return
        length = _LENGTH.search(received, 0, end)
        if length is None or not received.startswith(b"HTTP/1."):
            self._give_up("an answer without a length")
            return
        whole = end + 4 + int(length[1])
        if len(received) < whole:
            self._buffer = received
            return
        self._buffer = b""
        # The next request is sent from the callback: nothing of this answer is needed after it.
        closes = _CLOSES.search(received, 0, end) is not None
        self._on_answer(self, int(received[9:12]), received[end + 4 : whole])
        if closes:
            self._give_up("closed by the server")

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio.Protocol"""
        self._give_up(str(exc) if exc else "closed by the server")

    def _give_up(self, reason: str) -> None:
        if not self._lost:
            self.close()
            self._on_lost(self, reason)
