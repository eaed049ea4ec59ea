"""Alive, ready, measured."""

import time
from pathlib import Path

import httpx

from moerec.api.routes.health import engine_labels
from moerec.errors import StorageError
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.client import LocalEngineClient
from moerec.transport.fleet import EngineFleet
from moerec.transport.remote import RemoteEngineClient
from moerec.transport.server import serve
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


def fleet(folder: Path, **others: ToyEngine) -> EngineFleet:
    """Two engines and more: one that works, and one that is away."""
    engine = ToyEngine(toy_bundle(folder / "for-version").version)
    away = f"unix:{folder}/away.sock"
    return EngineFleet(
        {
            away: RemoteEngineClient(away),
            "unix:there.sock": LocalEngineClient(engine),
            **{f"unix:{name}.sock": LocalEngineClient(other) for name, other in others.items()},
        }
    )


def test_one_engine_of_several_is_enough_to_be_ready(tmp_path: Path) -> None:
    """And each one is told of: an engine with another bundle used to hide behind a good one."""
    others = {"old": ToyEngine("2025-01-01-other"), "hangs": ToyEngine("hangs")}
    others["hangs"].sleep_s = 0.5
    with gateway(tmp_path, fleet(tmp_path, **others)) as client:
        ready = client.get("/readyz")
        text = client.get("/metrics").text
    assert ready.status_code == 200
    version = ready.json()["model_version"]
    engines = ready.json()["engines"]
    assert engines["there"] == version
    assert engines["old"] == f"The engine serves 2025-01-01-other, this gateway {version}."
    assert engines["hangs"] == "The engine has not answered yet."
    assert "away" in engines["away"]
    assert "moerec_engine_up 1.0" in text
    assert 'moerec_engine_reachable{engine="away"} 0.0' in text
    assert 'moerec_engine_reachable{engine="there"} 1.0' in text


def test_answers_never_come_from_an_engine_with_another_bundle(tmp_path: Path) -> None:
    """Half of the users had lists of another model than the one that their answers named."""
    engines = {
        name: ToyEngine(name) for name in (toy_bundle(tmp_path / "for-version").version, "other")
    }
    servers = [
        serve(engine, f"unix:{tmp_path}/{place}.sock", version=version)
        for place, (version, engine) in enumerate(engines.items())
    ]
    addresses = ",".join(f"unix:{tmp_path}/{place}.sock" for place in range(2))
    with gateway(tmp_path, None, engine_address=addresses) as client:
        for number in range(20):
            event = {"user_id": f"u{number}", "item_id": "i1"}
            assert client.post("/v1/events", json=event).status_code == 202
            answer = client.get(f"/v1/users/u{number}/recommendations").json()
            assert answer["fallback"] is None
        told = client.get("/readyz").json()["engines"]
    for server in servers:
        server.stop(0)
    assert not engines["other"].asked
    assert "serves other" in told["1"]


def test_what_is_wrong_with_each_engine_is_told(tmp_path: Path) -> None:
    engines = {name: LocalEngineClient(ToyEngine(f"other-{name}")) for name in "ab"}
    with gateway(tmp_path, EngineFleet(engines)) as client:
        response = client.get("/readyz")
    assert response.status_code == 503
    assert "serves other-a" in response.json()["detail"]
    assert "serves other-b" in response.json()["detail"]


def test_metrics_do_not_wait_for_engines_that_are_away_or_hang(tmp_path: Path) -> None:
    """Those of the others are there, each with its engine's label; what nobody knows is left out."""
    hanging = ToyEngine("hangs")
    hanging.sleep_s = 3.0
    with gateway(tmp_path, fleet(tmp_path, hangs=hanging)) as client:
        text = client.get("/metrics").text
    assert 'moerec_engine_reachable{engine="hangs"} 0.0' in text
    assert 'moerec_engine_frames_total{engine="there"} 7.0' in text
    assert 'moerec_engine_users{engine="there"} 3.0' in text
    assert "of_a_later_version" not in text
    assert 'moerec_engine_frames_total{engine="away"}' not in text


def test_metrics_name_engines_by_what_tells_them_apart() -> None:
    assert engine_labels(["unix:x/engine-1.sock", "host:7000"]) == ["engine-1", "host:7000"]
    alike = ["unix:x/engine.sock", "unix:y/engine.sock"]
    assert engine_labels(alike) == alike


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
