"""Changes of items on their way: to the engines' lists, to other gateways, to the next start."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import httpx
import pytest

from moerec.api.catalogue import Catalogue
from moerec.api.items import PAGE, ItemService
from moerec.errors import StorageError
from moerec.observability.metrics import Metrics
from moerec.store.interfaces import EventStore
from moerec.store.sql import SqlEventStore, open_event_store
from moerec.transport.client import EngineClient, LocalEngineClient
from moerec.transport.fleet import EngineFleet
from moerec.transport.frames import ItemsPush, ItemsReply, Reply, Request
from moerec.transport.remote import RemoteEngineClient
from moerec.types import ItemChange, ItemId
from tests.api.toy import ToyEngine, gateway, toy_bundle, toy_gateway


class Engine:
    """Confirms changes as `numbers` say, one after the other and then the last for ever."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = list(numbers)
        self.asked: list[Request] = []

    def __call__(self, requests: list[Request]) -> list[Reply]:
        self.asked += requests
        return [ItemsReply(self.numbers.pop(0) if self.numbers[1:] else self.numbers[0])]


def broken(requests: list[Request]) -> list[Reply]:
    raise ValueError("a fault")


def hanging(requests: list[Request]) -> list[Reply]:
    time.sleep(0.5)
    return [ItemsReply(1) for _ in requests]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[EventStore]:
    with closing(open_event_store(f"sqlite:///{tmp_path}/events.db")) as store:
        yield store


@asynccontextmanager
async def service_of(
    folder: Path,
    store: EventStore,
    *handlers: Callable[[list[Request]], list[Reply]],
    away: int = 0,
) -> AsyncIterator[ItemService]:
    """A service over engines of one call each, and some that are away."""
    clients: dict[str, EngineClient] = {
        f"away{n}": RemoteEngineClient(f"unix:{folder}/away{n}.sock") for n in range(away)
    }
    clients |= {f"there{n}": LocalEngineClient(each) for n, each in enumerate(handlers)}
    fleet = EngineFleet(clients)
    catalogue = Catalogue.of(toy_bundle(folder / f"bundle{len(handlers)}"))
    yield ItemService(catalogue, fleet, store, Metrics(), live_within_s=0.3)
    await fleet.close()


async def test_engines_are_asked_until_they_have_the_change(
    tmp_path: Path, store: EventStore
) -> None:
    slow, quick = Engine(0, 0, 0, 1), Engine(7)
    async with service_of(tmp_path, store, slow, quick) as service:
        assert (await service.put("new", {"title": "New"})).live
        assert slow.asked == [ItemsPush(1)] * 4
        assert quick.asked == [ItemsPush(1)]
        assert service.catalogue.is_settled


@pytest.mark.parametrize("other", [Engine(0), broken, hanging])
async def test_an_engine_that_does_not_confirm_makes_it_not_live(
    tmp_path: Path, store: EventStore, other: Callable[[list[Request]], list[Reply]]
) -> None:
    async with service_of(tmp_path, store, Engine(9), other) as service:
        put = await service.put("new", {"title": "New"})
        assert (put.status, put.live) == ("added", False)
        assert not service.catalogue.is_settled
    assert store.item(ItemId("new")) == ItemChange(1, ItemId("new"), {"title": "New"})


async def test_engines_that_are_away_are_not_waited_for(tmp_path: Path, store: EventStore) -> None:
    async with service_of(tmp_path, store, Engine(9), away=2) as service:
        assert (await service.put("new", {})).live
    async with service_of(tmp_path, store, away=2) as service:
        assert not (await service.put("newer", {})).live
    assert store.item(ItemId("newer")) is not None


async def test_many_at_once_have_each_their_number(tmp_path: Path, store: EventStore) -> None:
    async with service_of(tmp_path, store, Engine(9**9)) as service:
        made = await asyncio.gather(*(service.put(f"n{n}", {"title": "t"}) for n in range(40)))
        assert all(one.live for one in made)
        assert (service.catalogue.number, service.catalogue.confirmed) == (40, 40)


async def test_all_pages_are_read(tmp_path: Path, store: EventStore) -> None:
    store.change_items({ItemId(f"n{n}"): {"title": f"Title {n}"} for n in range(2 * PAGE + 1)})
    async with service_of(tmp_path, store, Engine(0)) as service:
        await service.catch_up()
        assert service.catalogue.titles[f"n{2 * PAGE}"] == f"Title {2 * PAGE}"
        store.change_items({ItemId("n0"): {"title": "Other"}})
        await service.catch_up()
        assert service.catalogue.titles["n0"] == "Other"


class Growing(SqlEventStore):
    """A store to which an item comes each time that it is read."""

    reads = 0

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        self.reads += 1
        assert self.reads <= 3
        self.change_items({ItemId(f"n{self.reads}"): {"title": "New"}})
        return super().item_changes(after, limit)


async def test_what_comes_meanwhile_is_for_the_next_time(tmp_path: Path) -> None:
    """It went on until nothing came any more: no gateway started while others loaded a catalogue."""
    with closing(Growing(f"sqlite:///{tmp_path}/events.db", "process")) as store:
        store.prepare()
        async with service_of(tmp_path, store, Engine(0)) as service:
            await service.catch_up()
            assert store.reads == service.catalogue.number == 1


class Failing(SqlEventStore):
    """A store whose changes cannot be read for the first times."""

    left = 1

    def item_changes(self, after: int, limit: int) -> list[ItemChange]:
        self.left -= 1
        if self.left >= 0:
            raise StorageError("The disk has gone.")
        return super().item_changes(after, limit)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


async def test_who_follows_goes_on_after_a_fault_and_finds_the_engines_behind(
    tmp_path: Path, store: EventStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.change_items({ItemId("i12"): None})
    with closing(Failing(f"sqlite:///{tmp_path}/events.db", "process")) as failing:
        async with service_of(tmp_path, failing, Engine(1)) as service:
            with caplog.at_level(logging.WARNING):
                task = asyncio.create_task(service.follow())
                await until(lambda: service.catalogue.number == 1 and service.catalogue.is_settled)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
    assert "could not be followed: The disk has gone." in caplog.text


def titles(client: httpx.Client) -> Sequence[str]:
    return [item["title"] for item in client.get("/v1/popular?k=2").json()["items"]]


def test_a_gateway_starts_with_what_is_in_the_table(tmp_path: Path, store: EventStore) -> None:
    store.change_items({ItemId("i12"): None, ItemId("i11"): {"title": "Eleven"}})
    with toy_gateway(tmp_path) as (client, _):
        assert titles(client) == ["Eleven", "Title i10"]
        assert client.get("/v1/items/i12").json()["status"] == "removed"


def test_a_gateway_follows_another_one(tmp_path: Path) -> None:
    engine = ToyEngine("v")
    url = f"sqlite:///{tmp_path}/events.db"
    with (
        gateway(tmp_path / "one", LocalEngineClient(ToyEngine("v")), open_event_store(url)) as one,
        gateway(tmp_path / "two", LocalEngineClient(engine), open_event_store(url)) as other,
    ):
        one.put("/v1/items/i11", json={"title": "Eleven"})
        one.delete("/v1/items/i12")
        # What the other one is asked for by name it looks up in the table.
        assert other.get("/v1/items/i12").json()["status"] == "removed"
        deadline = time.monotonic() + 10
        while titles(other) != ["Eleven", "Title i10"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        while ItemsPush(2) not in engine.asked:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_kept_list_of_similar_items_ends_with_a_change(tmp_path: Path) -> None:
    with toy_gateway(tmp_path) as (client, engine):
        before = [client.get("/v1/items/i1/similar?k=2").json() for _ in range(2)]
        assert [answer["cached"] for answer in before] == [False, True]
        engine.items.remove("i2")
        client.delete("/v1/items/i2")
        after = [client.get("/v1/items/i1/similar?k=2").json() for _ in range(2)]
        assert [answer["cached"] for answer in after] == [False, True]
        assert [item["item_id"] for item in after[1]["items"]] == ["i3", "i4"]


def test_a_list_of_an_engine_that_is_behind_is_not_kept(tmp_path: Path) -> None:
    """It would be repeated for minutes as one of after the change."""
    with toy_gateway(tmp_path) as (client, engine):
        engine.confirmed = 0
        assert client.delete("/v1/items/i2").json()["live"] is False
        stale = [client.get("/v1/items/i1/similar?k=1").json() for _ in range(2)]
        assert [(one["cached"], one["items"][0]["item_id"]) for one in stale] == [(False, "i2")] * 2
        engine.items.remove("i2")
        engine.confirmed = 1
        deadline = time.monotonic() + 10
        while not (answer := client.get("/v1/items/i1/similar?k=1").json())["cached"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert answer["items"][0]["item_id"] == "i3"


def test_without_an_engine_a_change_is_durable_and_in_popular_lists(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    with gateway(tmp_path / "one", engine=None, store=open_event_store(url)) as client:
        assert client.delete("/v1/items/i12").json()["live"] is False
        assert titles(client) == ["Title i11", "Title i10"]
    with gateway(tmp_path / "two", engine=None, store=open_event_store(url)) as client:
        assert client.get("/v1/items/i12").json()["status"] == "removed"
