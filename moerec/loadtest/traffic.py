"""Which requests come: drawn once, written to a file that every generator reads, and repeated from there.

A line is `user` or `user TAB item`: a read, or a new event. Items stand as JSON strings.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from moerec.loadtest.plan import UNIFORM, Mix, Plan, Target
from moerec.loadtest.synthetic import zipf
from moerec.loadtest.users import user_id

DRAWN: Final = 200_000
"""Requests of a file; a load that needs more begins it again. Its events are new ones each time, as
the gateway gives them their ids."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a list for `user`, or an event of theirs with the `item` (a JSON string)."""

    user: str
    item: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether it asks for a list."""
        return self.item is None


def popular_users(plan: Plan) -> NDArray[np.int64]:
    """The numbers of the users of the skewed part, the most frequent first; anywhere in the store."""
    draw = np.random.default_rng([plan.seed, 4])
    return draw.choice(plan.users, plan.zipf_users, replace=False, shuffle=True)


def draw_users(plan: Plan, draw: np.random.Generator, count: int) -> NDArray[np.int64]:
    """Users of so many requests."""
    skewed = popular_users(plan)[zipf(draw, plan.zipf_users, count)]
    return np.where(draw.random(count) < UNIFORM, draw.integers(plan.users, size=count), skewed)


def draw_asks(
    plan: Plan, mix: Mix, catalogue: Sequence[str], phase: int, count: int = DRAWN
) -> list[Ask]:
    """So many requests; another `phase` draws others."""
    draw = np.random.default_rng([plan.seed, 5, phase])
    users = draw_users(plan, draw, count).tolist()
    events = (draw.random(count) * sum(mix) >= mix[0]).tolist()
    items = draw.integers(len(catalogue), size=count).tolist()
    return [
        Ask(user_id(user), json.dumps(catalogue[item]) if event else None)
        for user, event, item in zip(users, events, items, strict=True)
    ]


def write_asks(path: Path, asks: Iterable[Ask]) -> None:
    """The file of a load."""
    lines = (ask.user if ask.item is None else f"{ask.user}\t{ask.item}" for ask in asks)
    path.write_text("\n".join(lines) + "\n")


def read_asks(path: Path) -> list[Ask]:
    """The inverse of `write_asks`."""
    parts = (line.partition("\t") for line in path.read_text().splitlines())
    return [Ask(user, item or None) for user, _, item in parts]


def read_path(user: str, k: int) -> str:
    """The URL's path of a list."""
    return f"/v1/users/{user}/recommendations?k={k}"


EVENTS_PATH: Final = "/v1/events"


def event_body(ask: Ask) -> str:
    """The JSON of an event without id and time: the gateway makes both, so that it is always new."""
    return f'{{"user_id":"{ask.user}","item_id":{ask.item}}}'


def raw_request(ask: Ask, target: Target, k: int) -> bytes:
    """The bytes of a request over HTTP/1.1."""
    more = "".join(f"{name}: {value}\r\n" for name, value in target.headers().items())
    host = f"Host: {target.host}:{target.port}\r\n{more}"
    if ask.is_read:
        return f"GET {read_path(ask.user, k)} HTTP/1.1\r\n{host}\r\n".encode()
    body = event_body(ask).encode()
    head = (
        f"POST {EVENTS_PATH} HTTP/1.1\r\n{host}Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
