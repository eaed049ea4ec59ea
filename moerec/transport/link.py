"""A connection between gateway and engine: whole messages over a Unix socket or TCP.

Each message stands behind its length, four bytes. What the messages say is in `frames.py`.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from typing import Final, cast

MESSAGE_LIMIT_BYTES: Final = 64 * 1024 * 1024

_LENGTH: Final = struct.Struct("<I")


class LinkError(Exception):
    """The other side breaks the rules of the connection."""


class Link(asyncio.Protocol):
    """One end of a connection; made inside an event loop, whose it is.

    `received` gets each message. `ended` is done when the connection has ended: with a LinkError if the other
    side or `received` broke the rules, else with None.
    """

    def __init__(self, received: Callable[[bytes], None]) -> None:
        self.received = received
        self.ended: asyncio.Future[LinkError | None] = asyncio.get_running_loop().create_future()
        self._fault: LinkError | None = None
        self._begun = bytearray()
        self._transport: asyncio.Transport | None = None

    def send(self, message: bytes) -> None:
        """Sends a message, or nothing if the connection has ended; waits for nothing."""
        if self._transport is not None:
            self._transport.write(_LENGTH.pack(len(message)) + message)

    def end(self) -> None:
        """Ends the connection at once; nothing is received any more."""
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Ends it when everything that was sent is on its way."""
        if self._transport is not None:
            self._transport.close()

    def shut_down(self) -> None:
        """The same from any thread: the other side sees the end, whatever this one is doing."""
        transport = self._transport
        own = None if transport is None else transport.get_extra_info("socket")
        if own is not None:
            with suppress(OSError):  # the loop has closed it meanwhile
                shared = os.dup(own.fileno())
                with socket.socket(fileno=shared) as twin:
                    twin.shutdown(socket.SHUT_RDWR)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        # A stream's; those of uvloop are no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """As `asyncio.Protocol`."""
        if self._begun:
            self._begun += data
            data = bytes(self._begun) if self._is_whole() else b""
        try:
            place = self._take(data) if data else 0
        except LinkError as error:
            self._fault = error
            self.end()
            return
        if data:
            self._begun = bytearray(data[place:])

    def _is_whole(self) -> bool:
        """Whether the message that has begun is there: a long one comes in many pieces."""
        begun = self._begun
        if len(begun) < _LENGTH.size:
            return False
        length: int = _LENGTH.unpack_from(begun)[0]
        return length > MESSAGE_LIMIT_BYTES or len(begun) - _LENGTH.size >= length

    def _take(self, data: bytes) -> int:
        """Hands on the messages that are whole; where the next one begins."""
        place = 0
        while len(data) - place >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, place)
            if length > MESSAGE_LIMIT_BYTES:
                raise LinkError(f"it announced a message of {length} bytes")
            begin = place + _LENGTH.size
            if len(data) - begin < length:
                break
            place = begin + length
            self.received(data[begin:place])
        return place

    def connection_lost(self, _: Exception | None) -> None:
        """As `asyncio.Protocol`."""
        self._transport = None
        # Who receives often holds this link: two that hold each other have to be found as garbage.
        self.received = _nothing
        self.ended.set_result(self._fault)


def _nothing(_: bytes) -> None:
    """Nobody receives any more."""


async def connect_link(address: str, link: Link) -> None:
    """Connects to `unix:PATH` or `HOST:PORT`; OSError if nobody listens there."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        await loop.create_unix_connection(lambda: link, address.removeprefix("unix:"))
    else:
        await loop.create_connection(lambda: link, *host_and_port(address))


async def listen_for_links(address: str, make: Callable[[], Link]) -> asyncio.Server:
    """Listens at `unix:PATH` or `HOST:PORT`; OSError or ValueError if that cannot be."""
    loop = asyncio.get_running_loop()
    if address.startswith("unix:"):
        return await loop.create_unix_server(make, address.removeprefix("unix:"))
    return await loop.create_server(make, *host_and_port(address))


def host_and_port(address: str) -> tuple[str, int]:
    """The parts of `HOST:PORT`; a host of IPv6 may stand in brackets.

    >>> host_and_port("[::1]:50051")
    ('::1', 50051)
    """
    host, _, port = address.rpartition(":")
    return host.removeprefix("[").removesuffix("]"), int(port)
