"""How the gateway asks the engine: one small interface, its gRPC form, and the fake that ships with it.

`ask` has two outcomes: a reply (an `ErrorReply` when the engine met a fault of its own), or
`EngineUnavailableError` when nobody answered in time. An engine that is known to be away is refused at
once (`EngineAwayError`), so that a fallback or another engine costs no waiting.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

import grpc
import grpc.aio
import msgspec

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.transport.frames import (
    FRAME_LIMIT,
    METHOD,
    VERSION_KEY,
    ErrorReply,
    Reply,
    Request,
    RequestFrame,
    decode_reply,
    encode,
)

Handler = Callable[[list[Request]], list[Reply]]
"""What an engine is to the transport: replies in the order of the requests, from any thread."""

FRAMES_IN_FLIGHT: Final = 3
GATHER_S: Final = 0.002
"""At least so long after a frame the next one leaves: a frame costs both sides as much as a request or
two, and who comes in between shares it. After a pause a request leaves at once."""

ALARM_PAUSE_S: Final = 0.001
"""Of many deadlines that follow each other closely, the callers are told together."""

WAITING_LIMIT: Final = 4096
CONNECT_TIMEOUT_S: Final = 1.0
CANCEL_AGAIN_S: Final = 0.05
RETRY_FIRST_S: Final = 0.02
RETRY_LONGEST_S: Final = 0.5
STALL_GRACE_S: Final = 1.0
"""A frame unanswered this long after its last caller gave up means that the engine hangs."""

MESSAGE_LIMIT_BYTES: Final = 64 * 1024 * 1024


class _StreamError(Exception):
    """The engine broke the rules of the stream."""


class _OtherVersionError(Exception):
    """The engine is there, and must not be asked."""


class EngineClient(Protocol):
    """What the gateway needs of an engine. Used from one event loop."""

    def engines(self) -> Mapping[str, "EngineClient"]:
        """Each engine behind this client, by its address; the client itself if it is one."""
        ...

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        """The engine's reply; `EngineUnavailableError` if there is none within `timeout_s` seconds,
        `EngineAwayError` as soon as it is known that there will be none."""
        ...

    async def close(self) -> None:
        """Lets go of the connection; later questions are refused."""
        ...


class LocalEngineClient:
    """An engine in this process, one thread wide: for tests, notebooks and the shipped fake."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="local-engine")
        self._closed = False

    def engines(self) -> Mapping[str, EngineClient]:
        """As `EngineClient`."""
        return {"local": self}

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        return asyncio.ensure_future(self._ask(request, timeout_s))

    async def _ask(self, request: Request, timeout_s: float) -> Reply:
        if self._closed:
            raise EngineAwayError("The connection to the engine is closed.")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(timeout_s):
                return await loop.run_in_executor(self._thread, self._answer, request)
        except TimeoutError:
            raise EngineTooSlowError(timeout_s) from None

    def _answer(self, request: Request) -> Reply:
        try:
            return self._handler([request])[0]
        except Exception as error:
            return ErrorReply(f"{type(error).__name__}: {error}")

    async def close(self) -> None:
        self._closed = True
        self._thread.shutdown(wait=False, cancel_futures=True)


@dataclass(slots=True, eq=False)
class _Waiting:
    """A caller, from `ask` to its reply."""

    request: Request
    timeout_s: float
    deadline: float
    future: asyncio.Future[Reply]


@dataclass(slots=True)
class _Flight:
    """A frame that was sent; `deadline` is that of the last caller in it."""

    callers: list[_Waiting]
    deadline: float


_Call = grpc.aio.StreamStreamCall[bytes, bytes]


class GrpcEngineClient:
    """An engine behind one bidirectional stream.

    Callers that wait while `FRAMES_IN_FLIGHT` frames are on their way share the next frame, so
    batches grow with load; so do those who come less than `gather_s` seconds after a frame. A lone request
    waits for nothing. When the stream breaks, everything in
    flight fails at once and a new stream is tried, after 20 ms at first, every 0.5 s at most.
    `address` is a gRPC target: `unix:PATH` or `HOST:PORT`. An engine that serves another bundle than
    that of `version` counts as away; without one, any will do.
    """

    def __init__(
        self, address: str, version: str | None = None, gather_s: float = GATHER_S
    ) -> None:
        self._address = address
        self._gather_s = gather_s
        self._version = version
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._flights: dict[int, _Flight] = {}
        self._next_frame = 0
        self._away: str | None = None
        self._connection: asyncio.Task[None] | None = None
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def engines(self) -> Mapping[str, EngineClient]:
        """As `EngineClient`."""
        return {self._address: self}

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Reply] = loop.create_future()
        if (refusal := self._refusal()) is not None:
            future.set_exception(refusal)
            return future
        if self._connection is None or self._connection.done():
            self._connection = loop.create_task(self._stay_connected(), name="engine-stream")
        deadline = loop.time() + timeout_s
        self._waiting.append(_Waiting(request, timeout_s, deadline, future))
        self._wake.set()
        if deadline < self._alarm_at:
            self._set_alarm(deadline)
        return future

    async def close(self) -> None:
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        while self._connection is not None and not self._connection.done():
            # Once is not enough: a call that fails at the same moment swallows the cancellation.
            self._connection.cancel()
            await asyncio.wait([self._connection], timeout=CANCEL_AGAIN_S)
        self._fail_everyone("The connection to the engine is closed.")

    def _set_alarm(self, at: float) -> None:
        """One timer for all callers: one for each would cost more than their futures.

        It is set for the first deadline of those who wait when it is set. Most of them have their replies
        by then, so it rings about once in a time limit.
        """
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = at
        self._alarm = asyncio.get_running_loop().call_at(at, self._give_up)

    def _give_up(self) -> None:
        """Tells the callers whose deadlines have passed, and sets the alarm for the next one."""
        now = asyncio.get_running_loop().time()
        self._alarm, self._alarm_at = None, math.inf
        following = math.inf
        for caller in self._everyone():
            if caller.future.done():
                continue
            if caller.deadline <= now:
                caller.future.set_exception(EngineTooSlowError(caller.timeout_s))
            else:
                following = min(following, caller.deadline)
        # While an engine hangs, nobody else takes them out.
        self._waiting = deque(caller for caller in self._waiting if not caller.future.done())
        if following < math.inf:
            self._set_alarm(max(following, now + ALARM_PAUSE_S))

    def _everyone(self) -> list[_Waiting]:
        """Whoever may still want a reply."""
        callers = [caller for flight in self._flights.values() for caller in flight.callers]
        callers.extend(self._waiting)
        return callers

    def _refusal(self) -> EngineUnavailableError | None:
        """Why a question has no hope, if it has none."""
        if self._closed:
            return EngineAwayError("The connection to the engine is closed.")
        if self._away is not None:
            return EngineAwayError(self._away)
        if len(self._waiting) >= WAITING_LIMIT:
            return EngineUnavailableError(f"{WAITING_LIMIT} requests wait for the engine already.")
        return None

    async def _stay_connected(self) -> None:
        pause = RETRY_FIRST_S
        while True:
            # A new channel each time: an old one would add gRPC's own, longer pauses to ours.
            async with grpc.aio.insecure_channel(self._address, _CHANNEL_OPTIONS) as channel:
                call: _Call = channel.stream_stream(METHOD)()
                try:
                    async with asyncio.timeout(CONNECT_TIMEOUT_S):
                        await call.wait_for_connection()
                        await self._refuse_other_version(call)
                    self._away = None
                    pause = RETRY_FIRST_S
                    await self._converse(call)
                    reason = "The engine ended the stream."
                except _OtherVersionError as error:
                    reason = str(error)
                except Exception as error:  # whatever broke this stream, the next one is tried
                    reason = f"The engine at {self._address} is away ({_short(error)})."
                finally:
                    call.cancel()
                self._away = reason
                self._fail_everyone(reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_LONGEST_S)

    async def _refuse_other_version(self, call: _Call) -> None:
        # By what the engine says before the first frame: its answer to a frame of ours would come after
        # it had read the table's tail, and it would not know what the gateway does in between.
        found = (await call.initial_metadata()).get(VERSION_KEY)
        theirs = found.decode() if isinstance(found, bytes) else "an unknown bundle"
        if self._version is not None and theirs != self._version:
            raise _OtherVersionError(
                f"The engine at {self._address} serves {theirs}, this gateway {self._version}."
            )

    async def _converse(self, call: _Call) -> None:
        """Sends and reads until the stream ends, breaks or stalls."""
        tasks = [
            asyncio.create_task(step)
            for step in (self._send(call), self._read(call), self._watch_for_stalls())
        ]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _send(self, call: _Call) -> None:
        loop, next_at = asyncio.get_running_loop(), 0.0
        while True:
            await self._wake.wait()
            self._wake.clear()
            if self._waiting:
                # Whoever has little time is not kept for the sake of others.
                patience = (self._waiting[0].deadline - loop.time()) / 4
                if (pause := min(next_at - loop.time(), patience)) > 0:
                    await asyncio.sleep(pause)
            full = True
            while (
                full and len(self._flights) < FRAMES_IN_FLIGHT and (callers := self._next_callers())
            ):
                next_at = loop.time() + self._gather_s
                deadline = max(caller.deadline for caller in callers)
                frame_id = self._next_frame
                self._next_frame += 1
                self._flights[frame_id] = _Flight(callers, deadline)
                budget_ms = 1000 * (deadline - loop.time())
                frame = RequestFrame(frame_id, budget_ms, [caller.request for caller in callers])
                await call.write(encode(frame))
                # Fewer than a frame holds wait for others.
                full = len(self._waiting) >= FRAME_LIMIT
            if self._waiting and len(self._flights) < FRAMES_IN_FLIGHT:
                self._wake.set()

    def _next_callers(self) -> list[_Waiting]:
        callers: list[_Waiting] = []
        while self._waiting and len(callers) < FRAME_LIMIT:
            caller = self._waiting.popleft()
            if not caller.future.done():
                callers.append(caller)
        return callers

    async def _read(self, call: _Call) -> None:
        while True:
            data = await call.read()
            if not isinstance(data, bytes):
                return
            try:
                frame = decode_reply(data)
            except msgspec.DecodeError as error:
                raise _StreamError(f"it sent foreign bytes: {error}") from None
            flight = self._flights.get(frame.frame_id)
            if flight is None or len(frame.replies) != len(flight.callers):
                raise _StreamError("it sent a frame that answers nothing we asked")
            del self._flights[frame.frame_id]
            self._wake.set()
            for caller, reply in zip(flight.callers, frame.replies, strict=True):
                if not caller.future.done():
                    caller.future.set_result(reply)

    async def _watch_for_stalls(self) -> None:
        while True:
            await asyncio.sleep(STALL_GRACE_S / 4)
            now = asyncio.get_running_loop().time()
            if any(now > flight.deadline + STALL_GRACE_S for flight in self._flights.values()):
                raise _StreamError("it hangs")

    def _fail_everyone(self, reason: str) -> None:
        callers = self._everyone()
        self._flights.clear()
        self._waiting.clear()
        for caller in callers:
            if not caller.future.done():
                caller.future.set_exception(EngineAwayError(reason))


_CHANNEL_OPTIONS: Final = [
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_send_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.max_receive_message_length", MESSAGE_LIMIT_BYTES),
    ("grpc.enable_http_proxy", 0),
]


def _short(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return error.code().name.lower()
    return str(error) or "no answer to the connection"
