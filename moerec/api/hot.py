"""The short way: plain requests (`plain.py`) are answered without routing, dependencies and tasks.

By the same guard and services as FastAPI's routes; a test holds the two ways to the same answers.
`protocol.py` leads requests here.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import msgspec
from starlette.responses import Response

from moerec.api.answers import JSON, Answer, Taken, body
from moerec.api.answers import head as head_of
from moerec.api.auth import Head
from moerec.api.errors import ApiError, problem, refusal
from moerec.api.gateway import Gateway
from moerec.api.ingest import NewEvent
from moerec.api.middleware import surprise
from moerec.api.plain import Asked
from moerec.errors import MoerecError
from moerec.observability.logging import as_request, request_id
from moerec.transport.client import Outcome
from moerec.transport.frames import ListReply, RecommendRequest

_JSON_TYPE: Final = b"content-type: %b\r\n" % JSON.encode()


class Made(msgspec.Struct, frozen=True, gc=False):
    """An answer, but for what HTTP adds and the request's id; `head` are the lines of its own headers."""

    status: int
    head: bytes
    body: bytes


Done = Callable[[Made], None]


class ShortWay:
    """Answers by the services of an open gateway, and leads nowhere without one.

    For one thread, that of the event loop. Each answer comes by a call, in the same step or a later one: a
    task for each request, and what passes between it and the server, cost as much as the rest of it.
    """

    def __init__(self) -> None:
        self._gateway: Gateway | None = None
        self._tasks: set[asyncio.Task[Made]] = set()

    def open(self, gateway: Gateway) -> None:
        """From now on it can be taken."""
        self._gateway = gateway

    def close(self) -> None:
        """From now on it cannot; what is under way is answered."""
        self._gateway = None

    def suits(self, asked: Asked) -> bool:
        """Whether it is open, and the model can wake as few experts as are asked for: the long way names
        their range."""
        if self._gateway is None:
            return False
        most = asked.what.max_experts if isinstance(asked.what, RecommendRequest) else None
        return most is None or most in self._gateway.catalogue.budgets

    def begin(self, asked: Asked, head: Head, done: Done) -> None:
        """Answers what `suits`, with a call of `done`. `request_id` is set by who calls this."""
        gateway, what = self._gateway, asked.what
        assert gateway is not None  # noqa: S101 - `suits`
        try:
            caller = gateway.guard.caller(head, asked.method, asked.route)
            gateway.guard.admit(caller, what.user_id)
            if isinstance(what, NewEvent):
                gateway.ingest.begin([what], partial(self._taken, asked, request_id.get(), done))
            elif what.user_id is None and what.history is None:
                self._later(_fallen_back(gateway, what, None, time.perf_counter()), asked, done)
            else:
                start, own_id = time.perf_counter(), request_id.get()
                told = partial(self._replied, gateway, asked, start, own_id, done)
                gateway.recommend.begin(what, told)
        except Exception as error:
            done(_failed(error, asked))

    def _replied(
        self,
        gateway: Gateway,
        asked: Asked,
        start: float,
        own_id: str | None,
        done: Done,
        outcome: Outcome,
    ) -> None:
        """The engine has answered a question for a list, or has not in time."""
        if isinstance(outcome, ListReply) and outcome.fallback is None:
            try:
                reply = gateway.recommend.reply_of(outcome)
                made = _list(gateway.recommend.from_model(reply, start))
            except Exception as error:
                with as_request(own_id):
                    made = _failed(error, asked)
            done(made)
            return
        assert isinstance(asked.what, RecommendRequest)  # noqa: S101 - events have no reply of the engine
        with as_request(own_id):
            try:
                code = gateway.recommend.reply_of(outcome).fallback
                self._later(_fallen_back(gateway, asked.what, code, start), asked, done)
            except Exception as error:
                done(_failed(error, asked))

    def _taken(
        self, asked: Asked, own_id: str | None, done: Done, outcome: Taken | Exception
    ) -> None:
        """The event is stored and the engine has been told, or it is not stored."""
        with as_request(own_id):
            if isinstance(outcome, Exception):
                made = _failed(outcome, asked)
            elif outcome.rejected:
                refused = outcome.rejected[0]
                status = 409 if refused.code == "event_id_conflict" else 422
                made = _parts(problem(status, refused.message, code=refused.code))
            else:
                made = Made(202, _JSON_TYPE, body(outcome))
        done(made)

    def _later(self, making: Coroutine[None, None, Made], asked: Asked, done: Done) -> None:
        """Answers with what takes more than one step to make."""

        def made(task: asyncio.Task[Made]) -> None:
            self._tasks.discard(task)
            error = asyncio.CancelledError() if task.cancelled() else task.exception()
            done(task.result() if error is None else _failed(error, asked))

        task = asyncio.get_running_loop().create_task(making)
        self._tasks.add(task)
        task.add_done_callback(made)


async def _fallen_back(
    gateway: Gateway, query: RecommendRequest, code: str | None, start: float
) -> Made:
    return _list(await gateway.recommend.fall_back(query, code or "anonymous", start))


def _list(answer: Answer) -> Made:
    return Made(200, head_of(answer) + _JSON_TYPE, body(answer))


def _failed(error: BaseException, asked: Asked) -> Made:
    """The refusal, or what an exception that nobody expected is told as."""
    if isinstance(error, ApiError | MoerecError):
        return _parts(refusal(error))
    return _parts(surprise(asked.route, error))


def _parts(response: Response) -> Made:
    lines = [b"%b: %b\r\n" % each for each in response.raw_headers if each[0] != b"content-length"]
    return Made(response.status_code, b"".join(lines), bytes(response.body))
