"""Answers as they go out: what `schemas.py` describes, in structs that cost a tenth of a model class each.

A test holds the two together.
"""

from typing import Final, Literal

import msgspec


class Item(msgspec.Struct):
    """`schemas.RecommendedItem`"""

    item_id: str
    title: str | None
    rank: int
    score: float
    source: Literal["model", "popular"]


class Model(msgspec.Struct):
    """`schemas.ModelInfo`"""

    version: str
    experts_active: float | None
    experts: list[list[int]]


class Why(msgspec.Struct):
    """`schemas.Fallback`"""

    code: str
    reason: str


class Spent(msgspec.Struct):
    """`schemas.Timings`"""

    total: float
    engine: float | None


class Answer(msgspec.Struct):
    """`schemas.Recommendations`"""

    recommendation_id: str
    items: list[Item]
    model: Model
    fallback: Why | None
    degraded: Literal["popular", "fewer_experts", "rerouted"] | None
    cached: bool
    timings_ms: Spent


class EventResult(msgspec.Struct):
    """`schemas.EventResult`"""

    event_id: str
    status: Literal["accepted", "duplicate"]
    number: int


class RejectedEvent(msgspec.Struct):
    """`schemas.RejectedEvent`"""

    index: int
    code: Literal["invalid_event", "event_id_conflict", "rate_limited"]
    message: str


class Taken(msgspec.Struct):
    """`schemas.EventsOut`"""

    results: list[EventResult]
    rejected: list[RejectedEvent]


JSON: Final = "application/json"

_encoder = msgspec.json.Encoder()


def body(made: Answer | Taken) -> bytes:
    """The answer as JSON."""
    return _encoder.encode(made)


def headers(made: Answer) -> dict[str, str]:
    """A list's times as a Server-Timing header, which browsers show; and that it is of this moment."""
    return {"Server-Timing": _timing(made.timings_ms), "Cache-Control": "no-store"}


def head(made: Answer) -> bytes:
    """`headers` as lines of HTTP."""
    return b"server-timing: %b\r\ncache-control: no-store\r\n" % _timing(made.timings_ms).encode()


def _timing(spent: Spent) -> str:
    if spent.engine is None:
        return f"total;dur={spent.total}"
    return f"total;dur={spent.total}, engine;dur={spent.engine}"
