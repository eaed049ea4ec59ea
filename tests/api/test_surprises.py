"""What goes wrong on the short way, where answers come by calls: it is told to whom it is about."""

import time
from collections.abc import Sequence
from pathlib import Path

from moerec.api.main import create_app
from moerec.settings import Settings
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore
from moerec.transport.client import LocalEngineClient
from moerec.transport.frames import EventReply, ListReply, RecommendRequest, Reply, Request
from moerec.transport.server import serve
from moerec.types import Event
from tests.api.toy import ToyEngine, gateway, running, toy_bundle


def test_the_engine_is_up_again_when_it_answers_a_plain_request(tmp_path: Path) -> None:
    """The short way told of lists that the engine did not make, and not of those that it did."""
    engine = ToyEngine(toy_bundle(tmp_path / "for-version").version)
    engine.events["ann"] = ["i1"]
    with gateway(tmp_path, LocalEngineClient(engine), deadline_ms=200) as client:
        engine.sleep_s = 0.5
        assert client.get("/v1/users/ann/recommendations").json()["degraded"] == "popular"
        assert "moerec_engine_up 0.0" in client.get("/metrics").text
        engine.sleep_s = 0.0
        time.sleep(0.5)
        assert client.get("/v1/users/ann/recommendations").json()["fallback"] is None
        assert "moerec_engine_up 1.0" in client.get("/metrics").text


def test_a_surprise_is_told_with_the_id_of_its_own_request(tmp_path: Path) -> None:
    """Answers come through the engine's connection, which was the first request's: so were the ids."""

    def surprising(requests: list[Request]) -> list[Reply]:
        return [
            ListReply(["i1", "i2"], [1.0])
            if isinstance(request, RecommendRequest)
            else EventReply()
            for request in requests
        ]

    address = f"unix:{tmp_path}/engine.sock"
    version = toy_bundle(tmp_path / "for-version").version
    server = serve(surprising, address, version=version)
    with gateway(tmp_path, None) as client:
        for own_id in ("first", "second"):
            given_id = {"X-Request-Id": own_id}
            answer = client.get("/v1/users/ann/recommendations", headers=given_id)
            while answer.status_code == 200:  # the engine's connection is not there yet
                answer = client.get("/v1/users/ann/recommendations", headers=given_id)
            assert (answer.status_code, answer.json()["request_id"]) == (500, own_id)
            assert answer.headers["X-Request-Id"] == own_id
    server.stop(1)


class ForgetfulStore(SqlEventStore):
    """Says nothing of what it has stored."""

    def append_at_once(self, events_in: Sequence[Event]) -> list[Appended] | None:
        super().append_at_once(events_in)
        return []


def test_a_store_that_says_too_little_is_a_surprise_on_both_ways(tmp_path: Path) -> None:
    """Where a call tells what became of events, nobody was told of a surprise, and the request hung."""
    for name in ("short", "long"):
        store = ForgetfulStore(f"sqlite:///{tmp_path}/{name}.db", "process")
        store.prepare()
        app = create_app(
            Settings.load(database_url=f"sqlite:///{tmp_path}/{name}.db"),
            bundle=toy_bundle(tmp_path / f"bundle-{name}"),
            engine=LocalEngineClient(ToyEngine("toy")),
            store=store,
        )
        with running(app, short_way=name == "short") as way:
            answer = way.post("/v1/events", json={"user_id": "ann", "item_id": "i1"})
            assert answer.status_code == 500
