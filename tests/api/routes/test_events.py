"""Events over real HTTP: durable first, idempotent, each fault named."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest

from moerec.errors import StorageError
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.client import LocalEngineClient
from moerec.transport.frames import EventPush
from moerec.types import Event, UserId
from tests.api.toy import ToyEngine, gateway, toy_gateway


def send(client: httpx.Client, **event: Any) -> httpx.Response:
    return client.post("/v1/events", json=event)


def test_one_event_is_accepted_with_its_number(client: httpx.Client, engine: ToyEngine) -> None:
    response = send(client, event_id="one-1", user_id="one", item_id="i1", type="view", value=2.5)
    assert response.status_code == 202
    assert response.json() == {
        "results": [{"event_id": "one-1", "status": "accepted", "number": 1}],
        "rejected": [],
    }
    assert isinstance(push := engine.asked[-1], EventPush)
    assert (push.user_id, push.value) == ("one", 2.5)


def test_an_id_is_made_where_none_is_given(client: httpx.Client) -> None:
    first, second = (
        send(client, user_id="made", item_id="i1").json()["results"][0] for _ in range(2)
    )
    assert len(first["event_id"]) == 32
    assert (first["number"], second["number"]) == (1, 2)


def test_the_same_event_again_is_a_duplicate_and_counts_once(
    client: httpx.Client, engine: ToyEngine
) -> None:
    event = {"event_id": "again-1", "user_id": "again", "item_id": "i1", "timestamp": 5000}
    send(client, **event)
    assert send(client, **event).json()["results"] == [
        {"event_id": "again-1", "status": "duplicate", "number": 1}
    ]
    assert engine.events["again"] == ["i1"]


def test_a_retry_without_a_timestamp_is_a_duplicate(client: httpx.Client) -> None:
    """The gateway sets the time of such an event: the retry differed in it, and was a conflict."""
    event = {"event_id": "retry-1", "user_id": "retry", "item_id": "i1"}
    send(client, **event)
    time.sleep(0.01)
    assert send(client, **event).json()["results"][0]["status"] == "duplicate"


def test_the_same_id_with_other_content_is_a_conflict(client: httpx.Client) -> None:
    send(client, event_id="other-1", user_id="other", item_id="i1", timestamp=5000)
    response = send(client, event_id="other-1", user_id="other", item_id="i2", timestamp=6000)
    assert response.status_code == 409
    assert response.json()["code"] == "event_id_conflict"
    assert (
        "'other-1' was stored before with another item_id, timestamp" in response.json()["detail"]
    )


def test_in_a_batch_each_fault_is_named_and_the_rest_is_stored(client: httpx.Client) -> None:
    send(client, event_id="batch-0", user_id="batch", item_id="i1", timestamp=1)
    response = client.post(
        "/v1/events",
        json={
            "events": [
                {"event_id": "batch-1", "user_id": "batch", "item_id": "i2"},
                {"event_id": "batch-2", "item_id": "i2"},
                {"event_id": "batch-0", "user_id": "batch", "item_id": "i9", "timestamp": 1},
                {"event_id": "batch-1", "user_id": "batch", "item_id": "i2"},
                "not an event",
                {"user_id": "batch", "item_id": "i3", "colour": "red"},
                {"event_id": "batch-3", "user_id": "batch", "item_id": "i3"},
            ]
        },
    )
    assert response.status_code == 202
    assert response.json()["results"] == [
        {"event_id": "batch-1", "status": "accepted", "number": 2},
        {"event_id": "batch-1", "status": "duplicate", "number": 2},
        {"event_id": "batch-3", "status": "accepted", "number": 3},
    ]
    rejected = response.json()["rejected"]
    assert [(one["index"], one["code"]) for one in rejected] == [
        (1, "invalid_event"),
        (2, "event_id_conflict"),
        (4, "invalid_event"),
        (5, "invalid_event"),
    ]
    assert rejected[0]["message"] == "user_id: Field required"
    assert rejected[3]["message"].startswith("colour: Extra inputs")


def test_five_hundred_events_at_once(client: httpx.Client, engine: ToyEngine) -> None:
    batch = [{"user_id": "many", "item_id": f"i{n}", "timestamp": n} for n in range(500)]
    response = client.post("/v1/events", json={"events": batch})
    assert [one["number"] for one in response.json()["results"]] == list(range(1, 501))
    assert engine.events["many"] == [f"i{n}" for n in range(500)]
    response = client.post("/v1/events", json={"events": [*batch, batch[0]]})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "events"


@pytest.mark.parametrize(
    ("timestamp", "milliseconds"),
    [
        (0, 0),
        (1_764_000_000_123, 1_764_000_000_123),
        ("2026-11-22T12:00:00Z", 1_795_348_800_000),
        ("2026-11-22T13:00:00.250+01:00", 1_795_348_800_250),
        ("2026-11-22T12:00:00", 1_795_348_800_000),
    ],
)
def test_times_are_milliseconds_or_iso(
    tmp_path: Path, timestamp: int | str, milliseconds: int
) -> None:
    engine = ToyEngine("v")
    with gateway(tmp_path, LocalEngineClient(engine)) as client:
        if milliseconds > time.time() * 1000:
            pytest.fail("the clock of this machine is behind the test's times")
        assert send(client, user_id="u", item_id="i1", timestamp=timestamp).status_code == 202
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    assert store.history(UserId("u"), 1)[0].event.timestamp_ms == milliseconds
    store.close()


@pytest.mark.parametrize(
    ("wrong", "field", "message"),
    [
        ({"item_id": None}, "item_id", "valid string"),
        ({"item_id": ""}, "item_id", "at least 1 character"),
        ({"item_id": "x" * 257}, "item_id", "at most 256 characters"),
        ({"user_id": 7}, "user_id", "valid string"),
        ({"user_id": "a\u0000b"}, "user_id", "match pattern"),
        ({"timestamp": "yesterday"}, "timestamp", "ISO 8601"),
        ({"timestamp": 1_764_000_000}, "timestamp", "seconds"),
        ({"timestamp": -1}, "timestamp", "greater than or equal to 0"),
        ({"timestamp": 1.5}, "timestamp", "integer"),
        ({"timestamp": True}, "timestamp", "integer"),
        ({"timestamp": 4_000_000_000_000}, "timestamp", "in the future"),
        ({"type": ""}, "type", "at least 1 character"),
        ({"value": "much"}, "value", "valid number"),
        # In single precision it is infinite, and used to leave the user's lists without a score.
        ({"value": 1e39}, "value", "less than or equal to 1000000000"),
        ({"colour": "red"}, "colour", "not permitted"),
    ],
)
def test_a_wrong_field_of_a_single_event_is_named(
    client: httpx.Client, wrong: dict[str, Any], field: str, message: str
) -> None:
    response = send(client, **({"user_id": "wrong", "item_id": "i1"} | wrong))
    assert response.status_code == 422
    (error,) = response.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]


def test_an_empty_batch_is_refused(client: httpx.Client) -> None:
    response = client.post("/v1/events", json={"events": []})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "events"


def test_an_engine_that_is_away_does_not_fail_the_event(tmp_path: Path) -> None:
    with gateway(tmp_path, engine=None) as client:
        assert send(client, event_id="e", user_id="u", item_id="i1").status_code == 202
        assert "moerec_event_pushes_failed_total 1.0" in client.get("/metrics").text
    store = open_event_store(f"sqlite:///{tmp_path}/events.db")
    assert store.history(UserId("u"), 1)[0].event.event_id == "e"
    store.close()


class FullDisk(SqlEventStore):
    """A store on a disk that is full for a while."""

    full = True

    def append(self, events_in: Sequence[Event]) -> list[Appended]:
        if self.full:
            raise StorageError("The disk is full.", "Make room.")
        return super().append(events_in)

    def append_at_once(self, events_in: Sequence[Event]) -> list[Appended] | None:
        return None if self.full else super().append_at_once(events_in)


def test_a_full_disk_is_a_503_and_never_an_acknowledgement(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    store = FullDisk(url, "process")
    engine = ToyEngine("v")
    with gateway(tmp_path, LocalEngineClient(engine), store=store) as client:
        response = send(client, event_id="e", user_id="u", item_id="i1")
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "1"
        assert response.headers["Content-Type"] == "application/problem+json"
        assert "disk is full" in response.json()["detail"]
        assert engine.events == {}
        store.full = False
        again = send(client, event_id="e", user_id="u", item_id="i1")
        assert again.json()["results"][0]["status"] == "accepted"


def test_counts_reach_the_metrics(tmp_path: Path) -> None:
    with toy_gateway(tmp_path) as (client, _):
        batch = [{"event_id": "a", "user_id": "u", "item_id": "i1"}] * 2 + [{}]
        client.post("/v1/events", json={"events": batch})
        text = client.get("/metrics").text
    assert 'moerec_events_total{outcome="accepted"} 1.0' in text
    assert 'moerec_events_total{outcome="duplicate"} 1.0' in text
    assert 'moerec_events_total{outcome="rejected"} 1.0' in text
    assert "moerec_store_write_seconds_count 1.0" in text
