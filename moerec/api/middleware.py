"""What surrounds every request: its id, its measure, its largest body, and its last safety net."""

import logging
import re
import time
from collections.abc import Iterable
from typing import Final

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moerec.api.errors import ApiError, problem
from moerec.api.ids import new_id
from moerec.observability.logging import request_id
from moerec.observability.metrics import Metrics

logger = logging.getLogger(__name__)

UNMATCHED: Final = "unmatched"
REQUEST_ID: Final = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestMiddleware:
    """Gives each request an id (`X-Request-Id`, the caller's own if it is printable), counts and times
    it by its route, refuses bodies over `max_body_bytes`, and turns a surprise into a problem document."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, max_body_bytes: int) -> None:
        self._app = app
        self._metrics = metrics
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        own_id, length = own_id_and_length(scope["headers"])
        token = request_id.set(own_id)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"].append((b"x-request-id", own_id.encode()))
            await send(message)

        try:
            if length > self._max_body_bytes:
                too_large = problem(413, _limit_text(self._max_body_bytes))
                await too_large(scope, receive, send_with_id)
            else:
                await self._app(scope, self._limited(receive), send_with_id)
        except Exception as error:
            answer = surprise(f"{scope['method']} {scope['path']}", error)
            if not status:
                await answer(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path_format", UNMATCHED)
            self._metrics.request(route, scope["method"], status, time.perf_counter() - start)
            request_id.reset(token)

    def _limited(self, receive: Receive) -> Receive:
        """Counts a body that did not say its length."""
        size = 0

        async def receive_limited() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise ApiError(413, "body_too_large", _limit_text(self._max_body_bytes))
            return message

        return receive_limited


def surprise(asked: str, error: BaseException) -> Response:
    """The answer to a request during which an exception arose that nobody expected; it goes to the log."""
    logger.error("A request failed: %s", asked, exc_info=error)
    return problem(500, "The gateway failed on this request; its log tells more.")


def own_id_and_length(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, int]:
    """The request's id, the caller's or a new one, and the announced length of its body, 0 if none is."""
    own_id, length = "", 0
    for name, value in headers:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            own_id = value.decode()
        elif name == b"content-length" and value.isdigit():
            # Of a number that is too long its length says enough, and `int` would refuse it.
            length = int(value[:20])
    return own_id or new_id(), length


def _limit_text(most: int) -> str:
    return f"A request body may have {most} bytes."
