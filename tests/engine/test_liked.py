"""Live lists that mind what will be liked are the offline ones, from the same values."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from moerec.artifacts.bundle import Bundle
from moerec.data.sequences import History
from moerec.engine.engine import Engine
from moerec.models.events import Events
from moerec.models.loading import load_model
from moerec.recommender import Recommender
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.frames import EventPush, ListReply, RecommendRequest
from moerec.types import Event, ItemId, UserId
from tests.tiny import tiny_bundle

VALUES = [5.0, None, 1.0, 4.0, 2.0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", liked_weight=2.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


def append(store: EventStore, user: str, values: list[float | None], first: int = 1) -> EventPush:
    """One event of items i1, i2, ... for each value; the push of the last one."""
    events = [
        Event(f"{user}{number}", UserId(user), ItemId(f"i{number}"), 1_000 + number, value=value)
        for number, value in enumerate(values, start=first)
    ]
    done = store.append(events)[-1]
    last = events[-1]
    return EventPush(
        user,
        last.item_id,
        last.timestamp_ms,
        done.user_number,
        done.table_number,
        value=last.value,
    )


def offline(
    bundle: Bundle, values: list[float | None], *, exclude_seen: bool = True
) -> list[tuple[str, float]]:
    count = len(values)
    history = History(
        np.arange(1, count + 1, dtype=np.int32),
        1_000 + np.arange(1, count + 1),
        np.array([np.nan if value is None else value for value in values], np.float32),
    )
    found = Recommender(bundle).recommend_for(history, k=10, exclude_seen=exclude_seen)
    return [(item.item_id, item.score) for item in found]


def live(engine: Engine, *users: str, exclude_seen: bool = True) -> list[list[tuple[str, float]]]:
    replies = engine.answer(
        [RecommendRequest(user, None, 10, exclude_seen=exclude_seen) for user in users]
    )
    lists = []
    for reply in replies:
        assert isinstance(reply, ListReply)
        lists.append(list(zip(reply.item_ids, reply.scores, strict=True)))
    return lists


def assert_alike(one: list[tuple[str, float]], other: list[tuple[str, float]]) -> None:
    assert [item for item, _ in one] == [item for item, _ in other]
    assert [score for _, score in one] == pytest.approx([score for _, score in other], abs=1e-4)


def test_live_lists_are_the_offline_ones(bundle: Bundle, store: EventStore) -> None:
    append(store, "ann", VALUES)
    append(store, "bob", [None] * 5)
    ann, bob = live(Engine(bundle, store, stored=np.float32), "ann", "bob")
    assert_alike(ann, offline(bundle, VALUES))
    assert_alike(bob, offline(bundle, [None] * 5))
    assert ann != bob


def test_a_new_value_changes_the_next_list(bundle: Bundle, store: EventStore) -> None:
    """Also where the user's state was at hand already."""
    append(store, "ann", VALUES)
    engine = Engine(bundle, store, stored=np.float32)
    live(engine, "ann")
    engine.answer([append(store, "ann", [1.0], first=6)])
    (lengthened,) = live(engine, "ann")
    assert_alike(lengthened, offline(bundle, [*VALUES, 1.0]))
    assert offline(bundle, [*VALUES, 5.0]) != offline(bundle, [*VALUES, 1.0])


def test_an_answer_does_not_depend_on_its_batch(bundle: Bundle, store: EventStore) -> None:
    for user in range(6):
        append(store, f"user{user}", [*VALUES[: user + 1], float(user % 5 + 1)])
    users = [f"user{user}" for user in range(6)]
    together = live(Engine(bundle, store, stored=np.float32), *users)
    for user, listed in zip(users, together, strict=True):
        assert_alike(live(Engine(bundle, store, stored=np.float32), user)[0], listed)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_a_long_history_leaves_before_the_best_are_re_ranked(
    tmp_path: Path, store: EventStore, exclude_seen: bool
) -> None:
    """What a user had seen filled places among the 200 best that "liked" puts into a new order: who had
    seen them all got a list that did not mind "liked" at all. Live and offline alike."""
    bundle = tiny_bundle(tmp_path / "b", items=500, liked_weight=2.0)
    values = [float(place % 5 + 1) for place in range(260)]
    append(store, "ann", values)
    (ann,) = live(Engine(bundle, store, stored=np.float32), "ann", exclude_seen=exclude_seen)
    assert_alike(ann, offline(bundle, values, exclude_seen=exclude_seen))
    seen = {f"i{number}" for number in range(1, len(values) + 1)}
    assert seen.isdisjoint(item for item, _ in ann) == exclude_seen
    assert [item for item, _ in ann] == by_hand(bundle, values, seen if exclude_seen else set())


@torch.inference_mode()
def by_hand(bundle: Bundle, values: list[float], out: set[str]) -> list[str]:
    """The best ten of the best 200 that are not `out`, by score + 2 * temperature * log P(liked)."""
    model = load_model(bundle.config, bundle.weights())
    assert model.liked is not None
    items = torch.arange(1, len(values) + 1)
    ends = torch.tensor([len(values)])
    user = model.user_vectors(
        Events(items, 1_000 + items, torch.tensor(values)), torch.tensor([0]), ends
    )
    assert user.liked is not None
    scores = model.score(user.vectors, user.recent, model.item_vectors())[0]
    best = [
        item for item in scores.argsort(descending=True).tolist() if item and f"i{item}" not in out
    ][:200]
    logits = model.liked.logits(user.liked, torch.tensor([best]))[0]
    liked = 2.0 * model.config.temperature * torch.nn.functional.logsigmoid(logits)
    order = (scores[best] + liked).argsort(descending=True)[:10]
    return [f"i{best[place]}" for place in order.tolist()]
