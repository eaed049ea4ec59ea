"""Alive, ready, measured."""

import time
from pathlib import Path

import httpx

from moerec.errors import StorageError
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.client import LocalEngineClient
from tests.api.toy import ToyEngine, gateway, toy_bundle, toy_gateway


def test_a_whole_gateway_is_alive_and_ready(client: httpx.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["status"] == "ready"
    assert ready.json()["model_version"].startswith("2026-11-22-")


def test_without_an_engine_it_is_alive_but_not_ready(tmp_path: Path) -> None:
    with gateway(tmp_path, engine=None) as client:
        assert client.get("/livez").status_code == 200
        response = client.get("/readyz")
        assert response.status_code == 503
        assert response.json()["code"] == "not_ready"
        assert "engine" in response.json()["detail"]
        assert "moerec_engine_up 0.0" in client.get("/metrics").text


def test_an_engine_with_another_model_is_not_ready(tmp_path: Path) -> None:
    with gateway(tmp_path, LocalEngineClient(ToyEngine("2025-01-01-other"))) as client:
        response = client.get("/readyz")
        assert response.status_code == 503
        assert "The engine serves 2025-01-01-other" in response.json()["detail"]


def test_an_engine_that_fails_is_not_ready(client: httpx.Client, engine: ToyEngine) -> None:
    engine.fault = ValueError("surprise")
    assert "surprise" in client.get("/readyz").json()["detail"]


class Unreadable(SqlEventStore):
    """A store whose disk cannot be read."""

    def last_number(self) -> int:
        raise StorageError("disk I/O error")


def test_without_a_store_it_is_not_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    engine = ToyEngine(toy_bundle(tmp_path / "for-version").version)
    with gateway(tmp_path, LocalEngineClient(engine), Unreadable(url, "process")) as client:
        response = client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["detail"] == "disk I/O error"


class Hanging(SqlEventStore):
    """A store on a network disk that hangs."""

    def last_number(self) -> int:
        time.sleep(1.3)
        return 0


def test_a_store_that_hangs_is_not_ready(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    engine = ToyEngine(toy_bundle(tmp_path / "for-version").version)
    with gateway(tmp_path, LocalEngineClient(engine), Hanging(url, "process")) as client:
        response = client.get("/readyz")
    assert response.status_code == 503
    assert "did not answer in time" in response.json()["detail"]


def test_metrics_count_by_route_template_and_not_by_path(tmp_path: Path) -> None:
    with toy_gateway(tmp_path) as (client, _):
        client.post("/v1/events", json={"user_id": "ann", "item_id": "i1"})
        client.get("/v1/users/ann/recommendations")
        client.get("/v1/users/bob/recommendations")
        client.get("/v1/users/bob/recommendations?k=0")
        client.get("/no/such/page")
        response = client.get("/metrics")
    text = response.text
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    route = "/v1/users/{user_id}/recommendations"
    assert f'moerec_requests_total{{method="GET",route="{route}",status="200"}} 2.0' in text
    assert f'moerec_requests_total{{method="GET",route="{route}",status="422"}} 1.0' in text
    assert 'moerec_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert f'moerec_request_seconds_bucket{{le="0.1",route="{route}"}}' in text
    assert 'moerec_fallbacks_total{code="unknown_user"} 1.0' in text
    assert 'moerec_expert_activations_total{expert="5",layer="1"} 1.0' in text
    assert "moerec_engine_up 1.0" in text
    assert "process_cpu_seconds_total" in text
    assert "_created" not in text
    assert "ann" not in text
