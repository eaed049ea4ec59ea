"""The client of an engine process: one connection, frames that grow with the load, deadlines."""

import asyncio
import logging
import math
import time
from collections import deque
from collections.abc import Mapping
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Final

import msgspec

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.futures import future_of
from moerec.transport.client import EngineClient, Outcome, Told
from moerec.transport.frames import (
    FRAME_LIMIT,
    PROTOCOL,
    Reply,
    Request,
    RequestFrame,
    decode_greeting,
    decode_reply,
    encode,
)
from moerec.transport.link import Link, LinkError, connect_link

logger = logging.getLogger(__name__)

FRAMES_IN_FLIGHT: Final = 3
LEAVE_AT: Final = 24
"""So many do not wait for the end of the event loop's step: the engine begins while the others are read."""

ALARM_PAUSE_S: Final = 0.01
"""Of many deadlines that follow each other closely, the callers are told together."""

WAITING_LIMIT: Final = 4096
CONNECT_TIMEOUT_S: Final = 1.0
CANCEL_AGAIN_S: Final = 0.05
RETRY_FIRST_S: Final = 0.02
RETRY_LONGEST_S: Final = 0.5
STALL_GRACE_S: Final = 1.0
"""A frame unanswered this long after its last caller gave up means that the engine hangs."""


class _OtherVersionError(Exception):
    """The engine is there, and must not be asked."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A caller, from the question to its outcome; `told` is None then."""

    request: Request
    timeout_s: float
    deadline: float
    told: Told | None

    def tell(self, outcome: Outcome) -> None:
        """Tells who has not been told yet. What goes wrong there is theirs, and not the connection's."""
        told, self.told = self.told, None
        if told is None:
            return
        try:
            told(outcome)
        except Exception:
            logger.exception("An outcome of the engine was told in vain")


@dataclass(slots=True)
class _Flight:
    """A frame that was sent; `deadline` is that of the last caller in it."""

    callers: list[_Waiting]
    deadline: float


class RemoteEngineClient:
    """An engine behind one connection.

    Callers that wait while `FRAMES_IN_FLIGHT` frames are on their way share the next frame, so
    batches grow with load; so do those who ask in the same step of the event loop, up to `LEAVE_AT`. A lone
    request waits for nothing. When the connection breaks, everything in flight fails at once and a new one
    is tried, after 20 ms at first, every 0.5 s at most.
    `address` is `unix:PATH` or `HOST:PORT`. An engine that serves another bundle than
    that of `version` counts as away; without one, any will do.
    """

    def __init__(self, address: str, version: str | None = None) -> None:
        self._address = address
        self._version = version
        self._waiting: deque[_Waiting] = deque()
        self._flights: dict[int, _Flight] = {}
        self._next_frame = 0
        self._link: Link | None = None
        self._departure: asyncio.Handle | None = None
        self._away: str | None = None
        self._connection: asyncio.Task[None] | None = None
        self._closed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def engines(self) -> Mapping[str, EngineClient]:
        """As `EngineClient`."""
        return {self._address: self}

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        """As `EngineClient`."""
        return future_of(partial(self.begin, request, timeout_s))

    def begin(self, request: Request, timeout_s: float, told: Told) -> None:
        """As `EngineClient`."""
        if (refusal := self._refusal()) is not None:
            told(refusal)
            return
        loop = asyncio.get_running_loop()
        if self._connection is None or self._connection.done():
            # Nobody's request: whoever asks first would have their id in all its lines.
            self._connection = loop.create_task(
                self._stay_connected(), name="engine-connection", context=Context()
            )
        deadline = loop.time() + timeout_s
        self._waiting.append(_Waiting(request, timeout_s, deadline, told))
        if len(self._waiting) >= LEAVE_AT:
            self._depart()
        elif self._departure is None:
            self._plan_departure()
        if deadline < self._alarm_at:
            self._set_alarm(deadline)

    async def close(self) -> None:
        """As `EngineClient`."""
        self._closed = True
        for handle in (self._alarm, self._departure):
            if handle is not None:
                handle.cancel()
        while self._connection is not None and not self._connection.done():
            # Once is not enough: what fails at the same moment may swallow the cancellation.
            self._connection.cancel()
            await asyncio.wait([self._connection], timeout=CANCEL_AGAIN_S)
        self._fail_everyone("The connection to the engine is closed.")

    def _set_alarm(self, at: float) -> None:
        """One timer for all callers: one for each would cost as much as the rest of it.

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
            if caller.told is None:
                continue
            if caller.deadline <= now:
                caller.tell(EngineTooSlowError(caller.timeout_s))
            else:
                following = min(following, caller.deadline)
        # While an engine hangs, nobody else takes them out.
        self._waiting = deque(caller for caller in self._waiting if caller.told is not None)
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
            greeted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
            link = Link(partial(_greet, greeted))
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await connect_link(self._address, link)
                    either = (greeted, link.ended)
                    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
                self._refuse_others(greeted, link)
                link.received = self._take_replies
                self._away, self._link = None, link
                pause = RETRY_FIRST_S
                self._depart()
                await self._watch(link)
                reason = "The engine ended the connection."
            except _OtherVersionError as error:
                reason = str(error)
            except Exception as error:  # whatever broke this connection, the next one is tried
                reason = f"The engine at {self._address} is away ({_short(error)})."
            finally:
                self._link = None
                link.end()
            self._away = reason
            self._fail_everyone(reason)
            await asyncio.sleep(pause)
            pause = min(2 * pause, RETRY_LONGEST_S)

    def _refuse_others(self, greeted: asyncio.Future[bytes], link: Link) -> None:
        # By what the engine says before the first frame: its answer to a frame of ours would come after
        # it had read the table's tail, and it would not know what the gateway does in between.
        if not greeted.done():
            raise link.ended.result() or LinkError("it hung up")
        try:
            greeting = decode_greeting(greeted.result())
        except msgspec.DecodeError as error:
            raise LinkError(f"it sent foreign bytes: {error}") from None
        if greeting.protocol != PROTOCOL:
            raise LinkError(f"it speaks {greeting.protocol!r} and not {PROTOCOL!r}")
        if self._version is not None and greeting.version != self._version:
            theirs = greeting.version or "an unknown bundle"
            raise _OtherVersionError(
                f"The engine at {self._address} serves {theirs}, this gateway {self._version}."
            )

    async def _watch(self, link: Link) -> None:
        """Until the connection ends; LinkError if that was a fault, or the engine hangs."""
        now = asyncio.get_running_loop().time
        while not link.ended.done():
            await asyncio.wait([link.ended], timeout=STALL_GRACE_S / 4)
            if any(now() > flight.deadline + STALL_GRACE_S for flight in self._flights.values()):
                raise LinkError("it hangs")
        if (fault := link.ended.result()) is not None:
            raise fault

    def _depart(self) -> None:
        """Sends what waits, as far as frames may be under way."""
        self._departure = None
        while self._may_send() and (callers := self._next_callers()):
            self._send(callers)

    def _plan_departure(self) -> None:
        """Whoever asks in the same step of the event loop leaves together."""
        if self._waiting and self._departure is None and self._may_send():
            self._departure = asyncio.get_running_loop().call_soon(self._depart)

    def _send(self, callers: list[_Waiting]) -> None:
        assert self._link is not None  # noqa: S101 - `_may_send`
        deadline = max(caller.deadline for caller in callers)
        budget_ms = 1000 * (deadline - asyncio.get_running_loop().time())
        requests = [caller.request for caller in callers]
        frame = RequestFrame(self._next_frame, budget_ms, requests, time.monotonic())
        self._link.send(encode(frame))
        self._flights[self._next_frame] = _Flight(callers, deadline)
        self._next_frame += 1

    def _next_callers(self) -> list[_Waiting]:
        callers: list[_Waiting] = []
        while self._waiting and len(callers) < FRAME_LIMIT:
            caller = self._waiting.popleft()
            if caller.told is not None:
                callers.append(caller)
        return callers

    def _take_replies(self, message: bytes) -> None:
        try:
            frame = decode_reply(message)
        except msgspec.DecodeError as error:
            raise LinkError(f"it sent foreign bytes: {error}") from None
        flight = self._flights.get(frame.frame_id)
        if flight is None or len(frame.replies) != len(flight.callers):
            raise LinkError("it sent a frame that answers nothing we asked")
        del self._flights[frame.frame_id]
        for caller, reply in zip(flight.callers, frame.replies, strict=True):
            caller.tell(reply)
        self._plan_departure()

    def _may_send(self) -> bool:
        return self._link is not None and len(self._flights) < FRAMES_IN_FLIGHT

    def _fail_everyone(self, reason: str) -> None:
        callers = self._everyone()
        self._flights.clear()
        self._waiting.clear()
        for caller in callers:
            caller.tell(EngineAwayError(reason))


def _greet(greeted: asyncio.Future[bytes], message: bytes) -> None:
    if greeted.done():
        raise LinkError("it answers before it is asked")
    greeted.set_result(message)


def _short(error: BaseException) -> str:
    match error:
        case TimeoutError():
            return "no answer to the connection"
        case OSError(strerror=str(text)):
            return text
        case _:
            return str(error)
