"""What the requests say that are nearly all of them: well-formed ones, for a list or with one event.

    GET /v1/users/{user_id}/recommendations[?k=N][&max_experts=M]
    POST /v1/recommendations      POST /v1/events

They are read without routing and model classes. None is what these functions say of anything unusual, a
fault above all: FastAPI looks at it with all the care that takes time.
"""

import re
from typing import Annotated, Final
from urllib.parse import unquote

import msgspec
from msgspec import Meta

from moerec.api.ingest import NewEvent, latest_ms
from moerec.api.schemas import DEFAULT_K, MOST_IDS, MOST_K
from moerec.transport.frames import RecommendRequest
from moerec.types import DEFAULT_EVENT_TYPE, LARGEST_VALUE

USERS: Final = "/v1/users/"
LISTS: Final = "/recommendations"
USER_ROUTE: Final = "/v1/users/{user_id}/recommendations"
ROUTE: Final = "/v1/recommendations"
EVENTS: Final = "/v1/events"

_ID: Final = re.compile(r"[^\x00-\x1f\x7f]{1,256}")
_LIST_LINE: Final = re.compile(
    rb"GET /v1/users/([\w.~-]{1,256})/recommendations(?:\?k=([1-9][0-9]{0,2}))? HTTP/1\.1"
)
_LIST_QUERY: Final = re.compile(r"k=([1-9][0-9]{0,2})(?:&max_experts=([1-9]))?|max_experts=([1-9])")

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


class _Event(NewEvent, forbid_unknown_fields=True):
    """`schemas.EventIn` without times that are not milliseconds."""

    user_id: _Id
    item_id: _Id
    event_id: _Id | None = None
    timestamp: Annotated[int, Meta(ge=10**10, lt=2**53)] | None = None
    type: Annotated[str, Meta(min_length=1, max_length=64, pattern=_PRINTABLE)] = DEFAULT_EVENT_TYPE
    value: Annotated[float, Meta(ge=-LARGEST_VALUE, le=LARGEST_VALUE)] | None = None


_query = msgspec.json.Decoder(_Query)
_event = msgspec.json.Decoder(_Event)


class Asked(msgspec.Struct, frozen=True, gc=False):
    """What a request says; `method` and `route`, its template, are for rights and metrics."""

    what: RecommendRequest | NewEvent
    method: str
    route: str


def of_url(url: bytes) -> Asked | None:
    """What a GET of this target asks for."""
    if not url.isascii() or b"#" in url:
        return None
    path, _, query = url.decode().partition("?")
    if "%" in path:
        path = unquote(path)
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
    return Asked(RecommendRequest(user_id, None, k, max_experts=max_experts), "GET", USER_ROUTE)


def of_line(data: bytes, end: int) -> Asked | None:
    """What a request asks for whose first line, `data[:end]`, asks for a list in the plainest words."""
    found = _LIST_LINE.fullmatch(data, 0, end)
    if found is None:
        return None
    user_id, k = found[1].decode(), DEFAULT_K
    if found[2] is not None and (k := int(found[2])) > MOST_K:
        return None
    return Asked(RecommendRequest(user_id, None, k), "GET", USER_ROUTE)


def of_query(body: bytes) -> Asked | None:
    """What a POST for a list asks for."""
    try:
        query = _query.decode(body)
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
    return Asked(request, "POST", ROUTE)


def of_event(body: bytes) -> Asked | None:
    """What a POST of an event tells."""
    try:
        event = _event.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if event.timestamp is not None and event.timestamp > latest_ms():
        return None
    return Asked(event, "POST", EVENTS)


BODIES: Final = {ROUTE.encode(): of_query, EVENTS.encode(): of_event}
"""POST to these targets: what a body says."""
