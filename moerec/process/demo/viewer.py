"""A viewer of the demo: somebody who watches films and asks for lists, over HTTP like anybody else."""

import time
from dataclasses import dataclass
from typing import Any

from moerec.errors import ServiceError
from moerec.process.rest import Answer, Rest, segment
from moerec.types import ItemId, UserId

PATIENCE_S = 10.0
"""How long a list of the model is asked for again while the engine is away or busy."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list as the server gave it; `ms` is the round trip, `engine_ms` the engine's share of it."""

    item_ids: list[ItemId]
    titles: list[str | None]
    scores: list[float]
    fallback: dict[str, Any] | None
    experts: list[list[int]]
    ms: float
    engine_ms: float | None

    @classmethod
    def of(cls, answer: Answer) -> "Listing":
        """From the body of `/v1/users/.../recommendations` or `/v1/items/.../similar`."""
        body = answer.body
        return cls(
            [ItemId(item["item_id"]) for item in body["items"]],
            [item["title"] for item in body["items"]],
            [item["score"] for item in body["items"]],
            body["fallback"],
            body["model"]["experts"],
            answer.ms,
            body["timings_ms"]["engine"],
        )


@dataclass(frozen=True, slots=True)
class Viewer:
    """One user id. The paths and bodies are those that the printed curl lines show."""

    rest: Rest
    user_id: UserId

    def list_path(self, k: int) -> str:
        """Path of the viewer's list."""
        return f"/v1/users/{segment(self.user_id)}/recommendations?k={k}"

    def event(self, item_id: ItemId) -> dict[str, Any]:
        """Body of the event "watched this film"."""
        return {"user_id": self.user_id, "item_id": item_id, "type": "watch"}

    def ask(self, k: int) -> Listing:
        """The viewer's list; asks again while it is only a stand-in because the engine is away."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            answer = self.rest.get(self.list_path(k))
            if answer.body["degraded"] is None or time.monotonic() > deadline:
                return Listing.of(answer)
            time.sleep(0.1)

    def watch(self, item_id: ItemId) -> Answer:
        """Send the event; raises ServiceError if it was not accepted."""
        answer = self.rest.post("/v1/events", self.event(item_id))
        if answer.body["rejected"]:
            raise ServiceError(f"The event was rejected: {answer.body['rejected'][0]['message']}")
        return answer

    def similar(self, item_id: ItemId, k: int) -> Listing:
        """Films near to one."""
        return Listing.of(self.rest.get(f"/v1/items/{segment(item_id)}/similar?k={k}"))
