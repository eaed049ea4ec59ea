"""How soon an acknowledged event is in the answers, while the service is under load."""

import threading
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
import numpy as np

from moerec.loadtest.checks import Answer
from moerec.loadtest.plan import Plan
from moerec.loadtest.requests import EVENTS_PATH, read_path
from moerec.loadtest.service import Client
from moerec.loadtest.traffic import draw_users
from moerec.loadtest.users import user_id

PAUSE_S: Final = 0.02
"""Between two events, so that asking is no load of its own."""

PATIENCE_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Freshness:
    """Milliseconds from an event's acknowledgement to the end of the first answer that reflects it.

    `at_once` of the `events` were reflected by the first answer that was asked for; `never` is how many
    were not within `PATIENCE_S`.
    """

    events: int
    at_once: int
    never: int
    p50_ms: float
    p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


class Watch:
    """Posts an event with the first item of a user's list, and asks until the item has left the list."""

    def __init__(self, plan: Plan, client: Client) -> None:
        self._plan = plan
        self._client = client
        self._times: list[float] = []
        self._at_once = 0
        self._never = 0

    def run(self, stop: threading.Event) -> Freshness:
        """Until `stop`, at least once; raises what `Client` does."""
        draw = np.random.default_rng([self._plan.seed, 8])
        while True:
            self._once(user_id(int(draw_users(self._plan, draw, 1)[0])))
            if stop.wait(PAUSE_S):
                return self._found()

    def _once(self, user: str) -> None:
        before = self._items(user)
        if not before:
            return
        self._client.post(EVENTS_PATH, {"user_id": user, "item_id": before[0]})
        acknowledged = time.perf_counter()
        asked = 0
        while time.perf_counter() - acknowledged < PATIENCE_S:
            asked += 1
            if before[0] not in self._items(user):
                self._times.append((time.perf_counter() - acknowledged) * 1e3)
                self._at_once += asked == 1
                return
        self._never += 1

    def _items(self, user: str) -> list[str]:
        body = self._client.get(read_path(user, self._plan.k))
        return [item.item_id for item in msgspec.json.decode(body, type=Answer).items]

    def _found(self) -> Freshness:
        times = self._times or [float("nan")]
        p50, p99 = np.percentile(times, [50, 99]).tolist()
        return Freshness(len(self._times) + self._never, self._at_once, self._never, p50, p99)
