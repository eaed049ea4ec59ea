"""Items that come and go while real processes serve: in the next list, and in those after a restart."""

from pathlib import Path

import pytest

from moerec.artifacts.bundle import Bundle
from tests.serving import Served, serving, wait_until
from tests.tiny import tiny_bundle

ENGINE = "moerec.engine.server"
PATIENT = {"MOEREC_DEADLINE_MS": "5000"}


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """i39 is nothing but its group, g3: a new item of that group has the same vector."""
    return tiny_bundle(tmp_path / "bundle", groups=5)


def similar(served: Served, item_id: str, k: int = 40) -> dict[str, str]:
    """Titles by id, the nearest first; of the model, or nothing."""
    answer = served.get(f"/v1/items/{item_id}/similar?k={k}")
    return {item["item_id"]: item["title"] for item in answer["items"] if not answer["fallback"]}


def change(served: Served) -> None:
    """A new item comes, two of the bundle's go and one of these comes back."""
    new = served.put("/v1/items/new", {"title": "New", "group": "g3", "colour": "red"})
    assert (new["status"], new["live"]) == ("added", True)
    for item_id in ("i1", "i39"):
        assert served.delete(f"/v1/items/{item_id}")["live"]
    back = served.put("/v1/items/i39", {"title": "Back", "group": "g3"})
    assert (back["status"], back["live"]) == ("trained", True)


def check(served: Served) -> None:
    """What lists are after that."""
    listed = similar(served, "i39")
    assert next(iter(listed.items())) == ("new", "New")
    assert len(listed) == 39
    assert "i1" not in listed
    assert next(iter(similar(served, "new").items())) == ("i39", "Back")
    popular = served.get("/v1/popular?k=100")["items"]
    assert [item["item_id"] for item in popular] == [f"i{number}" for number in range(2, 41)]


def test_changes_are_in_the_next_list_and_survive_restarts(bundle: Bundle, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with serving(bundle.path, url, tmp_path / "log", **PATIENT) as served:
        assert next(iter(similar(served, "i39"))) != "new"
        change(served)
        check(served)
        first = served.child(ENGINE)
        first.kill()
        wait_until(lambda: [each.pid for each in served.children(ENGINE)] not in ([], [first.pid]))
        wait_until(lambda: similar(served, "i39"))
        check(served)
    with serving(bundle.path, url, tmp_path / "log", **PATIENT) as served:
        check(served)
        text = served.text("/metrics")
    assert 'moerec_engine_items_added{engine="engine"} 1.0' in text
    assert 'moerec_engine_items_removed{engine="engine"} 1.0' in text


def test_every_engine_has_a_change_before_it_is_live(bundle: Bundle, tmp_path: Path) -> None:
    """Requests about items go to whichever is least busy: each of them is asked in turn."""
    url = f"sqlite:///{tmp_path}/events.db"
    with serving(bundle.path, url, tmp_path / "log", MOEREC_ENGINES="2", **PATIENT) as served:
        change(served)
        for k in range(30, 36):  # another length is not in the cache
            assert next(iter(similar(served, "i39", k))) == "new"
            assert "i1" not in similar(served, "i39", k)


@pytest.mark.slow
def test_a_new_item_counts_in_histories(bundle: Bundle, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with serving(bundle.path, url, tmp_path / "log", **PATIENT) as served:
        path = "/v1/users/ann/recommendations?k=40"
        served.post("/v1/events", {"user_id": "ann", "item_id": "new"})
        assert served.get(path)["fallback"]["code"] == "no_known_items"
        assert served.put("/v1/items/new", {"group": "g3"})["live"]
        listed = served.get(path)
        assert listed["fallback"] is None
        ids = [item["item_id"] for item in listed["items"]]
        assert len(ids) == 40
        assert "new" not in ids
        served.delete(f"/v1/items/{ids[0]}")
        assert [item["item_id"] for item in served.get(path)["items"]] == ids[1:]
