"""Similar and popular items."""

from pathlib import Path

import httpx

from tests.api.toy import ToyEngine, toy_gateway


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
