"""Two engines, one of them killed under requests: its users are answered by the other, then by it again."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.test_kills import Loop
from tests.serving import Served, serving, wait_until
from tests.tiny import tiny_bundle

ITEMS = 200
USERS = [f"user{number}" for number in range(6)]
ENGINE = "moerec.engine.server"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("several")
    bundle = tiny_bundle(folder / "bundle", ITEMS)
    url = f"sqlite:///{folder}/events.db"
    # One user asks as fast as answers come.
    unlimited = {"MOEREC_USER_RATE": "0", "MOEREC_DEADLINE_MS": "10000"}
    settings = {"MOEREC_ENGINES": "2", **unlimited}
    with serving(bundle.path, url, folder / "log", **settings) as served:
        yield served


def reachable(served: Served) -> list[bool]:
    """Which engines answered when the metrics were read."""
    lines = served.text("/metrics").splitlines()
    found = [line for line in lines if line.startswith("moerec_engine_reachable{")]
    assert [line.partition("}")[0][-9:-1] for line in found] == ["engine-1", "engine-2"]
    return [line.endswith(" 1.0") for line in found]


def both_answer(served: Served) -> bool:
    return len(pids(served)) == 2 and reachable(served) == [True, True]


def pids(served: Served) -> set[int]:
    """Of the living engines."""
    return {child.pid for child in served.children(ENGINE)}


def items_of(answer: dict[str, Any]) -> list[str]:
    assert answer["fallback"] is None, answer["fallback"]
    return [item["item_id"] for item in answer["items"]]


@pytest.mark.slow
def test_kill_9_of_one_engine_under_requests(served: Served) -> None:
    """Every answer is the model's and right: before, from the other engine, and from the new one."""
    for place, user in enumerate(USERS):
        for number in range(3):
            event = {"user_id": user, "item_id": f"i{1 + 5 * place + number}"}
            served.post("/v1/events", event)
    wait_until(lambda: both_answer(served), 60)

    def answers() -> dict[str, list[str]]:
        return {user: items_of(served.get(f"/v1/users/{user}/recommendations")) for user in USERS}

    expected = answers()
    rounds = 0
    seen: list[str] = []

    def ask_and_tell(number: int) -> None:
        nonlocal rounds
        assert answers() == expected
        item = f"i{ITEMS - number % 100}"
        seen.append(item)
        served.post("/v1/events", {"user_id": "mover", "item_id": item})
        shown = items_of(served.get("/v1/users/mover/recommendations?k=50"))
        assert not set(seen) & set(shown)
        similar = served.get("/v1/items/i1/similar?k=3")
        assert len(items_of(similar)) == 3
        rounds += 1

    def go_on(loop: Loop) -> None:
        until = rounds + 3
        loop.wait_until(lambda: rounds >= until)

    def kill_one(victim: int, loop: Loop) -> None:
        go_on(loop)
        killed = served.children(ENGINE)[victim]
        killed.kill()
        go_on(loop)
        loop.wait_until(lambda: killed.pid not in pids(served) and both_answer(served), 60)
        go_on(loop)

    for victim in (0, 1):
        with Loop(ask_and_tell) as loop:
            kill_one(victim, loop)
        assert served.get("/readyz")["status"] == "ready"
