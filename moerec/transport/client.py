"""How the gateway asks the engine: one small interface, and the fake that ships with it.

A question has two outcomes: a reply (an `ErrorReply` when the engine met a fault of its own), or
`EngineUnavailableError` when nobody answered in time. An engine that is known to be away is refused at
once (`EngineAwayError`), so that a fallback or another engine costs no waiting.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from moerec.errors import EngineAwayError, EngineTooSlowError, EngineUnavailableError
from moerec.transport.frames import ErrorReply, Reply, Request

Handler = Callable[[list[Request]], list[Reply]]
"""What an engine is to the transport: replies in the order of the requests, from any thread."""

Outcome = Reply | EngineUnavailableError
"""Of a question."""

Told = Callable[[Outcome], None]
"""Who is told the outcome of a question: once, and in the event loop."""


class EngineClient(Protocol):
    """What the gateway needs of an engine. Used from one event loop."""

    def engines(self) -> Mapping[str, "EngineClient"]:
        """Each engine behind this client, by its address; the client itself if it is one."""
        ...

    def begin(self, request: Request, timeout_s: float, told: Told) -> None:
        """Asks. `told` is called with the engine's reply, in this step of the event loop or a later one; with
        `EngineUnavailableError` if there is none within `timeout_s` seconds, `EngineAwayError` as soon as it
        is known that there will be none."""
        ...

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        """The same for who waits, with the same errors. `begin` costs less."""
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

    def begin(self, request: Request, timeout_s: float, told: Told) -> None:
        """As `EngineClient`."""
        tell_later(self.ask(request, timeout_s), told)

    def ask(self, request: Request, timeout_s: float) -> asyncio.Future[Reply]:
        """As `EngineClient`."""
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


def tell_later(asked: asyncio.Future[Reply], told: Told) -> None:
    """Tells what a future of `EngineClient.ask` comes to."""

    def tell(done: asyncio.Future[Reply]) -> None:
        error = (
            EngineAwayError("The question was given up.") if done.cancelled() else done.exception()
        )
        if error is None:
            told(done.result())
        elif isinstance(error, EngineUnavailableError):
            told(error)
        else:
            told(ErrorReply(f"{type(error).__name__}: {error}"))

    asked.add_done_callback(tell)
