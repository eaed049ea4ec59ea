"""The users' store: loaded once, the same each time, and a run works on a copy."""

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from moerec.errors import UsageError
from moerec.loadtest.plan import Plan
from moerec.loadtest.synthetic import World
from moerec.loadtest.users import histories, prepared_store, user_id, working_copy
from moerec.store.sql import open_event_store
from moerec.types import Event, ItemId

CATALOGUE = [f"i{number:03}" for number in range(300)]


def a_plan(tmp_path: Path) -> Plan:
    return Plan(items=300, users=50, events_a_user=(2, 6), folder=tmp_path / "bench")


def test_every_user_gets_a_history_and_a_second_run_finds_it(tmp_path: Path) -> None:
    plan, told = a_plan(tmp_path), []
    loaded = prepared_store(plan, CATALOGUE, lambda *done: told.append(done))
    assert told[-1] == (50, 50)
    assert loaded.users == 50
    assert loaded.seconds is not None
    assert loaded.to_dict()["bytes_an_event"] > 0
    with closing(open_event_store(f"sqlite:///{loaded.path}")) as store:
        found = [store.history(user_id(number), 100) for number in range(50)]
    assert {len(history) for history in found} == set(range(2, 7))
    assert sum(map(len, found)) == loaded.events
    expected = dict(histories(plan, World(CATALOGUE, plan.seed), 0, 50))
    assert [[one.event.item_id for one in history] for history in found] == [
        [event.item_id for event in expected[user_id(number)]] for number in range(50)
    ]
    again = prepared_store(plan, list(reversed(CATALOGUE)), lambda *_: None)
    assert (again.path, again.events, again.seconds) == (loaded.path, loaded.events, None)
    other = prepared_store(plan, [*CATALOGUE, "one more"], lambda *_: None)
    assert other.path != loaded.path
    assert sorted(path.name for path in plan.folder.iterdir()) == sorted(
        [loaded.path.name, other.path.name]
    )


def test_a_run_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    loaded = prepared_store(a_plan(tmp_path), CATALOGUE, lambda *_: None)
    with working_copy(loaded) as url, closing(open_event_store(url)) as store:
        assert store.counts().events == loaded.events
        store.append([Event("new", user_id(0), ItemId("i001"), 1_800_000_000_000)])
    assert [path.name for path in loaded.path.parent.iterdir()] == [loaded.path.name]
    with closing(open_event_store(f"sqlite:///{loaded.path}")) as store:
        assert store.counts().events == loaded.events


def test_a_disk_without_room_is_refused_before_the_work(tmp_path: Path) -> None:
    users = shutil.disk_usage(tmp_path).free // 1_000
    plan = Plan(users=users, events_a_user=(50, 50), folder=tmp_path / "bench")
    with pytest.raises(UsageError, match="room") as refused:
        prepared_store(plan, CATALOGUE, lambda *_: None)
    assert "--dir" in refused.value.remedy
