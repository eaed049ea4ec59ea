"""Items that come and go under the engine's users."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from moerec.artifacts.bundle import Bundle, UserSample
from moerec.engine.engine import MOST_FRESH, Engine
from moerec.engine.index import LEAST_ITEMS
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.frames import (
    InfoReply,
    InfoRequest,
    ItemsPush,
    ItemsReply,
    ListReply,
    RecommendRequest,
    SimilarRequest,
)
from moerec.types import Event, ItemChange, ItemField, ItemId, UserId
from tests.engine.test_engine import ids, put
from tests.tiny import tiny_bundle

ITEMS = 40


@pytest.fixture(scope="module", params=[0.0, 1.5], ids=["one head", "two heads"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Items i39 and i40 are without events."""
    path = tmp_path_factory.mktemp("bundle") / "b"
    return tiny_bundle(path, ITEMS, liked_weight=request.param, groups=4)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


@pytest.fixture
def engine(bundle: Bundle, store: EventStore) -> Engine:
    return engine_of(bundle, store)


def engine_of(bundle: Bundle, store: EventStore, *changes: ItemChange) -> Engine:
    made = Engine(bundle, store, stored=np.float32)
    made.change_items(changes)
    return made


def came(number: int, item_id: str, **fields: ItemField) -> ItemChange:
    return ItemChange(number, ItemId(item_id), fields)


def went(number: int, item_id: str) -> ItemChange:
    return ItemChange(number, ItemId(item_id), None, removed=True)


def asked(engine: Engine, users: Sequence[str], k: int = 60) -> list[ListReply]:
    found = engine.answer([RecommendRequest(user, None, k) for user in users])
    return [reply for reply in found if isinstance(reply, ListReply)]


def assert_same(ours: Sequence[ListReply], theirs: Sequence[ListReply]) -> None:
    for one, other in zip(ours, theirs, strict=True):
        assert one.fallback == other.fallback
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
        assert one.item_ids == other.item_ids
        assert one.experts == other.experts


def test_a_new_item_is_recommended_and_a_removed_one_is_not(
    engine: Engine, store: EventStore
) -> None:
    put(store, "ann", ["i3", "i7"])
    (before,) = asked(engine, ["ann"])
    assert len(before.item_ids) == ITEMS - 2
    engine.change_items([came(1, "new", group="g2"), went(2, "i9")])
    (after,) = asked(engine, ["ann"])
    assert set(after.item_ids) - set(before.item_ids) == {"new"}
    assert set(before.item_ids) - set(after.item_ids) == {"i9"}
    (similar,) = engine.answer([SimilarRequest("i3", 60)])
    assert "new" in ids(similar)
    assert "i9" not in ids(similar)
    (of_new,) = engine.answer([SimilarRequest("new", 60)])
    assert len(ids(of_new)) == ITEMS - 1
    (of_gone,) = engine.answer([SimilarRequest("i9", 60)])
    assert len(ids(of_gone)) == ITEMS


def test_who_is_asked_for_leaves_out_a_new_item_too(engine: Engine) -> None:
    engine.change_items([came(1, "new", group="g2")])
    (reply,) = engine.answer([RecommendRequest(None, ["i3", "new"], 60, exclude=["i4"])])
    assert set(ids(reply)).isdisjoint({"i3", "new", "i4"})
    assert isinstance(reply, ListReply)
    assert reply.history_length == 2


def test_a_new_item_in_a_history_is_streamed_as_it_is_replayed(
    engine: Engine, store: EventStore, bundle: Bundle
) -> None:
    changes = [came(1, "new", group="g2"), came(2, "other", group="g1")]
    engine.change_items(changes)
    put(store, "ann", ["i3", "i7"])
    asked(engine, ["ann"])
    for item in ("new", "i5", "other", "new", "i6"):
        engine.answer(put(store, "ann", [item]))
        assert_same(asked(engine, ["ann"]), asked(engine_of(bundle, store, *changes), ["ann"]))


def test_what_was_removed_still_counts_in_histories_after_a_restart(
    engine: Engine, store: EventStore, bundle: Bundle
) -> None:
    put(store, "ann", ["i3", "new", "i7"])
    engine.change_items([came(1, "new", group="g2")])
    removal = ItemChange(2, ItemId("new"), {"group": "g2"}, removed=True)
    engine.change_items([removal])
    before = asked(engine, ["ann"])
    assert before[0].history_length == 3
    assert_same(before, asked(engine_of(bundle, store, removal), ["ann"]))


def test_events_that_came_before_their_item_count_from_then_on(
    engine: Engine, store: EventStore, bundle: Bundle
) -> None:
    """Pushed ones, and those that were read from the table; who had none of them is not read anew."""
    put(store, "ann", ["i3", "new", "i7"])
    put(store, "bob", ["i3"])
    put(store, "eve", ["i1"])
    put(store, "joe", ["new"])
    users = ["ann", "bob", "eve", "joe"]
    asked(engine, users)
    engine.answer(put(store, "bob", ["new"]))
    assert [reply.fallback for reply in asked(engine, users)] == [None] * 3 + ["no_known_items"]
    read = read_states(engine)
    change = came(1, "new", group="g2")
    engine.change_items([change])
    after = asked(engine, users)
    assert_same(after, asked(engine_of(bundle, store, change), users))
    assert [reply.history_length for reply in after] == [3, 2, 1, 1]
    assert all("new" not in reply.item_ids for place, reply in enumerate(after) if place != 2)
    assert read_states(engine) == read + 3


def test_who_has_met_many_unknown_items_is_read_anew(
    engine: Engine, store: EventStore, bundle: Bundle
) -> None:
    """More than are remembered, and further back than the model reads: the item must not be in the list."""
    put(store, "ann", ["new", "i3", *[f"strange{n}" for n in range(100)], *["i4"] * 200])
    asked(engine, ["ann"])
    change = came(1, "new", group="g2")
    engine.change_items([change])
    (after,) = asked(engine, ["ann"])
    assert "new" not in after.item_ids
    assert_same([after], asked(engine_of(bundle, store, change), ["ann"]))


def test_other_content_counts_in_every_history(
    engine: Engine, store: EventStore, bundle: Bundle
) -> None:
    put(store, "ann", ["i3", "new", "i40", "i7"])
    put(store, "bob", ["i3"])
    engine.change_items([came(1, "new", group="g2")])
    before = asked(engine, ["ann"])
    asked(engine, ["bob"])
    read = read_states(engine)
    changes = [came(2, "new", group="g1"), came(3, "i40", group="g0")]
    engine.change_items(changes)
    after = asked(engine, ["ann"])
    asked(engine, ["bob"])
    assert read_states(engine) == read + 1
    assert_same(after, asked(engine_of(bundle, store, *changes), ["ann"]))
    assert after[0].scores != pytest.approx(before[0].scores, abs=1e-5)


def test_content_that_cannot_be_read_stops_no_other_change(engine: Engine) -> None:
    """It raised, and the same page was tried again and again."""
    engine.change_items([came(1, "bad", group="\ud800"), came(2, "new", group="g2")])
    assert engine.answer([ItemsPush(2)]) == [ItemsReply(2)]
    (of_new,) = engine.answer([SimilarRequest("new", 60)])
    assert len(ids(of_new)) == ITEMS + 1


def test_a_gateway_that_tells_of_changes_is_told_how_far_the_engine_is(
    bundle: Bundle, store: EventStore
) -> None:
    told = threading.Event()
    engine = Engine(bundle, store, when_told=told.set)
    assert engine.answer([ItemsPush(7)]) == [ItemsReply(0)]
    assert told.is_set()
    engine.change_items([came(7, "new"), went(9, "i3"), went(11, "nobody")])
    assert engine.answer([ItemsPush(11)]) == [ItemsReply(11)]
    (info,) = engine.answer([InfoRequest()])
    assert isinstance(info, InfoReply)
    assert info.items == ITEMS
    assert info.counters["items_added"] == 1
    assert info.counters["items_removed"] == 1


def test_requests_and_changes_at_once(bundle: Bundle, store: EventStore) -> None:
    """Every list is one that was right before or after a change."""
    engine = engine_of(bundle, store)
    put(store, "ann", ["i3", "i7"])
    stop = threading.Event()
    wrong: list[object] = []

    def ask() -> None:
        while not stop.is_set():
            (reply,) = engine.answer([RecommendRequest("ann", None, 2_000)])
            found = ids(reply)
            new = {f"n{n}" for n in range(1, len(found) - ITEMS + 2)}
            if len(set(found)) < len(found) or not new <= set(found):
                wrong.append(reply)

    asking = threading.Thread(target=ask)
    asking.start()
    for number in range(1, 1_500, 50):
        engine.change_items([came(n, f"n{n}", group="g1") for n in range(number, number + 50)])
    stop.set()
    asking.join()
    assert not wrong
    (last,) = asked(engine, ["ann"], 2_000)
    assert len(last.item_ids) == ITEMS - 2 + 1_500


def read_states(engine: Engine) -> float:
    return engine_figures(engine)["states_read"]


def engine_figures(engine: Engine) -> dict[str, float]:
    (info,) = engine.answer([InfoRequest()])
    assert isinstance(info, InfoReply)
    return info.counters


def test_a_history_of_removed_items_is_still_one(engine: Engine, store: EventStore) -> None:
    store.append([Event("a", UserId("ann"), ItemId("i3"), 5)])
    engine.change_items([went(1, "i3")])
    (reply,) = asked(engine, ["ann"])
    assert reply.fallback is None
    assert "i3" not in reply.item_ids


def test_an_index_is_made_anew_when_many_items_came(tmp_path: Path, store: EventStore) -> None:
    """Until then they are compared one by one, and afterwards they are in its cells."""
    draw = np.random.default_rng(0)
    vectors = draw.normal(size=(2_000, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    recent = draw.integers(1, LEAST_ITEMS, (2_000, 10))
    sample = UserSample(vectors.astype(np.float16), recent.astype(np.int32))
    size = LEAST_ITEMS + 100
    large = tiny_bundle(tmp_path / "large", size, groups=200, users=sample)
    exact = engine_of(tiny_bundle(tmp_path / "same", size, groups=200), store)
    engine = engine_of(large, store)
    changes = [came(n, f"n{n}", group=f"g{n % 200}") for n in range(1, MOST_FRESH + 2)]
    for one in (engine, exact):
        one.change_items(changes[:-1])
        assert not one.index_is_due
        one.change_items([*changes[-1:], went(MOST_FRESH + 2, "n1"), went(MOST_FRESH + 3, "i1")])
    assert engine.index_is_due
    histories = [[f"i{n}", f"i{size - n}", f"n{n}"] for n in range(1, 61)]
    wanted = lists_of(exact, histories)
    assert overlap(lists_of(engine, histories), wanted) > 0.98
    engine.make_index_anew()
    assert not engine.index_is_due
    assert engine_figures(engine)["indexes_made"] == 1
    found = lists_of(engine, histories)
    assert overlap(found, wanted) > 0.98
    listed = {item for one in found for item in one}
    assert listed.isdisjoint({"n1", "i1"})
    assert any(item.startswith("n") for item in listed)


def lists_of(engine: Engine, histories: Sequence[list[str]]) -> list[list[str]]:
    return [
        ids(each) for each in engine.answer([RecommendRequest(None, h, 100) for h in histories])
    ]


def overlap(ours: Sequence[list[str]], theirs: Sequence[list[str]]) -> float:
    return float(np.mean([len({*a} & {*b}) / len(b) for a, b in zip(ours, theirs, strict=True)]))
