"""What gateway and engine say to each other: msgspec frames of up to `FRAME_LIMIT` requests.

A frame is one message of a connection (`link.py`). The engine speaks first, with a greeting. Replies come
back in the order of the frame's requests; frames may overtake each other and are matched by `frame_id`.
"""

import math
from typing import Final, Literal

import msgspec

FRAME_LIMIT: Final = 64
PROTOCOL: Final = "moerec 2"
"""What this module describes; other frames will have another name."""

Degraded = Literal["fewer_experts", "rerouted"]
"""What the expert policy changed in an answer that the model alone would have given otherwise."""


class RecommendRequest(msgspec.Struct, tag="recommend", array_like=True, frozen=True):
    """Rank the catalogue for a stored user, or for a history given in the request.

    With `history` (oldest first) the stored one is not read. `exclude_seen` takes the items of the
    history out; `exclude` takes out what the caller names. `k` is the length of the list.
    `max_experts` is the most experts that the newest event may wake in a layer, within the model's
    own limits; null leaves it to the engine. `moved_s` says that the user's own engine is away, which alone
    may have been told of the newest events: so many seconds ago the gateway last found that an engine had
    gone or come back.
    """

    user_id: str | None
    history: list[str] | None
    k: int
    exclude: list[str] = []
    exclude_seen: bool = True
    max_experts: int | None = None
    moved_s: float | None = None


class SimilarRequest(msgspec.Struct, tag="similar", array_like=True, frozen=True):
    """The `k` nearest items of `item_id` by the cosine of their vectors."""

    item_id: str
    k: int
    exclude: list[str] = []


class EventPush(msgspec.Struct, tag="event", array_like=True, frozen=True):
    """An event that is durable in the event table: the engine may apply it at once.

    `value` is its rating or weight, if it has one.
    """

    user_id: str
    item_id: str
    timestamp_ms: int
    user_number: int
    table_number: int
    value: float | None = None


class InfoRequest(msgspec.Struct, tag="info", array_like=True, frozen=True):
    """Which model is loaded? (also the gateway's readiness probe)"""


class ItemsPush(msgspec.Struct, tag="items", array_like=True, frozen=True):
    """The table of items has changed, up to this number: the engine reads it soon."""

    number: int


Request = RecommendRequest | SimilarRequest | EventPush | InfoRequest | ItemsPush


class ListReply(msgspec.Struct, tag="list", array_like=True, frozen=True):
    """A ranked list, or none and the reason in `fallback`. `scores` go with `item_ids`, best first.

    `fallback` is null for a model's answer, else `unknown_user`, `empty_history`,
    `no_known_items` (the engine knows none of the history's items) or `unknown_item`; the gateway then shows
    popular items. `experts[layer]` are the experts (0..E-1) that were awake for the newest event.
    `history_length` counts the events that were read; `engine_ms` is the engine's own time until it had the
    list, 0 where there is none. `degraded` says what the expert policy changed: `rerouted` where an expert
    past its quota was passed over, `fewer_experts` where load cut the budget, else null.
    """

    item_ids: list[str]
    scores: list[float]
    fallback: str | None = None
    experts: list[list[int]] = []
    history_length: int = 0
    engine_ms: float = 0.0
    degraded: Degraded | None = None


class EventReply(msgspec.Struct, tag="event", array_like=True, frozen=True):
    """The event is in the user's state, or the state will be rebuilt from the table when next read."""


class InfoReply(msgspec.Struct, tag="info", array_like=True, frozen=True):
    """What the engine serves, and what it counted since its start (`observability/metrics.py` lists it)."""

    model_version: str
    items: int
    hot_users: int
    counters: dict[str, float] = {}


class ItemsReply(msgspec.Struct, tag="items", array_like=True, frozen=True):
    """Changes of items up to this number are in the engine's lists."""

    number: int


class ErrorReply(msgspec.Struct, tag="error", array_like=True, frozen=True):
    """The request could not be answered; the message is for logs, not for end users."""

    message: str


Reply = ListReply | EventReply | InfoReply | ItemsReply | ErrorReply


class Greeting(msgspec.Struct, array_like=True, frozen=True):
    """Engine to gateway, before everything else: what it speaks, and the version of its bundle."""

    protocol: str
    version: str | None


class RequestFrame(msgspec.Struct, array_like=True, frozen=True):
    """Gateway to engine.

    `budget_ms` is what is left of the last caller's deadline at sending: when it has passed, nobody
    waits for the frame any more. `sent_s` is the time of sending on the machine's monotonic clock, which an
    engine on the same machine has too; for others the budget counts from when they read the frame.
    """

    frame_id: int
    budget_ms: float
    requests: list[Request]
    sent_s: float = math.inf


class ReplyFrame(msgspec.Struct, array_like=True, frozen=True):
    """Engine to gateway."""

    frame_id: int
    replies: list[Reply]


_encoder = msgspec.msgpack.Encoder()
_request_decoder = msgspec.msgpack.Decoder(RequestFrame)
_reply_decoder = msgspec.msgpack.Decoder(ReplyFrame)
_greeting_decoder = msgspec.msgpack.Decoder(Greeting)


def encode(frame: Greeting | RequestFrame | ReplyFrame) -> bytes:
    """A frame as msgpack bytes."""
    return _encoder.encode(frame)


def decode_request(data: bytes) -> RequestFrame:
    """The inverse of `encode` at the engine; raises msgspec.DecodeError on foreign bytes."""
    return _request_decoder.decode(data)


def decode_reply(data: bytes) -> ReplyFrame:
    """The inverse of `encode` at the gateway; raises msgspec.DecodeError on foreign bytes."""
    return _reply_decoder.decode(data)


def decode_greeting(data: bytes) -> Greeting:
    """The inverse of `encode` for an engine's first message; raises msgspec.DecodeError on foreign bytes."""
    return _greeting_decoder.decode(data)
