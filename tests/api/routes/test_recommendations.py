"""Lists over real HTTP: from the model, and from the popular items with the reason why."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from moerec.errors import StorageError
from moerec.store.interfaces import EventStore
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.frames import Degraded, RecommendRequest
from moerec.types import Event, ItemId, UserId
from tests.api.toy import ToyEngine, gateway, toy_gateway


def ids(answer: dict[str, Any]) -> list[str]:
    return [item["item_id"] for item in answer["items"]]


def tell(client: httpx.Client, user: str, item: str) -> None:
    assert client.post("/v1/events", json={"user_id": user, "item_id": item}).status_code == 202


def test_the_whole_answer_for_a_known_user(client: httpx.Client) -> None:
    tell(client, "ann", "i1")
    response = client.get("/v1/users/ann/recommendations?k=2")
    answer = response.json()
    timings = answer.pop("timings_ms")
    assert len(answer.pop("recommendation_id")) == 32
    version = answer["model"].pop("version")
    assert version.startswith("2026-11-22-")
    assert answer == {
        "items": [
            {"item_id": "i2", "title": "Title i2", "rank": 1, "score": 1.0, "source": "model"},
            {"item_id": "i3", "title": "Title i3", "rank": 2, "score": 0.5, "source": "model"},
        ],
        "model": {"experts_active": 2.5, "experts": [[0, 3], [1, 2, 5]]},
        "fallback": None,
        "degraded": None,
        "cached": False,
    }
    assert timings["engine"] == 0.5
    assert timings["total"] > 0
    assert response.headers["Server-Timing"] == f"total;dur={timings['total']}, engine;dur=0.5"
    assert response.headers["X-Request-Id"]


def test_an_event_changes_the_next_answer(client: httpx.Client) -> None:
    tell(client, "bob", "i1")
    assert ids(client.get("/v1/users/bob/recommendations?k=3").json()) == ["i2", "i3", "i4"]
    tell(client, "bob", "i2")
    assert ids(client.get("/v1/users/bob/recommendations?k=3").json()) == ["i3", "i4", "i5"]


def test_post_takes_every_option(client: httpx.Client) -> None:
    query = {"history": ["i1", "i2"], "k": 3, "exclude_item_ids": ["i4"], "exclude_seen": True}
    assert ids(client.post("/v1/recommendations", json=query).json()) == ["i3", "i5", "i6"]
    seen = client.post("/v1/recommendations", json=query | {"exclude_seen": False}).json()
    assert ids(seen) == ["i1", "i2", "i3"]


@pytest.mark.parametrize("budget", [2, 4])
def test_a_budget_of_experts_reaches_the_engine(
    client: httpx.Client, engine: ToyEngine, budget: int
) -> None:
    tell(client, "ann", "i1")
    for ask in (
        lambda: client.get(f"/v1/users/ann/recommendations?max_experts={budget}"),
        lambda: client.post("/v1/recommendations", json={"history": ["i1"], "max_experts": budget}),
    ):
        assert ask().status_code == 200
        asked = engine.asked[-1]
        assert isinstance(asked, RecommendRequest)
        assert asked.max_experts == budget
    client.get("/v1/users/ann/recommendations")
    asked = engine.asked[-1]
    assert isinstance(asked, RecommendRequest)
    assert asked.max_experts is None


@pytest.mark.parametrize("budget", [1, 5, 10**30])
def test_a_budget_that_the_model_does_not_have_is_refused_with_its_range(
    client: httpx.Client, budget: int
) -> None:
    for response in (
        client.get(f"/v1/users/ann/recommendations?max_experts={budget}"),
        client.post("/v1/recommendations", json={"history": ["i1"], "max_experts": budget}),
    ):
        assert response.status_code == 422
        (fault,) = response.json()["errors"]
        assert fault["field"] == "max_experts"
        assert "2 to 4 experts" in fault["message"]


@pytest.mark.parametrize("degraded", ["fewer_experts", "rerouted"])
def test_what_the_engine_changed_is_named(
    client: httpx.Client, engine: ToyEngine, degraded: Degraded
) -> None:
    engine.degraded = degraded
    answer = client.post("/v1/recommendations", json={"history": ["i1"]}).json()
    assert (answer["degraded"], answer["fallback"]) == (degraded, None)


def test_ten_items_are_the_default(client: httpx.Client) -> None:
    assert len(client.post("/v1/recommendations", json={"history": ["i1"]}).json()["items"]) == 10


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "anonymous"),
        ({"user_id": None, "history": None}, "anonymous"),
        ({"user_id": "nobody"}, "unknown_user"),
        ({"history": []}, "empty_history"),
        ({"history": ["elsewhere"]}, "no_known_items"),
    ],
)
def test_who_is_not_known_gets_popular_items_and_the_reason(
    client: httpx.Client, query: dict[str, Any], code: str
) -> None:
    response = client.post("/v1/recommendations", json={"k": 3, **query})
    answer = response.json()
    assert response.status_code == 200
    assert ids(answer) == ["i12", "i11", "i10"]
    assert answer["items"][0] == {
        "item_id": "i12",
        "title": None,
        "rank": 1,
        "score": 120,
        "source": "popular",
    }
    assert answer["fallback"]["code"] == code
    assert answer["fallback"]["reason"].endswith("so these items are the popular ones.")
    assert answer["model"]["experts_active"] is None
    assert answer["degraded"] is None
    assert answer["timings_ms"]["engine"] is None


def test_an_unknown_user_is_never_a_404(client: httpx.Client) -> None:
    response = client.get("/v1/users/who%2Fis%20this%3F/recommendations")
    assert response.status_code == 200
    assert response.json()["fallback"]["code"] == "unknown_user"


def test_ids_with_slashes_and_blanks_reach_the_engine_whole(
    client: httpx.Client, engine: ToyEngine
) -> None:
    """The framework decodes %2F before it looks for a route: such users were a 404."""
    tell(client, "a/b c", "i1")
    assert client.get("/v1/users/a%2Fb%20c/recommendations").json()["fallback"] is None
    assert engine.events["a/b c"] == ["i1"]


def test_a_fallback_leaves_out_what_the_caller_excludes(client: httpx.Client) -> None:
    query = {"user_id": "nobody", "exclude_item_ids": ["i12", "i10"], "k": 2}
    assert ids(client.post("/v1/recommendations", json=query).json()) == ["i11", "i9"]


def test_a_failing_engine_is_a_fallback(client: httpx.Client, engine: ToyEngine) -> None:
    engine.fault = ValueError("surprise")
    response = client.get("/v1/users/ann/recommendations")
    assert response.status_code == 200
    assert response.json()["fallback"]["code"] == "engine_error"
    assert response.json()["degraded"] == "popular"


def test_a_slow_engine_is_a_fallback_at_the_deadline(tmp_path: Path) -> None:
    with toy_gateway(tmp_path, deadline_ms=250) as (client, engine):
        engine.sleep_s = 1.5
        response = client.get("/v1/users/ann/recommendations")
    assert response.status_code == 200
    assert response.json()["fallback"]["code"] == "engine_unavailable"
    assert 245 < response.json()["timings_ms"]["total"] < 1400


def test_without_an_engine_seen_items_are_still_left_out(tmp_path: Path) -> None:
    """What the user has just watched must not come back because the engine is away."""
    with gateway(tmp_path, engine=None) as client:
        tell(client, "ann", "i12")
        answer = client.get("/v1/users/ann/recommendations?k=2").json()
        assert ids(answer) == ["i11", "i10"]
        assert answer["fallback"]["code"] == "engine_unavailable"
        assert answer["degraded"] == "popular"
        seen_too = {"user_id": "ann", "exclude_seen": False, "k": 2}
        assert ids(client.post("/v1/recommendations", json=seen_too).json()) == ["i12", "i11"]
        watched = {"history": ["i11"], "k": 2}
        assert ids(client.post("/v1/recommendations", json=watched).json()) == ["i12", "i10"]


class Unreadable(SqlEventStore):
    """A store whose disk cannot be read."""

    def seen(self, user_id: UserId, limit: int) -> list[ItemId]:
        raise StorageError("disk I/O error")


def test_without_engine_and_store_there_is_still_a_list(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    store: EventStore = Unreadable(url, "process")
    store.append([Event("e", UserId("ann"), ItemId("i12"), 1)])
    with gateway(tmp_path, engine=None, store=store) as client:
        response = client.get("/v1/users/ann/recommendations?k=1")
    assert response.status_code == 200
    assert ids(response.json()) == ["i12"]
