"""Items that come and go; similar and popular items."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from moerec.errors import StorageError
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.client import LocalEngineClient
from moerec.transport.frames import ItemsPush
from moerec.types import ItemChange, ItemField, ItemId
from tests.api.signing import SECRET, bearer, token
from tests.api.test_errors import assert_problem
from tests.api.toy import ToyEngine, gateway, toy_gateway


def popular(client: httpx.Client, k: int = 3) -> list[str]:
    return [item["item_id"] for item in client.get(f"/v1/popular?k={k}").json()["items"]]


def test_similar_items_come_from_the_model_and_not_the_item_itself(client: httpx.Client) -> None:
    answer = client.get("/v1/items/i2/similar?k=2").json()
    assert [item["item_id"] for item in answer["items"]] == ["i1", "i3"]
    assert answer["fallback"] is None


def test_an_unknown_item_gets_popular_items_and_the_reason(client: httpx.Client) -> None:
    answer = client.get("/v1/items/none/similar?k=2").json()
    assert [item["item_id"] for item in answer["items"]] == ["i12", "i11"]
    assert answer["fallback"]["code"] == "unknown_item"


def test_similar_items_are_repeated_from_the_cache(client: httpx.Client, engine: ToyEngine) -> None:
    first = client.get("/v1/items/i5/similar?k=4").json()
    asked = len(engine.asked)
    second = client.get("/v1/items/i5/similar?k=4").json()
    assert (first["cached"], second["cached"]) == (False, True)
    assert second["items"] == first["items"]
    assert second["recommendation_id"] != first["recommendation_id"]
    assert second["timings_ms"]["engine"] is None
    assert len(engine.asked) == asked
    assert client.get("/v1/items/i5/similar?k=5").json()["cached"] is False


def test_a_fallback_is_not_cached(client: httpx.Client, engine: ToyEngine) -> None:
    engine.fault = ValueError("surprise")
    assert client.get("/v1/items/i6/similar").json()["fallback"]["code"] == "engine_error"
    engine.fault = None
    answer = client.get("/v1/items/i6/similar").json()
    assert (answer["fallback"], answer["cached"]) == (None, False)


def test_a_cache_without_time_keeps_nothing(tmp_path: Path) -> None:
    with toy_gateway(tmp_path, cache_ttl_s=0) as (client, _):
        assert [client.get("/v1/items/i5/similar").json()["cached"] for _ in range(2)] == [
            False,
            False,
        ]


def test_popular_items_are_what_was_asked_for_and_no_fallback(client: httpx.Client) -> None:
    answer = client.get("/v1/popular?k=3").json()
    assert [(item["item_id"], item["source"]) for item in answer["items"]] == [
        ("i12", "popular"),
        ("i11", "popular"),
        ("i10", "popular"),
    ]
    assert answer["fallback"] is None


def test_popular_items_of_a_category(client: httpx.Client) -> None:
    answer = client.get("/v1/popular", params={"k": 100, "category": "odd"}).json()
    assert [item["item_id"] for item in answer["items"]] == ["i11", "i9", "i7", "i5", "i3"]
    assert client.get("/v1/popular?category=none").json()["items"] == []


def test_a_new_item_is_put_and_the_engine_told(client: httpx.Client, engine: ToyEngine) -> None:
    fields = {"title": "New", "categories": ["odd"], "year": 1979, "price": 1.5, "lent": False}
    answer = client.put("/v1/items/new-1", json=fields)
    assert answer.status_code == 200
    item = {
        "item_id": "new-1",
        "title": "New",
        "categories": ["odd"],
        "fields": {"year": 1979, "price": 1.5, "lent": False},
        "status": "added",
    }
    assert answer.json() == {**item, "live": True}
    assert isinstance(engine.asked[-1], ItemsPush)
    assert client.get("/v1/items/new-1").json() == item


def test_an_item_without_fields_is_one(client: httpx.Client) -> None:
    item = client.put("/v1/items/bare", json={}).json()
    assert (item["title"], item["categories"], item["fields"]) == (None, [], {})
    assert client.put("/v1/items/bare", json={"title": None}).json() == item


def test_all_fields_are_replaced(client: httpx.Client) -> None:
    client.put("/v1/items/twice", json={"title": "One", "categories": ["a"], "colour": "red"})
    item = client.put("/v1/items/twice", json={"size": "large"}).json()
    assert (item["title"], item["categories"]) == (None, [])
    assert client.get("/v1/items/twice").json()["fields"] == {"size": "large"}


def test_an_item_of_the_bundle_is_known(client: httpx.Client) -> None:
    assert client.get("/v1/items/i2").json() == {
        "item_id": "i2",
        "title": "Title i2",
        "categories": ["even"],
        "fields": {},
        "status": "trained",
    }


def test_an_item_of_the_bundle_gets_another_title_in_lists(client: httpx.Client) -> None:
    item = client.put("/v1/items/i7", json={"title": "Seven", "colour": "red"}).json()
    assert (item["status"], item["live"], item["fields"]) == ("trained", True, {"colour": "red"})
    listed = client.get("/v1/items/i1/similar?k=100").json()["items"]
    assert {one["item_id"]: one["title"] for one in listed}["i7"] == "Seven"
    assert client.get("/v1/items/i7").json()["title"] == "Seven"


def test_a_removed_item_is_in_no_list_and_comes_back(tmp_path: Path) -> None:
    with toy_gateway(tmp_path) as (client, engine):
        gone = {"item_id": "i12", "title": None, "categories": ["even"], "fields": {}}
        gone["status"] = "removed"
        answer = client.delete("/v1/items/i12")
        assert (answer.status_code, answer.json()) == (200, {**gone, "live": True})
        assert client.get("/v1/items/i12").json() == gone
        assert popular(client) == ["i11", "i10", "i9"]
        assert client.delete("/v1/items/i12").json() == {**gone, "live": True}
        told = [each.number for each in engine.asked if isinstance(each, ItemsPush)]
        assert told == [1, 1], "it was removed already"
        back = client.put("/v1/items/i12", json={"title": "Back"}).json()
        assert (back["title"], back["status"]) == ("Back", "trained")
        assert popular(client) == ["i12", "i11", "i10"]
        text = client.get("/metrics").text
    assert 'moerec_items_changed_total{kind="removed"} 1.0' in text
    assert 'moerec_items_changed_total{kind="put"} 1.0' in text


def test_an_item_that_was_added_can_go(client: httpx.Client) -> None:
    client.put("/v1/items/short-lived", json={"title": "Short", "colour": "red"})
    assert client.delete("/v1/items/short-lived").json()["status"] == "removed"
    found = client.get("/v1/items/short-lived").json()
    assert (found["status"], found["title"], found["fields"]) == (
        "removed",
        "Short",
        {"colour": "red"},
    )


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_item_that_nobody_knows_is_a_404(client: httpx.Client, method: str) -> None:
    answer = client.request(method, "/v1/items/nobody")
    assert_problem(answer, 404, "unknown_item")
    assert "'nobody'" in answer.json()["detail"]


@pytest.mark.parametrize("item_id", ["a/b", "a%2Fb", "%C3%A9%20%E2%9C%93", "a/similar/b", "x'y\"z"])
def test_any_id_is_an_items(client: httpx.Client, item_id: str) -> None:
    assert client.put(f"/v1/items/{item_id}", json={"title": item_id}).status_code == 200
    assert client.get(f"/v1/items/{item_id}").json()["title"] == item_id
    assert client.get(f"/v1/items/{item_id}/similar").json()["fallback"]["code"] == "unknown_item"
    assert client.delete(f"/v1/items/{item_id}").json()["status"] == "removed"


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"title": 5}, "title", "valid string"),
        ({"categories": "Comedy"}, "categories", "valid list"),
        ({"categories": ["a", 5]}, "categories.1", "valid string"),
        ({"colour": {"r": 1}}, "colour", "expected a text, a finite number"),
        ({"colour": [1]}, "colour", "expected a text, a finite number"),
        ({"colour": "x" * 10_001}, "colour", "10000 characters"),
        ({"item_id": "wrong"}, "body", "item_id stands in the URL"),
        ({"": 1}, "body", "a field's name has 1 to 64"),
        ({f"f{n}": n for n in range(100)}, "body", "100 fields, not 101"),
    ],
)
def test_a_wrong_field_is_named_and_nothing_stored(
    client: httpx.Client, wrong: dict[str, Any], field: str, message: str
) -> None:
    answer = client.put("/v1/items/wrong", json={**wrong, "size": 5})
    assert_problem(answer, 422, "invalid_request")
    (error,) = answer.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]
    assert client.get("/v1/items/wrong").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"{", 422),
        (b"[]", 422),
        (b"null", 422),
        (b'"title"', 422),
        (b'{"price": NaN}', 422),
        (b'{"price": 1e999}', 422),
        (b'{"price": ' + b"9" * 4000 + b"}", 422),
        (b'{"price": ' + b"9" * 5000 + b"}", 400),
        (b'{"a": "\\ud800"}', 422),
        (b'{"\\ud800": "a"}', 422),
        (b'{"a": "\xff"}', 400),
        (b"[" * 100_000, 400),
    ],
)
def test_a_body_that_is_no_item_is_refused(client: httpx.Client, body: bytes, status: int) -> None:
    kind = {"Content-Type": "application/json"}
    answer = client.put("/v1/items/wrong", content=body, headers=kind)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert client.get("/v1/items/wrong").status_code == 404


def test_a_body_without_its_kind_is_a_415(client: httpx.Client) -> None:
    assert_problem(client.put("/v1/items/wrong", content=b"{}"), 415, "unsupported_media_type")


@pytest.mark.parametrize("item_id", ["", "x" * 257, "a%00b", "a%07b"])
def test_an_id_that_cannot_be_is_refused(client: httpx.Client, item_id: str) -> None:
    for method in ("GET", "PUT", "DELETE"):
        body = {"json": {}} if method == "PUT" else {}
        answer = client.request(method, f"/v1/items/{item_id}", **body)  # type: ignore[arg-type]
        assert_problem(answer, 422, "invalid_request")
        assert answer.json()["errors"][0]["field"] == "item_id"


def test_other_methods_are_refused(client: httpx.Client) -> None:
    assert_problem(client.post("/v1/items/i1", json={}), 405, "method_not_allowed")


class NoItems(SqlEventStore):
    """A store that takes no items for a while."""

    full = True

    def change_items(
        self, changes: Mapping[ItemId, Mapping[str, ItemField] | None]
    ) -> list[ItemChange]:
        if self.full:
            raise StorageError("The disk is full.", "Make room.")
        return super().change_items(changes)


def test_a_full_disk_is_a_503_and_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    store, engine = NoItems(url, "process"), ToyEngine("v")
    with gateway(tmp_path, LocalEngineClient(engine), store=store) as client:
        for answer in (
            client.put("/v1/items/i12", json={"title": "Other"}),
            client.delete("/v1/items/i12"),
        ):
            assert_problem(answer, 503, "unavailable")
            assert answer.headers["Retry-After"] == "1"
        assert client.get("/v1/items/i12").json()["status"] == "trained"
        assert popular(client, 1) == ["i12"]
        assert not engine.asked
        assert "moerec_items_changed_total{" not in client.get("/metrics").text
        store.full = False
        assert client.delete("/v1/items/i12").json()["live"]


def test_items_need_their_own_scope(tmp_path: Path) -> None:
    production = {"environment": "production", "jwt_secret": SECRET}
    with toy_gateway(tmp_path, **production) as (client, _):
        reads, writes = bearer(token("app", "recommend")), bearer(token("sync", "items"))
        put = client.put("/v1/items/i1", json={}, headers=reads)
        assert_problem(put, 403, "forbidden")
        assert 'scope="items"' in put.headers["WWW-Authenticate"]
        assert_problem(client.delete("/v1/items/i1", headers=reads), 403, "forbidden")
        assert client.get("/v1/items/i1", headers=reads).status_code == 200
        assert client.put("/v1/items/i1", json={}, headers=writes).status_code == 200
        assert client.delete("/v1/items/i1", headers=writes).status_code == 200
        assert_problem(client.get("/v1/items/i1", headers=writes), 403, "forbidden")
        admin = bearer(token("root", "admin"))
        assert client.put("/v1/items/i1", json={}, headers=admin).status_code == 200


def test_a_token_for_one_user_changes_no_item(tmp_path: Path) -> None:
    """Items are everybody's."""
    production = {"environment": "production", "jwt_secret": SECRET}
    with toy_gateway(tmp_path, **production) as (client, _):
        for scope in ("items", "admin"):
            anns = bearer(token("app", scope, user_id="ann"))
            for answer in (
                client.put("/v1/items/i1", json={}, headers=anns),
                client.delete("/v1/items/i1", headers=anns),
            ):
                assert_problem(answer, 403, "forbidden")
                assert "for the user 'ann' alone" in answer.json()["detail"]
        looks = bearer(token("app", "recommend", user_id="ann"))
        assert client.get("/v1/items/i1", headers=looks).json()["status"] == "trained"


def test_requests_about_items_count_for_their_caller(tmp_path: Path) -> None:
    with toy_gateway(tmp_path, user_rate=0.0001, user_burst=2) as (client, _):
        assert client.get("/v1/items/i1").status_code == 200
        assert client.put("/v1/items/i1", json={}).status_code == 200
        assert_problem(client.delete("/v1/items/i1"), 429, "rate_limited")
