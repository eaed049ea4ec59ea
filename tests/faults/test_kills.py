"""kill -9 of the engine and of the gateway under load: answers go on, no acknowledged event is lost."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psutil
import pytest

from moerec.store.sql import open_event_store
from moerec.types import UserId
from tests.serving import Served, serving, wait_until
from tests.tiny import tiny_bundle

ITEMS = 3_000


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/events.db"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, database_url: str) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("faults")
    bundle = tiny_bundle(folder / "bundle", ITEMS)
    chosen = {"MOEREC_DEADLINE_MS": "2000", "MOEREC_USER_RATE": "0"}
    with serving(bundle.path, database_url, folder / "log", **chosen) as served:
        yield served


class Loop:
    """Calls `step(0)`, `step(1)` ... in a thread until stopped; an exception in it fails the test."""

    def __init__(self, step: Callable[[int], None]) -> None:
        self._step = step
        self._stopping = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Loop":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 30.0) -> None:
        """As the function of that name, but an error in the loop ends the waiting."""
        wait_until(lambda: self._error or condition(), timeout_s)
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        number = 0
        try:
            while not self._stopping.is_set():
                self._step(number)
                number += 1
        except BaseException as error:
            self._error = error


def event(user_id: str, number: int) -> dict[str, Any]:
    """Unpopular items first, so that there are popular ones left to fall back on."""
    item_id = f"i{ITEMS - number % ITEMS}"
    return {"event_id": f"{user_id}-{number}", "user_id": user_id, "item_id": item_id}


def stored_events(database_url: str, user_id: str) -> dict[str, int]:
    with closing(open_event_store(database_url)) as store:
        found = store.history(UserId(user_id), 100_000)
    return {stored.event.event_id: stored.user_number for stored in found}


def test_kill_9_of_the_engine(served: Served, database_url: str) -> None:
    user = "under-engine-fault"
    acknowledged: list[str] = []
    answers: list[str | None] = []

    def send_and_ask(number: int) -> None:
        result = served.post("/v1/events", event(user, number))["results"][0]
        acknowledged.append(result["event_id"])
        answer = served.get(f"/v1/users/{user}/recommendations?k=3")
        assert len(answer["items"]) == 3
        answers.append(answer["fallback"]["code"] if answer["fallback"] else None)

    before = served.child("moerec.engine.server").pid
    with Loop(send_and_ask) as loop:
        loop.wait_until(lambda: answers[-3:] == [None] * 3)
        served.child("moerec.engine.server").kill()
        loop.wait_until(lambda: "engine_unavailable" in answers)
        loop.wait_until(lambda: answers[-3:] == [None] * 3, 60)
    assert set(answers) == {None, "engine_unavailable"}
    assert served.child("moerec.engine.server").pid != before

    stored = stored_events(database_url, user)
    assert set(acknowledged) <= set(stored)
    assert sorted(stored.values()) == list(range(1, len(stored) + 1))
    last_items = {event(user, len(acknowledged) - 1 - back)["item_id"] for back in range(5)}
    answer = served.get(f"/v1/users/{user}/recommendations?k=100")
    assert answer["fallback"] is None
    assert not last_items & {item["item_id"] for item in answer["items"]}


def test_kill_9_of_the_gateway(served: Served, database_url: str) -> None:
    user = "under-gateway-fault"
    acknowledged: list[str] = []
    refused: list[int] = []

    def send(number: int) -> None:
        while True:
            try:
                result = served.post("/v1/events", event(user, number))["results"][0]
                break
            except (OSError, http.client.HTTPException):
                # As a client does: the same event again, until it is acknowledged.
                refused.append(number)
                time.sleep(0.02)
        acknowledged.append(result["event_id"])

    with Loop(send) as loop:
        loop.wait_until(lambda: len(acknowledged) > 20)
        served.child("moerec.api.main").kill()
        loop.wait_until(lambda: refused)
        resumed = len(acknowledged)
        loop.wait_until(lambda: len(acknowledged) > resumed + 20, 60)

    stored = stored_events(database_url, user)
    assert set(stored) == set(acknowledged)
    assert sorted(stored.values()) == list(range(1, len(stored) + 1))

    seen = {event(user, number)["item_id"] for number in range(len(acknowledged))}

    def everything_is_known() -> bool:
        answer = served.get(f"/v1/users/{user}/recommendations?k=100")
        items = {item["item_id"] for item in answer["items"]}
        return answer["fallback"] is None and not seen & items

    wait_until(everything_is_known, 10)


def test_kill_9_of_the_supervisor_leaves_no_orphan(served: Served) -> None:
    """Comes last in this file: the service is gone afterwards."""
    children = psutil.Process(served.process.pid).children()
    assert len(children) == 2
    served.process.kill()
    served.process.wait()
    wait_until(lambda: not [child for child in children if child.is_running()])
