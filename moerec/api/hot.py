"""The short way for the requests that are nearly all of them: well-formed ones, for a list or with one event.

    GET /v1/users/{user_id}/recommendations[?k=N][&max_experts=M]
    POST /v1/recommendations      POST /v1/events

They are read and answered without routing, dependencies and model classes, by the same services. Whatever
is unusual, a fault above all, goes the long way with its body unread or given again: there it is refused
with all the care that takes time. A test holds the two ways to the same answers.
"""

import re
import time
from typing import Annotated, Final, NamedTuple

import msgspec
from fastapi import FastAPI
from msgspec import Meta
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from moerec.api.answers import JSON, body, raw_headers
from moerec.api.errors import ApiError, problem, refusal
from moerec.api.gateway import Gateway
from moerec.api.ingest import latest_ms
from moerec.api.middleware import own_id_and_length, surprise, too_large
from moerec.api.schemas import DEFAULT_K, MOST_IDS, MOST_K, EventIn
from moerec.errors import MoerecError
from moerec.observability.logging import request_id
from moerec.observability.metrics import Metrics
from moerec.transport.frames import RecommendRequest
from moerec.types import DEFAULT_EVENT_TYPE, LARGEST_VALUE

USERS: Final = "/v1/users/"
LISTS: Final = "/recommendations"
USER_ROUTE: Final = "/v1/users/{user_id}/recommendations"
ROUTE: Final = "/v1/recommendations"
EVENTS: Final = "/v1/events"

_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_LENGTH: Final = re.compile(rb"[0-9]{1,15}")
_LIST_QUERY: Final = re.compile(
    rb"k=([1-9][0-9]{0,2})(?:&max_experts=([1-9]))?|max_experts=([1-9])"
)

_JSON_TYPE: Final = (b"content-type", JSON.encode())
_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+\Z"
_Id = Annotated[str, Meta(min_length=1, max_length=256, pattern=_PRINTABLE)]
_Ids = Annotated[list[_Id], Meta(max_length=MOST_IDS)]


class _Query(msgspec.Struct, forbid_unknown_fields=True):
    """`schemas.RecommendationsIn`"""

    user_id: _Id | None = None
    history: _Ids | None = None
    k: Annotated[int, Meta(ge=1, le=MOST_K)] = DEFAULT_K
    exclude_item_ids: _Ids = []
    exclude_seen: bool = True
    max_experts: int | None = None


_query = msgspec.json.Decoder(_Query)


class _Event(msgspec.Struct, forbid_unknown_fields=True):
    """`schemas.EventIn` without times that are not milliseconds."""

    user_id: _Id
    item_id: _Id
    event_id: _Id | None = None
    timestamp: Annotated[int, Meta(ge=10**10, lt=2**53)] | None = None
    type: Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)] = DEFAULT_EVENT_TYPE
    value: Annotated[float, Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)] | None = None


_event = msgspec.json.Decoder(_Event)


class Asked(NamedTuple):
    """What a request on the short way says; `route` is its template, for rights and metrics."""

    what: RecommendRequest | EventIn
    route: str


class Front(FastAPI):
    """The gateway's application: the short way where it leads, FastAPI's otherwise."""

    _metrics: Metrics | None = None
    _largest_body = 0

    def take_short_way(self, metrics: Metrics, max_body_bytes: int) -> None:
        """From now on; before this there is none."""
        self._largest_body = max_body_bytes
        self._metrics = metrics

    def take_long_way(self) -> None:
        """Every request goes through FastAPI from now on."""
        self._metrics = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and self._metrics is not None and not scope.get("root_path"):
            path: str = scope["path"]
            asked: Asked | None = None
            if scope["method"] == "GET":
                asked = _of_user(path, scope["query_string"])
            elif path in _BODIES and scope["method"] == "POST" and self._is_json(scope):
                receive, given = await _whole(receive)
                asked = None if given is None else _BODIES[path](given)
            if asked is not None and self._has_budget(asked.what):
                await self._answer(asked, scope, send, self._metrics)
                return
        await super().__call__(scope, receive, send)

    async def _answer(self, asked: Asked, scope: Scope, send: Send, metrics: Metrics) -> None:
        """What `RequestMiddleware` and a route do, in one step."""
        start = time.perf_counter()
        own_id, length = own_id_and_length(scope)
        token = request_id.set(own_id)
        status = 0
        try:
            if length > self._largest_body:
                made = _parts(too_large(self._largest_body))
            else:
                made = await self._made(asked, scope)
            raw = [*made.headers, (b"x-request-id", own_id.encode())]
            await send({"type": "http.response.start", "status": made.status, "headers": raw})
            status = made.status
            await send({"type": "http.response.body", "body": made.body})
        finally:
            metrics.request(asked.route, scope["method"], status, time.perf_counter() - start)
            request_id.reset(token)

    async def _made(self, asked: Asked, scope: Scope) -> "_Made":
        """The answer, or the refusal."""
        gateway: Gateway = self.state.gateway
        what = asked.what
        try:
            caller = gateway.guard.caller(scope["headers"], asked.route)
            gateway.guard.admit(caller, what.user_id)
            if isinstance(what, RecommendRequest):
                answer = await gateway.recommend.recommend(what)
                return _json(200, body(answer), raw_headers(answer))
            taken = await gateway.ingest.take([what])
        except (ApiError, MoerecError) as error:
            return _parts(refusal(error))
        except Exception:
            return _parts(surprise(scope))
        if taken.rejected:
            refused = taken.rejected[0]
            status = 409 if refused.code == "event_id_conflict" else 422
            return _parts(problem(status, refused.message, code=refused.code))
        return _json(202, taken.model_dump_json().encode(), [])

    def _has_budget(self, what: RecommendRequest | EventIn) -> bool:
        """Whether the model can wake as few experts as are asked for; the long way names its range."""
        most = what.max_experts if isinstance(what, RecommendRequest) else None
        if most is None:
            return True
        gateway: Gateway = self.state.gateway
        return most in gateway.catalogue.budgets

    def _is_json(self, scope: Scope) -> bool:
        """A body of JSON with a length that may be read: others are refused the long way."""
        kinds = [value for name, value in scope["headers"] if name == b"content-type"]
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        return (
            kinds == [b"application/json"]
            and len(lengths) == 1
            and _LENGTH.fullmatch(lengths[0]) is not None
            and int(lengths[0]) <= self._largest_body
        )


def _of_user(path: str, query: bytes) -> Asked | None:
    if not (path.startswith(USERS) and path.endswith(LISTS)):
        return None
    user_id, k, max_experts = path[len(USERS) : -len(LISTS)], DEFAULT_K, None
    if query:
        given = _LIST_QUERY.fullmatch(query)
        if given is None or (k := int(given[1] or DEFAULT_K)) > MOST_K:
            return None
        if most := given[2] or given[3]:
            max_experts = int(most)
    if _ID.fullmatch(user_id) is None:
        return None
    return Asked(RecommendRequest(user_id, None, k, max_experts=max_experts), USER_ROUTE)


def _of_query(given: bytes) -> Asked | None:
    try:
        query = _query.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    request = RecommendRequest(
        query.user_id,
        query.history,
        query.k,
        query.exclude_item_ids,
        query.exclude_seen,
        query.max_experts,
    )
    return Asked(request, ROUTE)


def _of_event(given: bytes) -> Asked | None:
    try:
        event = _event.decode(given)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if event.timestamp is not None and event.timestamp > latest_ms():
        return None
    return Asked(EventIn.model_construct(**msgspec.structs.asdict(event)), EVENTS)


_BODIES: Final = {ROUTE: _of_query, EVENTS: _of_event}
"""POST to these: what a body says, None for one that takes the long way."""


async def _whole(receive: Receive) -> tuple[Receive, bytes | None]:
    """The body if it came in one piece; and what gives that piece again."""
    first = await receive()
    is_whole = first["type"] == "http.request" and not first.get("more_body", False)
    again: Message | None = first

    async def replay() -> Message:
        nonlocal again
        if again is None:
            return await receive()
        message, again = again, None
        return message

    return replay, first.get("body", b"") if is_whole else None


class _Made(NamedTuple):
    """An answer, but for the request's id."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


def _json(status: int, given: bytes, more: list[tuple[bytes, bytes]]) -> _Made:
    length = (b"content-length", str(len(given)).encode())
    return _Made(status, [*more, _JSON_TYPE, length], given)


def _parts(response: Response) -> _Made:
    return _Made(response.status_code, response.raw_headers, bytes(response.body))
