"""Are the answers right? Lists under load are looked at for their form, fresh ones for their content."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import msgspec
import numpy as np

from moerec.artifacts.bundle import Bundle
from moerec.data.sequences import History
from moerec.evaluation.evaluate import top_items
from moerec.evaluation.model_scorer import ModelScorer
from moerec.loadtest.generator import Kept
from moerec.loadtest.plan import Plan
from moerec.loadtest.requests import read_path
from moerec.loadtest.service import Client, Service
from moerec.loadtest.traffic import draw_users
from moerec.loadtest.users import user_id
from moerec.models.attention import WindowAttention
from moerec.models.loading import choose_device, load_model
from moerec.store.interfaces import EventStore
from moerec.types import UserId

HISTORY: Final = 10_000
"""Newest events of a user that a list is made from and kept clear of."""

TOLERANCE: Final = 1e-4
"""Between a score as it was served and the reference's; nearer ones may stand in either order."""

ROUNDED_TOLERANCE: Final = 0.02
"""The same where states are kept in 8 bits: a coordinate between two steps may go to either of them."""

AT_ONCE: Final = 16


class Listed(msgspec.Struct):
    """One place of a list, as far as it matters here."""

    item_id: str
    score: float


class Answer(msgspec.Struct):
    """A list, as far as it matters here."""

    items: list[Listed]


_answer = msgspec.json.Decoder(Answer)


@dataclass(frozen=True, slots=True)
class Form:
    """Lists made under load: `wrong` did not have k different items, or had one seen before the load."""

    lists: int
    wrong: int
    mean_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Content:
    """Fresh lists beside the reference's: `equal` item by item, `close` within `tolerance`, `different`."""

    lists: int
    equal: int
    close: int
    different: int
    tolerance: float = TOLERANCE

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def check_form(kept: Sequence[Kept], k: int, store: EventStore, before: int) -> Form:
    """Look at lists that came under load; what a user saw up to the table number `before` must not be in
    theirs. A later event may have come after the list."""
    wrong = 0
    for each in kept:
        items = [item.item_id for item in _answer.decode(each.body).items]
        seen = {
            stored.event.item_id
            for stored in store.history(UserId(each.user), HISTORY)
            if stored.table_number <= before
        }
        wrong += len(set(items)) != k or not seen.isdisjoint(items)
    sizes = [len(each.body) for each in kept]
    return Form(len(kept), wrong, float(np.mean(sizes)) if sizes else 0.0)


def check_content(
    plan: Plan, service: Service, bundle: Bundle, store: EventStore, lists: int
) -> Content:
    """Ask for lists of users drawn as in the load, one at a time while nobody else asks, and make each
    anew from the stored history by the model's own code, which rounds as the engine does."""
    draw = np.random.default_rng([plan.seed, 7])
    users = [user_id(number) for number in draw_users(plan, draw, lists).tolist()]
    model = load_model(bundle.config, bundle.weights())
    rounded = service.state_type == "int8" and choose_device(service.device).type == "cpu"
    for module in model.modules():
        if isinstance(module, WindowAttention):
            module.rounds = rounded
    scorer = ModelScorer(model)
    tolerance = ROUNDED_TOLERANCE if rounded else TOLERANCE
    counts = {"equal": 0, "close": 0, "different": 0}
    with Client(service.target) as client:
        for first in range(0, len(users), AT_ONCE):
            some = users[first : first + AT_ONCE]
            served = [_answer.decode(client.get(read_path(user, plan.k))).items for user in some]
            histories = [_history(bundle, store, user) for user in some]
            scores = scorer.scores(histories, [history.items for history in histories])
            best = top_items(scores, histories, plan.k)
            for items, row, wanted in zip(served, scores, best, strict=True):
                counts[compare(bundle, items, row, wanted, tolerance)] += 1
    return Content(len(users), **counts, tolerance=tolerance)


def compare(
    bundle: Bundle,
    served: Sequence[Listed],
    scores: np.ndarray[Any, np.dtype[np.float32]],
    wanted: np.ndarray[Any, np.dtype[np.int32]],
    tolerance: float = TOLERANCE,
) -> str:
    """ "equal", "close" or "different": a served list beside all `scores` [V + 1] and the best items."""
    indexes = bundle.id_map.indexes([item.item_id for item in served])
    gaps = np.abs(scores[indexes] - np.array([item.score for item in served], np.float32))
    if len(served) != len(wanted) or not (gaps <= tolerance).all():
        return "different"
    if (indexes == wanted).all():
        return "equal"
    near = np.abs(scores[indexes] - scores[wanted]) <= tolerance
    return "close" if near.all() and len(set(indexes.tolist())) == len(wanted) else "different"


def _history(bundle: Bundle, store: EventStore, user: UserId) -> History:
    events = [stored.event for stored in store.history(user, HISTORY)]
    values = [np.nan if event.value is None else event.value for event in events]
    return History(
        bundle.id_map.indexes([event.item_id for event in events]),
        np.array([event.timestamp_ms for event in events], np.int64),
        np.array(values, np.float32),
    ).known()
