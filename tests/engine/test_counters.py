"""What the engine says of its own work is what was done."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from moerec.artifacts.bundle import Bundle
from moerec.engine.engine import Engine
from moerec.engine.kernels.rows import bytes_a_user
from moerec.models.config import ModelConfig
from moerec.observability.metrics import ENGINE_COUNTERS, ENGINE_GAUGES
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.frames import (
    FRAME_LIMIT,
    EventPush,
    InfoReply,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Request,
)
from moerec.types import Event, ItemId, UserId
from tests.tiny import tiny_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


def put(store: EventStore, user: str, *items: str) -> EventPush:
    """The push of the last one."""
    first = store.last_number() + 1
    for number, item in enumerate(items, start=first):
        event = Event(f"e{number}", UserId(user), ItemId(item), 1_000 + number)
        (done,) = store.append([event])
    return EventPush(user, item, event.timestamp_ms, done.user_number, done.table_number)


def counted(engine: Engine) -> dict[str, float]:
    (reply,) = engine.answer([InfoRequest()])
    assert isinstance(reply, InfoReply)
    return reply.counters


def wish(user: str) -> RecommendRequest:
    return RecommendRequest(user, None, 3)


def test_hot_read_streamed_and_remembered_are_told_apart(bundle: Bundle, store: EventStore) -> None:
    engine = Engine(bundle, store)
    put(store, "ann", "i1", "i2", "i3")
    engine.answer([wish("ann"), wish("nobody")])
    engine.answer([wish("ann")])
    engine.answer([put(store, "ann", "i4"), wish("ann"), wish("ann")])
    found = counted(engine)
    # The frame that asks for them counts itself afterwards.
    assert (found["frames"], found["requests"]) == (3, 6)
    assert (found["states_read"], found["states_hot"], found["states_evicted"]) == (2, 3, 0)
    assert (found["answers_computed"], found["answers_memo"]) == (2, 2)
    assert (found["rows_encoded"], found["events_streamed"]) == (4, 1)
    assert found["users_hot"] == 2
    assert found["busy_seconds"] > 0


def test_without_the_memo_no_answer_is_remembered_and_none_changes(
    bundle: Bundle, store: EventStore
) -> None:
    engine, other = Engine(bundle, store, memo=False), Engine(bundle, store)
    put(store, "ann", "i1", "i2", "i3")
    put(store, "bob", "i7")
    frame: list[Request] = [wish("ann"), wish("bob"), wish("ann")]
    for news in ("bob", "ann"):
        push = put(store, news, "i4")
        ours, theirs = (each.answer([push, *frame]) for each in (engine, other))
        assert [replace(each, engine_ms=0.0) for each in ours if isinstance(each, ListReply)] == [
            replace(each, engine_ms=0.0) for each in theirs if isinstance(each, ListReply)
        ]
    found = counted(engine)
    assert (found["answers_computed"], found["answers_memo"]) == (6, 0)
    assert (found["rows_encoded"], found["events_streamed"]) == (6, 1)


def test_the_arena_is_measured_in_slots_and_bytes(bundle: Bundle, store: EventStore) -> None:
    engine = Engine(bundle, store, arena_bytes=1)
    size = bytes_a_user(ModelConfig.from_dict(bundle.config))
    for user in range(FRAME_LIMIT + 6):
        put(store, f"user{user}", "i1")
    users: list[Request] = [wish(f"user{user}") for user in range(FRAME_LIMIT + 6)]
    engine.answer(users)
    found = counted(engine)
    assert (found["users_hot"], found["states_evicted"]) == (FRAME_LIMIT, 6)
    assert found["slots"] == 2 * FRAME_LIMIT
    assert found["arena_used_bytes"] == FRAME_LIMIT * size
    assert found["arena_limit_bytes"] == 2 * FRAME_LIMIT * size
    engine.forget_users()
    assert counted(engine)["arena_used_bytes"] == 0


def test_each_figure_has_its_metric(bundle: Bundle, store: EventStore) -> None:
    names = {name.partition("/")[0] for name in counted(Engine(bundle, store))}
    assert names == {*ENGINE_GAUGES, *ENGINE_COUNTERS}
