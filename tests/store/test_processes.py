"""Several processes with a writer each, on one file."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

from moerec.store.sql import open_event_store

WRITE_TOGETHER = """
import asyncio, sys
from moerec.store.sql import open_event_store
from moerec.store.writer import GroupCommitWriter
from moerec.types import Event
store = open_event_store(sys.argv[1])
async def one_after_the_other(writer, user):
    for n in range(40):
        (one,) = await writer.append([Event(f"{sys.argv[2]}-{user}-{n}", user, "i1", n)])
        print(one.event_id, one.user_number)
async def main():
    writer = GroupCommitWriter(store)
    await asyncio.gather(*[one_after_the_other(writer, f"u{k}") for k in range(10)])
    writer.close()
asyncio.run(main())
store.close()
"""


def test_two_processes_write_at_once_without_a_hole(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE_TOGETHER, url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    acknowledged = {}
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        acknowledged.update({line.split()[0]: int(line.split()[1]) for line in said.splitlines()})
    with closing(open_event_store(url)) as store:
        stored = store.since(0, 10_000)
    assert {one.event.event_id: one.user_number for one in stored} == acknowledged
    assert [one.table_number for one in stored] == list(range(1, 801))
    for user in {one.event.user_id for one in stored}:
        of_user = [one for one in stored if one.event.user_id == user]
        assert [one.user_number for one in of_user] == list(range(1, 81))
        for process_name in ("one", "two"):
            times = [
                one.event.timestamp_ms
                for one in of_user
                if one.event.event_id.startswith(process_name)
            ]
            assert times == list(range(40))


CHANGE_ITEMS = """
import sys
from moerec.store.sql import open_event_store
store = open_event_store(sys.argv[1])
for n in range(100):
    for made in store.change_items({f"{sys.argv[2]}-{n}": {"title": "t"}, "shared": None}):
        print(made.item_id, made.number)
store.close()
"""


def test_two_processes_that_change_items_at_once_give_no_number_twice(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CHANGE_ITEMS, url, name], stdout=subprocess.PIPE, text=True
        )
        for name in ("one", "two")
    ]
    given = []
    for process in processes:
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        given += [(line.split()[0], int(line.split()[1])) for line in said.splitlines()]
    assert sorted(number for _, number in given) == list(range(1, 401))
    with closing(open_event_store(url)) as store:
        stored = store.item_changes(0, 1000)
    newest = dict(sorted(given, key=lambda one: one[1]))
    assert {change.item_id: change.number for change in stored} == newest
