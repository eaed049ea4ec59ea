"""The group commit: by the event loop and in its thread, faults that reach their callers, a clean end."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from moerec.errors import StorageError
from moerec.store.interfaces import Appended
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.store.writer import (
    CHECKPOINT_EVENTS,
    GROUP_LIMIT,
    ON_LOOP_LIMIT,
    SLOW_IN_A_ROW,
    SLOW_S,
    WAITING_LIMIT,
    GroupCommitWriter,
)
from moerec.types import Event, ItemId, UserId


class GatedStore(SqlEventStore):
    """A real store for the thread: its appends wait for a gate, fail on demand, and are counted."""

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

    def append_at_once(self, events_in: Sequence[Event]) -> None:
        return None


@pytest.fixture
def store(tmp_path: Path) -> GatedStore:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    store = GatedStore(url, "process")
    store.gate = threading.Event()
    store.gate.set()
    store.sizes = []
    return store


class WatchedStore(SqlEventStore):
    """A real store that notes who commits how much, and whose commits can be slow or fail."""

    on_loop: list[int]
    in_thread: list[int]
    gate: threading.Event  # the thread waits here, before it has any lock
    checkpoints: int
    slow = False
    fault: Exception | None = None
    checkpoint_fault: Exception | None = None
    checkpoint_gate: threading.Event | None = None

    def append_at_once(self, events_in: Sequence[Event]) -> list[Appended] | None:
        if self.fault is not None:
            raise self.fault
        appended = super().append_at_once(events_in)
        if self.slow:
            time.sleep(2 * SLOW_S)
        if appended is not None:
            self.on_loop.append(len(events_in))
        return appended

    def append(self, events_in: Sequence[Event]) -> list[Appended]:
        self.in_thread.append(len(events_in))
        self.gate.wait(5)
        return super().append(events_in)

    def checkpoint(self) -> None:
        self.checkpoints += 1
        if self.checkpoint_gate is not None:
            self.checkpoint_gate.wait(20)
        if self.checkpoint_fault is not None:
            raise self.checkpoint_fault
        super().checkpoint()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[WatchedStore]:
    url = f"sqlite:///{tmp_path}/events.db"
    open_event_store(url).close()
    with closing(WatchedStore(url, "process")) as watched:
        watched.on_loop, watched.in_thread, watched.checkpoints = [], [], 0
        watched.gate = threading.Event()
        watched.gate.set()
        yield watched


@pytest.fixture
def writer(watched: WatchedStore) -> Iterator[GroupCommitWriter]:
    with closing(GroupCommitWriter(watched)) as writer:
        yield writer


def event(event_id: str, user: str = "ann") -> Event:
    return Event(event_id, UserId(user), ItemId("i1"), 1)


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


async def test_what_comes_in_one_turn_of_the_loop_is_one_transaction_there(
    watched: WatchedStore,
) -> None:
    seconds: list[float] = []
    writer = GroupCommitWriter(watched, seconds.append)
    calls = [writer.append([event(f"e{n}"), event(f"f{n}")]) for n in range(5)]
    results = await asyncio.gather(*calls, writer.append([]))
    writer.close()
    assert (watched.on_loop, watched.in_thread, len(seconds)) == ([10], [], 1)
    assert [one.event_id for one in results[2]] == ["e2", "f2"]
    assert [one.user_number for batch in results for one in batch] == list(range(1, 11))


async def test_who_comes_soon_after_a_commit_shares_the_next_one(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    await writer.append([event("first")])
    second = asyncio.create_task(writer.append([event("second")]))
    await asyncio.sleep(0)
    await asyncio.gather(second, writer.append([event("third")]))
    assert watched.on_loop == [1, 2]


async def test_a_large_group_does_not_hold_the_loop_up(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    await writer.append([event(f"e{n}") for n in range(ON_LOOP_LIMIT + 1)])
    assert (watched.on_loop, watched.in_thread) == ([], [ON_LOOP_LIMIT + 1])


async def test_the_loop_does_not_overtake_the_thread(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    """Later events of a user would get the earlier numbers."""
    watched.gate.clear()
    large = [event(f"e{n}") for n in range(ON_LOOP_LIMIT + 1)]
    first = asyncio.create_task(writer.append(large))
    while not watched.in_thread:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(writer.append([event("later")]))
    await asyncio.sleep(0.02)
    assert watched.on_loop == []
    watched.gate.set()
    await first
    assert [one.user_number for one in await second] == [ON_LOOP_LIMIT + 2]


async def test_who_meets_another_writer_waits_in_the_thread_and_the_loop_goes_on(
    watched: WatchedStore, writer: GroupCommitWriter, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "events.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = asyncio.create_task(writer.append([event("a")]))
        while not watched.in_thread:
            await asyncio.sleep(0.005)
        second = asyncio.create_task(writer.append([event("b")]))
        await asyncio.sleep(0.02)
        assert not first.done()
        other.execute("COMMIT")
        assert [one.user_number for one in [*await first, *await second]] == [1, 2]
    assert (await writer.append([event("c")]))[0].user_number == 3
    assert (watched.on_loop, watched.in_thread) == ([1], [1, 1])


async def test_a_slow_disk_sends_commits_to_the_thread_for_a_while(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    watched.slow = True
    for n in range(SLOW_IN_A_ROW):
        await writer.append([event(f"slow{n}")])
    watched.slow = False
    await writer.append([event("after")])
    assert (watched.on_loop, watched.in_thread) == ([1] * SLOW_IN_A_ROW, [1])
    count = 0
    while len(watched.on_loop) == SLOW_IN_A_ROW:
        await asyncio.sleep(0.05)
        await writer.append([event(f"later{count}")])
        count += 1
    assert watched.last_number() == SLOW_IN_A_ROW + 1 + count


async def test_a_fault_on_the_loop_is_found_again_in_the_thread(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    watched.fault = StorageError("The disk is full.")
    (one,) = await writer.append([event("a")])
    assert (one.user_number, watched.in_thread) == (1, [1])


async def test_an_event_that_cannot_be_stored_spoils_its_own_call_only(
    writer: GroupCommitWriter,
) -> None:
    bad = Event("bad", UserId("ann"), ItemId("i1"), 2**70)
    calls = [writer.append([one]) for one in (event("a"), bad, event("b"))]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [list, StorageError, list]


async def test_the_thread_makes_a_checkpoint_after_so_many_events_and_survives_a_failed_one(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    """By a count of commits, the log would grow with the size of the calls."""
    watched.checkpoint_fault = OSError("no")
    while sum(watched.on_loop) < 2 * CHECKPOINT_EVENTS:
        number = len(watched.on_loop) + len(watched.in_thread)
        await writer.append([event(f"{number}-{n}", f"u{n}") for n in range(ON_LOOP_LIMIT)])
    writer.close()
    assert watched.checkpoints == 2


async def test_two_loops_of_two_threads_share_a_writer(watched: WatchedStore) -> None:
    writer = GroupCommitWriter(watched)

    async def one_after_the_other(user: str) -> list[int]:
        return [
            (await writer.append([event(f"{user}{n}", user)]))[0].user_number for n in range(60)
        ]

    theirs: list[list[int]] = []
    other = threading.Thread(target=lambda: theirs.append(asyncio.run(one_after_the_other("bob"))))
    other.start()
    ours = await one_after_the_other("ann")
    await asyncio.to_thread(other.join)
    writer.close()
    assert [ours, *theirs] == [list(range(1, 61))] * 2
    assert [one.table_number for one in watched.since(0, 1000)] == list(range(1, 121))


async def test_nobody_waits_for_a_checkpoint(
    watched: WatchedStore, writer: GroupCommitWriter
) -> None:
    """Whoever came in the moment before it began was handed to the thread that made it, and so were all who
    came behind: they were answered when it was done."""
    watched.checkpoint_gate = threading.Event()
    number = 0
    while watched.checkpoints == 0 or number % 5:
        events = [event(f"{number}-{n}", f"u{n}") for n in range(ON_LOOP_LIMIT)]
        await asyncio.wait_for(writer.append(events), 10)
        number += 1
    for n in range(2 * CHECKPOINT_EVENTS // ON_LOOP_LIMIT):
        await asyncio.wait_for(
            writer.append([event(f"more-{n}-{k}", f"u{k}") for k in range(ON_LOOP_LIMIT)]), 10
        )
    assert watched.checkpoints == 1, "others are asked for when it is done"
    watched.checkpoint_gate.set()
