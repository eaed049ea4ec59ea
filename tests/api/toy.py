"""A bundle of twelve items without a model, an engine of a few lines, and a real server around them."""

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moerec.api.main import create_app, make_server
from moerec.artifacts.bundle import (
    Bundle,
    BundleContents,
    DataFacts,
    ItemList,
    PopularItem,
    write_bundle,
)
from moerec.artifacts.trained_on import TrainedOn
from moerec.settings import Settings
from moerec.store.interfaces import EventStore
from moerec.transport.client import EngineClient, LocalEngineClient
from moerec.transport.frames import (
    Degraded,
    EventPush,
    EventReply,
    InfoReply,
    InfoRequest,
    ItemsPush,
    ItemsReply,
    ListReply,
    RecommendRequest,
    Reply,
    Request,
    SimilarRequest,
)
from moerec.types import ItemId

ITEMS = [ItemId(f"i{n}") for n in range(1, 13)]


def toy_bundle(path: Path) -> Bundle:
    """Items i1 to i12 with titles but for i12; i12 is the most popular, then i11 and so on to i3."""
    return write_bundle(
        path,
        BundleContents(
            config={"dim": 1, "min_experts": 2, "max_experts": 4},
            weights={"weight": np.zeros(1, np.float32)},
            items=ItemList(
                ids=ITEMS,
                titles=[f"Title {item}" for item in ITEMS[:-1]] + [None],
                categories=[["even" if n % 2 else "odd"] for n in range(12)],
            ),
            popular=[PopularItem(item, 10 * n) for n, item in enumerate(ITEMS, 1)][:1:-1],
            trained_on=TrainedOn(
                np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64)
            ),
            data=DataFacts("toy", "f" * 8, events=1, users=1, items=12, has_time=True),
            held_out="none",
            training={},
            metrics={},
            created="2026-11-22T00:00:00Z",
        ),
    )


class ToyEngine:
    """Ranks i1, i2, i3 ... without what the user saw; fails or sleeps on demand."""

    def __init__(self, version: str) -> None:
        self.version = version
        self.events: dict[str, list[str]] = defaultdict(list)
        self.sleep_s = 0.0
        self.fault: Exception | None = None
        self.asked: list[Request] = []
        self.degraded: Degraded | None = None
        self.items: list[str] = list(ITEMS)
        self.confirmed: int | None = None
        """The number of changes that it says it has; what it was told if None."""

    def __call__(self, requests: list[Request]) -> list[Reply]:
        self.asked.extend(requests)
        time.sleep(self.sleep_s)
        if self.fault is not None:
            raise self.fault
        return [self._answer(request) for request in requests]

    def _answer(self, request: Request) -> Reply:
        match request:
            case InfoRequest():
                counters = {"frames": 7.0, "users_hot": 3.0, "of_a_later_version": 1.0}
                return InfoReply(self.version, len(ITEMS), len(self.events), counters)
            case EventPush():
                self.events[request.user_id].append(request.item_id)
                return EventReply()
            case ItemsPush():
                return ItemsReply(request.number if self.confirmed is None else self.confirmed)
            case SimilarRequest():
                if request.item_id not in self.items:
                    return ListReply([], [], fallback="unknown_item")
                return self._list({request.item_id, *request.exclude}, request.k)
            case RecommendRequest():
                return self._recommend(request)

    def _recommend(self, request: RecommendRequest) -> Reply:
        history = request.history
        if history is None:
            if request.user_id not in self.events:
                return ListReply([], [], fallback="unknown_user")
            history = self.events[request.user_id]
        if not history:
            return ListReply([], [], fallback="empty_history")
        if not set(history) & set(ITEMS):
            return ListReply([], [], fallback="no_known_items")
        return self._list({*request.exclude, *(history if request.exclude_seen else [])}, request.k)

    def _list(self, exclude: set[str], k: int) -> ListReply:
        items = [item for item in self.items if item not in exclude][:k]
        scores = [1 / place for place in range(1, len(items) + 1)]
        return ListReply(
            items,
            scores,
            experts=[[0, 3], [1, 2, 5]],
            history_length=1,
            engine_ms=0.5,
            degraded=self.degraded,
        )


@contextmanager
def running(
    app: FastAPI, *, short_way: bool = True, keep_alive_s: int = 60
) -> Iterator[httpx.Client]:
    """A real uvicorn on a free port, with the gateway's own protocol or without, and a client for it."""
    listener = socket.create_server(("127.0.0.1", 0))
    protocol = app.state.front_door if short_way else HttpToolsProtocol
    server = make_server(app, 5, protocol, keep_alive_s)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.005)
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}") as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@contextmanager
def gateway(
    folder: Path, engine: EngineClient | None, store: EventStore | None = None, **settings: object
) -> Iterator[httpx.Client]:
    """A gateway over a toy bundle in `folder`, with the given engine; patient and without a limit unless
    told otherwise."""
    bundle = toy_bundle(folder / "bundle")
    chosen = Settings.load(
        database_url=f"sqlite:///{folder}/events.db",
        **{
            "engine_address": f"unix:{folder}/engine.sock",
            "deadline_ms": 5000,
            "user_rate": 0,
            **settings,
        },
    )
    with running(create_app(chosen, bundle=bundle, engine=engine, store=store)) as client:
        yield client


@contextmanager
def toy_gateway(folder: Path, **settings: object) -> Iterator[tuple[httpx.Client, ToyEngine]]:
    """The same with a ToyEngine, which the test can command."""
    engine = ToyEngine(toy_bundle(folder / "for-version").version)
    with gateway(folder, LocalEngineClient(engine), **settings) as client:
        yield client, engine
