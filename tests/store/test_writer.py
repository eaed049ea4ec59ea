"""The group commit: shared transactions, faults that reach their callers, and a clean end."""

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from moerec.errors import StorageError
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.store.writer import GROUP_LIMIT, WAITING_LIMIT, GroupCommitWriter
from moerec.types import Event, ItemId, UserId


class GatedStore(SqlEventStore):
    """A real store whose appends wait for a gate, fail on demand, and are counted."""

    gate: threading.Event
    sizes: list[int]
    refuse: str = ""
    fault: Exception = StorageError("The disk is full.")

    def append(self, events_in: Sequence[Event]) -> list[Appended]:
        self.sizes.append(len(events_in))
        self.gate.wait(5)
        if self.refuse and any(event.event_id.startswith(self.refuse) for event in events_in):
            raise self.fault
        return super().append(events_in)


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    store = GatedStore(url, "process")
    store.gate = threading.Event()
    store.gate.set()
    store.sizes = []
    return store


def event(event_id: str) -> Event:
    return Event(event_id, UserId("ann"), ItemId("i1"), 1)


async def wait_for_first_append(store: GatedStore) -> None:
    while not store.sizes:
        await asyncio.sleep(0.005)


async def test_callers_who_wait_together_share_one_transaction(store: GatedStore) -> None:
    seconds: list[float] = []
    writer = GroupCommitWriter(store, seconds.append)
    store.gate.clear()
    first = asyncio.create_task(writer.append([event("first")]))
    await wait_for_first_append(store)
    others = [
        asyncio.create_task(writer.append([event(f"e{n}"), event(f"f{n}")])) for n in range(50)
    ]
    await asyncio.sleep(0.02)
    store.gate.set()
    results = await asyncio.gather(first, *others)
    writer.close()
    store.close()
    assert store.sizes == [1, 100]
    assert [one.event_id for one in results[7]] == ["e6", "f6"]
    assert [one.user_number for batch in results for one in batch] == list(range(1, 102))
    assert len(seconds) == 2


async def test_a_group_stops_growing_at_its_limit(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    store.gate.clear()
    first = asyncio.create_task(writer.append([event("first")]))
    await wait_for_first_append(store)
    batches = [[event(f"{batch}-{n}") for n in range(GROUP_LIMIT // 2)] for batch in range(3)]
    others = [asyncio.create_task(writer.append(batch)) for batch in batches]
    await asyncio.sleep(0.02)
    store.gate.set()
    await asyncio.gather(first, *others)
    writer.close()
    store.close()
    assert store.sizes == [1, GROUP_LIMIT, GROUP_LIMIT // 2]


async def test_a_full_disk_reaches_the_callers_and_the_writer_lives_on(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    store.refuse = "e"
    with pytest.raises(StorageError, match="disk is full"):
        await writer.append([event("e1")])
    store.refuse = ""
    assert (await writer.append([event("e1")]))[0].user_number == 1
    writer.close()
    store.close()


async def test_one_refused_batch_does_not_spoil_the_others_of_its_group(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    store.gate.clear()
    first = asyncio.create_task(writer.append([event("first")]))
    await wait_for_first_append(store)
    store.refuse = "bad"
    store.fault = ValueError("a surprise")
    names = ["a", "bad", "b"]
    others = [asyncio.create_task(writer.append([event(name)])) for name in names]
    await asyncio.sleep(0.02)
    store.gate.set()
    await first
    results = await asyncio.gather(*others, return_exceptions=True)
    writer.close()
    store.close()
    assert isinstance(results[1], StorageError)
    assert [type(result) for result in results] == [list, StorageError, list]


async def test_more_waiting_calls_than_the_limit_are_refused_at_once(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    store.gate.clear()
    first = asyncio.create_task(writer.append([event("first")]))
    await wait_for_first_append(store)
    others = [asyncio.create_task(writer.append([])) for _ in range(WAITING_LIMIT)]
    await asyncio.sleep(0)
    with pytest.raises(StorageError, match="wait for the event store already"):
        await writer.append([event("one too many")])
    store.gate.set()
    await asyncio.gather(first, *others)
    writer.close()
    store.close()


async def test_close_writes_what_waits_and_refuses_what_comes_later(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    waiting = [asyncio.create_task(writer.append([event(f"e{n}")])) for n in range(20)]
    await asyncio.sleep(0)
    writer.close()
    writer.close()
    assert len(await asyncio.gather(*waiting)) == 20
    with pytest.raises(StorageError, match="closed"):
        await writer.append([event("late")])
    assert store.counts().events == 20
    store.close()


async def test_a_caller_who_goes_away_does_not_take_the_event_along(store: GatedStore) -> None:
    writer = GroupCommitWriter(store)
    store.gate.clear()
    asked = asyncio.create_task(writer.append([event("a")]))
    await wait_for_first_append(store)
    asked.cancel()
    store.gate.set()
    assert (await writer.append([event("b")]))[0].user_number == 2
    writer.close()
    store.close()
