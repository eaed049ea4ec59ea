"""What comes in and goes out over HTTP. Unknown fields are refused; ids are strings."""

from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
)

from moerec.types import DEFAULT_EVENT_TYPE, LARGEST_VALUE

DEFAULT_K: Final = 10
MOST_K: Final = 100
MOST_EVENTS: Final = 500
MOST_IDS: Final = 1000

_NO_CONTROLS: Final = r"^[^\u0000-\u001f\u007f]+$"

Id = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=_NO_CONTROLS)]
"""An id of the caller: 1 to 256 characters, no control characters."""

K = Annotated[int, Field(ge=1, le=MOST_K, description="Length of the list.")]


def _milliseconds(value: object) -> object:
    """UTC milliseconds from an ISO 8601 string; a time without a zone is UTC. Integers stay."""
    if isinstance(value, bool | float) or not isinstance(value, int | str):
        raise ValueError("expected UTC milliseconds as an integer, or an ISO 8601 string")
    if isinstance(value, int):
        if 10**9 <= value < 10**10:
            raise ValueError("this looks like seconds; send milliseconds")
        return value
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise ValueError(
            "expected UTC milliseconds or an ISO 8601 time such as 2026-11-22T12:00:00Z"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000)


Timestamp = Annotated[
    int,
    Field(ge=0, lt=2**53),
    BeforeValidator(_milliseconds),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0, "description": "UTC milliseconds since 1970"},
                {"type": "string", "format": "date-time"},
            ]
        }
    ),
]


MaxExperts = Annotated[
    int,
    Field(
        ge=1,
        description="The most experts that the newest event may wake in a layer, between the model's own "
        "least and most; by default the engine decides by its load.",
    ),
]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class RecommendationsIn(_In):
    """Who asks, and for what."""

    user_id: Id | None = None
    """The user whose stored events are read. An unknown user gets popular items."""

    history: Annotated[list[Id], Field(max_length=MOST_IDS)] | None = None
    """Item ids, oldest first: used instead of the stored events, and not stored."""

    k: K = DEFAULT_K
    exclude_item_ids: Annotated[list[Id], Field(max_length=MOST_IDS)] = []
    """Items that must not be in the list."""

    exclude_seen: bool = True
    """Leave out the items of the user's events (or of `history`)."""

    max_experts: MaxExperts | None = None


class RecommendedItem(BaseModel):
    """One place of a list."""

    item_id: str
    title: str | None
    rank: int = Field(description="Counts from 1.")
    score: float = Field(description="Comparable within this list only.")
    source: Literal["model", "popular"]


class ModelInfo(BaseModel):
    """The model behind an answer."""

    version: str
    experts_active: float | None = Field(
        description="Mean number of experts awake in a layer; null if the model did not make the list."
    )
    experts: list[list[int]] = Field(description="The experts that were awake, layer by layer.")


class Fallback(BaseModel):
    """Why the model did not make the list."""

    code: str = Field(
        description="`anonymous`, `unknown_user`, `empty_history`, `no_known_items`, `unknown_item`, "
        "`engine_unavailable` or `engine_error`.",
        examples=["unknown_user"],
    )
    reason: str


class Timings(BaseModel):
    """Milliseconds that the answer took."""

    total: float
    engine: float | None


class Recommendations(BaseModel):
    """A ranked list, and how it came about."""

    recommendation_id: str
    items: list[RecommendedItem]
    model: ModelInfo
    fallback: Fallback | None
    degraded: Literal["popular", "fewer_experts", "rerouted"] | None = Field(
        description="What was given instead: `popular` items because of a fault; the model's list with "
        "`fewer_experts` because of load, or `rerouted` past an expert with too much work. "
        "Null while all is well."
    )
    cached: bool
    timings_ms: Timings


class EventIn(_In):
    """One user did something with one item."""

    event_id: Id | None = None
    """Your name of the event: sent twice, it counts once. Made here if you give none."""

    user_id: Id
    item_id: Id
    timestamp: Timestamp | None = None
    """When it happened; now if you give none."""

    type: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=_NO_CONTROLS)] = (
        DEFAULT_EVENT_TYPE
    )
    """What the user did, in your words: view, click, purchase, rating ..."""

    value: (
        Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST_VALUE, le=LARGEST_VALUE)] | None
    ) = None
    """A rating or a weight, where there is one."""


class EventFault(BaseModel):
    """An event of a batch that is not taken, in place of that event."""

    code: Literal["invalid_event", "rate_limited"] = "invalid_event"
    message: str


def _keep_fault(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(value)
    except ValidationError as error:
        return EventFault(
            message="; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'event'}: {plain(fault['msg'])}"
                for fault in error.errors(
                    include_url=False, include_context=False, include_input=False
                )
            )
        )


def plain(message: str) -> str:
    """A message of pydantic without its technical beginning."""
    return message.removeprefix("Value error, ")


class EventBatchIn(_In):
    """Up to 500 events. A faulty one is rejected by its index, the others are stored."""

    events: Annotated[
        list[Annotated[EventIn, WrapValidator(_keep_fault)]],
        Field(min_length=1, max_length=MOST_EVENTS),
    ]


def _one_or_many(body: Any) -> str:  # noqa: ANN401 - any JSON value
    given = body if isinstance(body, dict) else {}
    return "batch" if "events" in given else "event"


EventsIn = Annotated[
    Annotated[EventIn, Tag("event")] | Annotated[EventBatchIn, Tag("batch")],
    Discriminator(_one_or_many),
]


class EventResult(BaseModel):
    """An event that is durable now."""

    event_id: str
    status: Literal["accepted", "duplicate"]
    number: int = Field(
        description="The event's number within its user: 1, 2, 3 ... without holes."
    )


class RejectedEvent(BaseModel):
    """An event that was not stored."""

    index: int = Field(description="Place in the request, from 0.")
    code: Literal["invalid_event", "event_id_conflict", "rate_limited"]
    message: str


class EventsOut(BaseModel):
    """What became of the events, in the order of the request."""

    results: list[EventResult]
    rejected: list[RejectedEvent]


class Live(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Everything that answers need is there."""

    status: Literal["ready"] = "ready"
    model_version: str
    engines: Annotated[
        dict[str, str],
        Field(description="By engine: the model version that it serves, or why it is not asked."),
    ]


class FieldFault(BaseModel):
    """What is wrong with one field."""

    field: str
    message: str


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str | None
    errors: list[FieldFault] = []
