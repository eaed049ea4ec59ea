"""The engine's door: answers frames with a handler, over a Unix socket or TCP."""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import uvloop

from moerec.errors import SettingsError
from moerec.transport.client import Handler
from moerec.transport.frames import (
    PROTOCOL,
    ErrorReply,
    Greeting,
    Reply,
    ReplyFrame,
    RequestFrame,
    decode_request,
    encode,
)
from moerec.transport.link import Link, LinkError, listen_for_links

logger = logging.getLogger(__name__)

FRAMES_WAITING: Final = 64
"""Of one gateway; ours have three under way."""

CLOSING_S: Final = 1.0
"""The longest that the last answers may take on their way out."""


def serve(
    handler: Handler,
    address: str,
    before_first: Callable[[], None] = lambda: None,
    version: str | None = None,
) -> "EngineDoor":
    """A door that is open and answers with `handler`; `stop` ends it.

    `before_first` is called before the first frame of each gateway that connects, in another thread: what
    the gateway sent elsewhere until then, it sent before this frame. `version` is that of the bundle that
    answers; gateways with another one do not ask.

    The handler is called once a frame, from one thread. An exception in it becomes an `ErrorReply` for each
    request of the frame. A frame whose budget ran out while it waited is answered with `ErrorReply`s,
    without the handler. Raises SettingsError if the address cannot be bound.
    """
    if address.startswith("unix:"):
        Path(address.removeprefix("unix:")).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    door = EngineDoor(handler, before_first, version)
    try:
        door.open(address)
    except (OSError, ValueError, OverflowError) as error:
        raise SettingsError(
            f"The engine cannot listen on {address}: {error}",
            "Set MOEREC_ENGINE_ADDRESS to a free address.",
        ) from error
    return door


class EngineDoor:
    """Reads the frames of all gateways and answers them, one after the other, in one thread.

    It looks for new frames between two answers: their budgets do not begin when the handler is free for
    them, but when they were sent; for gateways on other machines, whose clocks say nothing here, when they
    were read.
    """

    def __init__(
        self, handler: Handler, before_first: Callable[[], None], version: str | None
    ) -> None:
        self._handler = handler
        self._before_first = before_first
        self._greeting = encode(Greeting(PROTOCOL, version))
        self._gateways: set[_Gateway] = set()
        self._arrived: deque[_Arrival] = deque()
        self._work_ahead = asyncio.Event()
        self._is_closing = False
        self._is_given_up = False
        self._listener: asyncio.Server | None = None
        self._path: Path | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def open(self, address: str) -> None:
        """Listens at the address; OSError or ValueError if that cannot be."""
        opened: Future[None] = Future()
        self._path = Path(address.removeprefix("unix:")) if address.startswith("unix:") else None
        live = self._live(address, opened)
        self._thread = threading.Thread(
            target=uvloop.run, args=(live,), name="engine-door", daemon=True
        )
        self._thread.start()
        opened.result()

    def stop(self, grace_s: float) -> None:
        """Lets nobody in any more, answers what has arrived, and ends all connections: after so many seconds
        in any case. From any thread; returns when the handler is not at work any more."""
        assert self._thread is not None  # noqa: S101 - it is open
        assert self._loop is not None  # noqa: S101
        with suppress(RuntimeError):  # it has ended meanwhile
            self._loop.call_soon_threadsafe(self._begin_to_close)
        self._thread.join(grace_s)
        # Whatever the handler is doing, its gateways ask elsewhere from now on.
        self._is_given_up = True
        for gateway in list(self._gateways):
            gateway.shut_down()
        self._thread.join()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Returns when somebody has stopped it, or after so many seconds; whether it is closed."""
        assert self._thread is not None  # noqa: S101 - it is open
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _begin_to_close(self) -> None:
        self._is_closing = True
        if self._listener is not None:
            if self._path is not None:
                # Before the next engine can bind its own there.
                self._path.unlink(missing_ok=True)
            self._listener.close()
        self._work_ahead.set()

    async def _live(self, address: str, opened: Future[None]) -> None:
        try:
            self._listener = await listen_for_links(
                address, lambda: _Gateway(self._greeting, self._gateways, self._take)
            )
        except BaseException as error:
            opened.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        opened.set_result(None)
        await self._work()
        leaving = list(self._gateways)
        for gateway in leaving:
            gateway.close()
        if leaving:
            await asyncio.wait([gateway.ended for gateway in leaving], timeout=CLOSING_S)

    async def _work(self) -> None:
        """Answers until nothing is left to be answered when it is to close."""
        while not self._is_given_up:
            if not self._arrived:
                if self._is_closing:
                    return
                self._work_ahead.clear()
                await self._work_ahead.wait()
                continue
            gateway, frame, expires = self._arrived.popleft()
            if gateway.ended.done():
                continue  # nobody waits for it
            gateway.send(_replies(self._handler, frame, expires))
            gateway.waiting -= 1
            await asyncio.sleep(0)  # reads what has come meanwhile

    def _take(self, gateway: "_Gateway", message: bytes) -> None:
        try:
            frame = decode_request(message)
        except msgspec.DecodeError as error:
            logger.warning("A gateway sent foreign bytes: %s", error)
            raise LinkError("it sent foreign bytes") from None
        gateway.waiting += 1
        if gateway.waiting > FRAMES_WAITING:
            raise LinkError("it sends frame after frame")
        now = time.monotonic()
        sent_s = now if self._path is None else min(frame.sent_s, now)
        arrival = (gateway, frame, sent_s + frame.budget_ms / 1000)
        if self._is_closing and gateway.early is not None:
            raise LinkError("it came in while the door was closing")
        if gateway.early is None:
            self._arrived.append(arrival)
            self._work_ahead.set()
            return
        gateway.early.append(arrival)
        if len(gateway.early) == 1:
            self._introduce(gateway)

    def _introduce(self, gateway: "_Gateway") -> None:
        """Takes the frames of a new gateway when `before_first` has been called."""

        def introduced(called: asyncio.Future[None]) -> None:
            if (error := called.exception()) is not None:
                logger.error("A gateway could not be let in", exc_info=error)
                gateway.end()
                return
            self._arrived.extend(gateway.early or ())
            gateway.early = None
            self._work_ahead.set()

        asyncio.get_running_loop().run_in_executor(None, self._before_first).add_done_callback(
            introduced
        )


class _Gateway(Link):
    """A gateway at the door, in `connected` as long as it is. `early` are the frames that came before it was
    introduced, None afterwards; `waiting` counts those that have not been answered."""

    def __init__(
        self,
        greeting: bytes,
        connected: "set[_Gateway]",
        take: "Callable[[_Gateway, bytes], None]",
    ) -> None:
        super().__init__(partial(take, self))
        self._greeting = greeting
        self._connected = connected
        self.early: list[_Arrival] | None = []
        self.waiting = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """As `asyncio.Protocol`."""
        super().connection_made(transport)
        self._connected.add(self)
        self.send(self._greeting)

    def connection_lost(self, error: Exception | None) -> None:
        """As `asyncio.Protocol`."""
        super().connection_lost(error)
        self._connected.discard(self)


_Arrival = tuple[_Gateway, RequestFrame, float]
"""A frame, whose it is, and the monotonic time at which its last caller gives up."""


def _replies(handler: Handler, frame: RequestFrame, expires: float) -> bytes:
    """The answer to a frame: whatever goes wrong with it is one, too."""
    if time.monotonic() > expires:
        reply: Reply = ErrorReply("The deadline had passed before the engine was free.")
    else:
        try:
            return encode(ReplyFrame(frame.frame_id, handler(frame.requests)))
        except Exception as error:
            logger.exception("The engine failed on a frame of %d requests", len(frame.requests))
            reply = ErrorReply(f"{type(error).__name__}: {error}")
    return encode(ReplyFrame(frame.frame_id, [reply] * len(frame.requests)))
