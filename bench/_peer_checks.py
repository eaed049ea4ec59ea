"""Are the answers of `peers.py` right, and do they know of the last click? Beside their own libraries."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from _peer_process import Histories, Peer, offline

from moerec.loadtest.checks import Answer, Content, Listed
from moerec.loadtest.plan import Plan, Target
from moerec.loadtest.requests import EVENTS_PATH, read_path
from moerec.loadtest.service import Client
from moerec.loadtest.traffic import draw_users
from moerec.loadtest.users import user_id

AT_ONCE: Final = 8
"""Clients that ask side by side: what is batched under load is batched here."""

TOLERANCE: Final = 1e-4
"""Of the list's highest score; nearer ones may stand in either order."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A user's list, and the list after an event on its first item."""

    user: int
    before: list[Listed]
    after: list[Listed]

    @property
    def moved(self) -> bool:
        """Whether the event did more than take its own item off the list."""
        return [item.item_id for item in self.after[:-1]] != [
            item.item_id for item in self.before[1:]
        ]


@dataclass(frozen=True, slots=True)
class Checked:
    """`moved` of `clicks` lists took a click in (`Exchange.moved`); the rest as in `Content`."""

    clicks: int
    moved: int
    content: Content

    @property
    def knows_last_click(self) -> bool:
        """Whether the click is in the answers, and they are right."""
        return self.moved > self.clicks // 2 and not self.content.different

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self) | {"knows_last_click": self.knows_last_click}


def checked_users(plan: Plan, lists: int) -> list[int]:
    """The users that `check_content` asks for, each once."""
    drawn = draw_users(plan, np.random.default_rng([plan.seed, 7]), lists)
    return sorted(set(drawn.tolist()))


def exchanges(target: Target, users: Sequence[int], k: int) -> list[Exchange]:
    """List, event, list for each user; `AT_ONCE` users at a time. Raises what `Client` does."""

    def some(first: int) -> list[Exchange]:
        with Client(target) as client:
            return [_exchange(client, user, k) for user in users[first::AT_ONCE]]

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return [each for found in threads.map(some, range(AT_ONCE)) for each in found]


def _exchange(client: Client, user: int, k: int) -> Exchange:
    path = read_path(user_id(user), k)
    before = msgspec.json.decode(client.get(path), type=Answer).items
    client.post(EVENTS_PATH, {"user_id": user_id(user), "item_id": before[0].item_id})
    return Exchange(user, before, msgspec.json.decode(client.get(path), type=Answer).items)


def check_peer(
    peer: Peer,
    folder: Path,
    found: Sequence[Exchange],
    histories: Histories,
    items: Sequence[str],
    k: int,
) -> Checked:
    """Both lists of each exchange beside the library's own, for the history before and after the event.

    `items` are the ids in the order of the histories' numbers.
    """
    places = {item: place for place, item in enumerate(items)}
    asked, served = [], []
    for each in found:
        history = histories[each.user]
        clicked = places[each.before[0].item_id]
        asked += [(each.user, history), (each.user, [*history, clicked])]
        served += [each.before, each.after]
    wanted = offline(peer, folder, asked, k)
    counts = {"equal": 0, "close": 0, "different": 0}
    for listed, ids, scores in zip(served, wanted["items"], wanted["scores"], strict=True):
        counts[compare(listed, ids, scores)] += 1
    moved = sum(each.moved for each in found)
    return Checked(len(found), moved, Content(len(served), **counts, tolerance=TOLERANCE))


def compare(served: Sequence[Listed], ids: Sequence[str], scores: Sequence[float]) -> str:
    """ "equal", "close" (other items, of the same scores) or "different"."""
    if len(served) != len(ids) or len({item.item_id for item in served}) != len(ids):
        return "different"
    gaps = np.abs(np.array([item.score for item in served]) - np.array(scores))
    if not (gaps <= TOLERANCE * np.abs(scores).max()).all():
        return "different"
    return "equal" if [item.item_id for item in served] == list(ids) else "close"
