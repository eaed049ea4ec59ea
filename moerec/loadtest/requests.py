"""One request: as a line of the file that every generator reads, and as the bytes of HTTP.

A line is `user` or `user TAB item`: a read, or a new event. Items stand as JSON strings.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from moerec.loadtest.plan import Target

EVENTS_PATH: Final = "/v1/events"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: a list for `user`, or an event of theirs with the `item` (a JSON string)."""

    user: str
    item: str | None = None

    @property
    def is_read(self) -> bool:
        """Whether it asks for a list."""
        return self.item is None


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
