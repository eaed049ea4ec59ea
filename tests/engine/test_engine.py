"""The engine's answers, against the model called directly."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from moerec.artifacts.bundle import Bundle
from moerec.engine.engine import Engine
from moerec.models.loading import load_model
from moerec.store.interfaces import EventStore
from moerec.store.sql import open_event_store
from moerec.transport.frames import (
    ErrorReply,
    EventPush,
    EventReply,
    InfoReply,
    InfoRequest,
    ListReply,
    RecommendRequest,
    Request,
    SimilarRequest,
)
from moerec.types import Event, ItemId, UserId
from tests.tiny import item_events, tiny_bundle

ITEMS = 40


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return tiny_bundle(tmp_path_factory.mktemp("bundle") / "b", ITEMS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    yield store
    store.close()


@pytest.fixture
def engine(bundle: Bundle, store: EventStore) -> Engine:
    return Engine(bundle, store, stored=np.float32)


def put(store: EventStore, user_id: str, items: Sequence[str]) -> list[EventPush]:
    """Stores events after those that are there; the pushes that a gateway would send."""
    first = store.last_number() + 1
    events = [
        Event(f"e{number}", UserId(user_id), ItemId(item), 1_000 + number)
        for number, item in enumerate(items, start=first)
    ]
    return [
        EventPush(
            event.user_id, event.item_id, event.timestamp_ms, done.user_number, done.table_number
        )
        for event, done in zip(events, store.append(events), strict=True)
    ]


@torch.inference_mode()
def expected(
    bundle: Bundle, items: Sequence[str], k: int, exclude: Sequence[str] = ()
) -> list[str]:
    """The best k items by the model itself, for a history alone in its batch."""
    model = load_model(bundle.config, bundle.weights())
    history = item_events(torch.tensor([int(item[1:]) for item in items]))
    user = model.user_vectors(history, torch.tensor([0]), torch.tensor([len(items)]))
    scores = model.score(user.vectors, user.recent, model.item_vectors())[0]
    ranked = scores.argsort(descending=True).tolist()
    out = {0} | {int(item[1:]) for item in exclude}
    return [f"i{index}" for index in ranked if index not in out][:k]


def ids(reply: object) -> list[str]:
    assert isinstance(reply, ListReply), reply
    return reply.item_ids


def test_a_given_history_is_ranked_as_the_model_ranks_it(engine: Engine, bundle: Bundle) -> None:
    history = ["i3", "i7", "i11", "i7"]
    (reply,) = engine.answer([RecommendRequest(None, history, 5)])
    assert isinstance(reply, ListReply)
    assert ids(reply) == expected(bundle, history, 5, exclude=history)
    assert reply.fallback is None
    assert reply.history_length == 4
    assert reply.engine_ms > 0
    assert reply.scores == sorted(reply.scores, reverse=True)


def test_the_experts_that_were_awake_are_named_layer_by_layer(engine: Engine) -> None:
    (reply,) = engine.answer([RecommendRequest(None, ["i1", "i2"], 1)])
    assert isinstance(reply, ListReply)
    assert len(reply.experts) == 2
    for layer in reply.experts:
        assert 2 <= len(layer) <= 4
        assert layer == sorted(set(layer))
        assert set(layer) <= set(range(4))


def test_seen_and_excluded_items_stay_out_or_come_back_as_asked(
    engine: Engine, bundle: Bundle
) -> None:
    history = ["i3", "i7"]
    (all_items, seen_too, fewer) = engine.answer(
        [
            RecommendRequest(None, history, ITEMS),
            RecommendRequest(None, history, ITEMS, exclude_seen=False),
            RecommendRequest(None, history, ITEMS, exclude=["i9", "nobody knows this"]),
        ]
    )
    assert len(ids(all_items)) == ITEMS - 2
    assert ids(seen_too) == expected(bundle, history, ITEMS)
    assert ids(fewer) == expected(bundle, history, ITEMS, exclude=["i3", "i7", "i9"])


def test_a_stored_user_is_answered_from_the_table(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    put(store, "anna", ["i1", "i2", "i3"])
    (reply,) = engine.answer([RecommendRequest("anna", None, 5)])
    assert ids(reply) == expected(bundle, ["i1", "i2", "i3"], 5, exclude=["i1", "i2", "i3"])


def test_a_long_history_excludes_all_that_was_seen_and_reads_what_the_model_reads(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    """The model reads the last 157 events; item 5 lies before them and stays excluded."""
    history = ["i5", *[f"i{6 + n % 20}" for n in range(300)]]
    put(store, "anna", history)
    (reply,) = engine.answer([RecommendRequest("anna", None, ITEMS)])
    assert isinstance(reply, ListReply)
    assert ids(reply) == expected(bundle, history, ITEMS, exclude=history)
    assert "i5" not in ids(reply)
    assert reply.history_length == 157


def test_an_event_changes_the_next_answer(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    put(store, "anna", ["i1", "i2"])
    (before,) = engine.answer([RecommendRequest("anna", None, 5)])
    film = ids(before)[0]
    (done,) = engine.answer(list(put(store, "anna", [film])))
    assert done == EventReply()
    (after,) = engine.answer([RecommendRequest("anna", None, 5)])
    history = ["i1", "i2", film]
    assert ids(after) == expected(bundle, history, 5, exclude=history)
    assert film not in ids(after)


@pytest.mark.parametrize("order", [1, -1])
def test_a_late_event_beside_a_question_leaves_the_answer_whole(
    engine: Engine, bundle: Bundle, store: EventStore, order: int
) -> None:
    """It throws the user's state away while the question still waits for its list: the answer was made of
    the last ten events, which are all that a streamed state keeps."""
    history = [f"i{1 + n % 25}" for n in range(100)]
    put(store, "anna", history)
    engine.answer([RecommendRequest("anna", None, 5)])
    engine.answer(list(put(store, "anna", ["i30"])))
    late = Event("late", UserId("anna"), ItemId("i31"), 1)
    (done,) = store.append([late])
    push = EventPush("anna", "i31", 1, done.user_number, done.table_number)
    batch = [RecommendRequest("anna", None, 5), push][::order]
    reply = engine.answer(batch)[::order][0]
    known = [*history, "i30"] if order == 1 else ["i31", *history, "i30"]
    assert ids(reply) == expected(bundle, known, 5, exclude=known)
    (again,) = engine.answer([RecommendRequest("anna", None, 5)])
    known = ["i31", *history, "i30"]
    assert ids(again) == expected(bundle, known, 5, exclude=known)


def test_users_who_come_and_go_leave_no_slot_behind(bundle: Bundle, store: EventStore) -> None:
    """The smallest arena, of one frame's users: three times as many ask, with late events among them."""
    engine = Engine(bundle, store, arena_bytes=1)
    for turn in range(3):
        for user in range(0, 190, 38):
            batch: list[Request] = []
            for number in range(user, user + 38):
                put(store, f"user{number}", [f"i{1 + (number + turn) % ITEMS}"])
                batch.append(RecommendRequest(f"user{number}", None, 3))
            (done,) = store.append(
                [Event(f"l{turn}-{user}", UserId(f"user{user}"), ItemId("i2"), -turn)]
            )
            batch.append(EventPush(f"user{user}", "i2", -turn, done.user_number, done.table_number))
            batch.append(RecommendRequest(None, ["i1", "i2"], 3))
            assert not any(isinstance(reply, ErrorReply) for reply in engine.answer(batch))


def test_a_push_that_was_lost_is_repaired_by_the_table(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    put(store, "anna", ["i1"])
    engine.answer([RecommendRequest("anna", None, 5)])
    before = store.last_number()
    put(store, "anna", ["i2"])
    engine.apply_stored(store.since(before, 10))
    (reply,) = engine.answer([RecommendRequest("anna", None, 5)])
    assert ids(reply) == expected(bundle, ["i1", "i2"], 5, exclude=["i1", "i2"])


def test_forgotten_users_are_read_again(engine: Engine, bundle: Bundle, store: EventStore) -> None:
    put(store, "anna", ["i1"])
    engine.answer([RecommendRequest("anna", None, 5)])
    put(store, "anna", ["i2"])
    engine.forget_users()
    (reply,) = engine.answer([RecommendRequest("anna", None, 5)])
    assert ids(reply) == expected(bundle, ["i1", "i2"], 5, exclude=["i1", "i2"])


def test_a_repeated_question_is_answered_from_memory_and_equal(
    engine: Engine, store: EventStore
) -> None:
    put(store, "anna", ["i1", "i2"])
    first, again = (engine.answer([RecommendRequest("anna", None, 5)])[0] for _ in range(2))
    assert isinstance(first, ListReply)
    assert isinstance(again, ListReply)
    assert (first.item_ids, first.scores) == (again.item_ids, again.scores)
    assert first.experts == again.experts


def test_answers_do_not_depend_on_the_company_in_the_batch(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    put(store, "anna", [f"i{n}" for n in range(1, 30)])
    put(store, "ben", ["i9"])
    mixed = engine.answer(
        [
            RecommendRequest("ben", None, 3),
            SimilarRequest("i4", 2),
            RecommendRequest("anna", None, 7),
            InfoRequest(),
            RecommendRequest(None, ["i4", "i2"], 1),
        ]
    )
    assert ids(mixed[0]) == expected(bundle, ["i9"], 3, exclude=["i9"])
    seen = [f"i{n}" for n in range(1, 30)]
    assert ids(mixed[2]) == expected(bundle, seen, 7, exclude=seen)
    assert ids(mixed[4]) == expected(bundle, ["i4", "i2"], 1, exclude=["i4", "i2"])
    assert isinstance(mixed[3], InfoReply)
    assert (mixed[3].model_version, mixed[3].items, mixed[3].hot_users) == (
        bundle.version,
        ITEMS,
        2,
    )


def test_similar_items_are_the_nearest_by_cosine(engine: Engine, bundle: Bundle) -> None:
    (reply,) = engine.answer([SimilarRequest("i4", 3, exclude=["i1"])])
    assert isinstance(reply, ListReply)
    vectors = load_model(bundle.config, bundle.weights()).item_vectors().detach()
    cosines = torch.nn.functional.cosine_similarity(vectors[4:5], vectors)
    nearest = cosines.argsort(descending=True).tolist()
    assert ids(reply) == [f"i{index}" for index in nearest if index not in (0, 1, 4)][:3]
    assert all(-1 <= score <= 1 for score in reply.scores)


@pytest.mark.parametrize(
    ("request_", "fallback"),
    [
        (RecommendRequest("nobody", None, 5), "unknown_user"),
        (RecommendRequest(None, [], 5), "empty_history"),
        (RecommendRequest("anna", [], 5), "empty_history"),
        (RecommendRequest(None, ["gone", "lost"], 5), "no_known_items"),
        (RecommendRequest("visitor", None, 5), "no_known_items"),
        (SimilarRequest("gone", 5), "unknown_item"),
    ],
)
def test_what_the_model_cannot_answer_is_named(
    engine: Engine, store: EventStore, request_: RecommendRequest | SimilarRequest, fallback: str
) -> None:
    put(store, "anna", ["i1"])
    put(store, "visitor", ["gone"])
    (reply,) = engine.answer([request_])
    assert isinstance(reply, ListReply)
    assert (reply.item_ids, reply.fallback) == ([], fallback)


def test_an_unknown_user_becomes_known_with_the_first_event(
    engine: Engine, bundle: Bundle, store: EventStore
) -> None:
    engine.answer([RecommendRequest("anna", None, 5)])
    engine.answer(list(put(store, "anna", ["i8"])))
    (reply,) = engine.answer([RecommendRequest("anna", None, 5)])
    assert ids(reply) == expected(bundle, ["i8"], 5, exclude=["i8"])


def test_a_bad_request_does_not_spoil_its_batch(engine: Engine, bundle: Bundle) -> None:
    replies = engine.answer(
        [
            RecommendRequest(None, ["i1"], 0),
            RecommendRequest(None, None, 5),
            RecommendRequest(None, ["i1"], 3),
            SimilarRequest("i1", -1),
            RecommendRequest(None, ["i2"], 10**12),
        ]
    )
    assert [type(reply) for reply in replies] == [
        ErrorReply,
        ErrorReply,
        ListReply,
        ErrorReply,
        ListReply,
    ]
    assert ids(replies[2]) == expected(bundle, ["i1"], 3, exclude=["i1"])
    assert len(ids(replies[4])) == ITEMS - 1


def test_a_store_that_refuses_spoils_only_those_who_need_it(bundle: Bundle, tmp_path: Path) -> None:
    """The event table is cut off under a hot user: that user is still answered, a cold one is not."""
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    engine = Engine(bundle, store, stored=np.float32)
    put(store, "anna", ["i1"])
    put(store, "ben", ["i2"])
    engine.answer([RecommendRequest("anna", None, 5)])
    store.close()
    for file in tmp_path.glob("events.db*"):
        file.unlink()
    (tmp_path / "events.db").mkdir()
    hot, cold = engine.answer([RecommendRequest("anna", None, 5), RecommendRequest("ben", None, 5)])
    assert ids(hot) == expected(bundle, ["i1"], 5, exclude=["i1"])
    assert isinstance(cold, ErrorReply)
    assert "StorageError" in cold.message


def test_an_empty_batch_and_a_warm_up_are_no_trouble(engine: Engine) -> None:
    engine.warm_up(batch=2)
    assert engine.answer([]) == []


def undecided(engine: Engine, store: EventStore) -> str:
    """A user whose newest event wakes more than two experts of a layer."""
    for number in range(1, ITEMS):
        put(store, f"u{number}", [f"i{number}", f"i{1 + number % ITEMS}"])
        (reply,) = engine.answer([RecommendRequest(f"u{number}", None, 5)])
        assert isinstance(reply, ListReply)
        if any(len(awake) > 2 for awake in reply.experts):
            return f"u{number}"
    raise AssertionError("the router of this model is never undecided")


def test_a_request_may_ask_for_fewer_experts(engine: Engine, store: EventStore) -> None:
    """Beside one that does not, of the same user: neither changes the other."""
    user = undecided(engine, store)
    (before,) = engine.answer([RecommendRequest(user, None, 5)])
    fewer, plain = engine.answer(
        [RecommendRequest(user, None, 5, max_experts=2), RecommendRequest(user, None, 5)]
    )
    assert isinstance(before, ListReply)
    assert isinstance(fewer, ListReply)
    assert isinstance(plain, ListReply)
    assert [len(awake) for awake in fewer.experts] == [2, 2]
    assert (plain.item_ids, plain.scores) == (before.item_ids, before.scores)
    assert plain.experts == before.experts
    assert fewer.scores != before.scores
    assert fewer.degraded is None
    assert engine.answer(list(put(store, user, ["i7"]))) == [EventReply()]
    assert engine.policy.counters()["budget_cuts"] == 1


def test_a_full_frame_means_fewer_experts(bundle: Bundle, store: EventStore) -> None:
    engine = Engine(bundle, store, busy_frame=2)
    user = undecided(engine, store)
    (calm,) = engine.answer([RecommendRequest(user, None, 5)])
    busy, _ = engine.answer([RecommendRequest(user, None, 5), InfoRequest()])
    assert isinstance(calm, ListReply)
    assert isinstance(busy, ListReply)
    assert calm.degraded is None
    assert busy.degraded == "fewer_experts"
    assert [len(awake) for awake in busy.experts] == [2, 2]


def test_a_history_in_the_request_has_a_budget_too(engine: Engine) -> None:
    for number in range(1, ITEMS):
        (reply,) = engine.answer([RecommendRequest(None, [f"i{number}"], 5, max_experts=2)])
        assert isinstance(reply, ListReply)
        assert [len(awake) for awake in reply.experts] == [2, 2]


def test_an_expert_past_its_quota_is_passed_over_and_nobody_is_refused(
    store: EventStore, tmp_path: Path
) -> None:
    """Traffic of three histories, which share the same few experts."""
    engine = Engine(tiny_bundle(tmp_path / "b", ITEMS, experts=8), store, expert_quota=0.2)
    batch = [RecommendRequest(None, [f"i{1 + n % 3}"], 3) for n in range(64)]
    degraded = []
    for _ in range(100):
        replies = engine.answer(batch)
        assert all(isinstance(reply, ListReply) and len(ids(reply)) == 3 for reply in replies)
        degraded += [reply.degraded for reply in replies if isinstance(reply, ListReply)]
    # Nobody before the first window of 4096 answers is full.
    assert set(degraded[:4096]) == {None}
    assert "rerouted" in degraded[4096:]
    counters = engine.policy.counters()
    assert counters["routing_epoch"] > 0
    assert counters["query_rows"] == degraded.count("rerouted")
