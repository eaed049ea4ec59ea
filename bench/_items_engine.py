"""How long an engine's lock is held for changes of items, and what requests notice of an index made anew."""

import argparse
import gc
import itertools
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from moerec.artifacts.bundle import Bundle
from moerec.engine.engine import MOST_FRESH, Engine
from moerec.loadtest.plan import Plan
from moerec.loadtest.users import prepared_store, user_id
from moerec.store.sql import open_event_store
from moerec.transport.frames import FRAME_LIMIT, RecommendRequest, Request
from moerec.types import ItemChange, ItemId

FRAME = 20
"""Lists of a frame that is asked for while the index is made."""

PAGE = 1_000


class Changes:
    """Pages of changes whose numbers go on."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._came: list[ItemId] = []

    def put(self, size: int) -> list[ItemChange]:
        """So many new items."""
        page = [
            ItemChange(n, ItemId(f"new-{n}"), {}) for n in itertools.islice(self._numbers, size)
        ]
        self._came += [change.item_id for change in page]
        return page

    def remove(self, size: int) -> list[ItemChange]:
        """The first so many of those that came and are still there."""
        going, self._came = self._came[:size], self._came[size:]
        return [ItemChange(next(self._numbers), item, None, removed=True) for item in going]


@contextmanager
def engine_with_users(bundle: Bundle, users: int, folder: Path) -> Iterator[Engine]:
    """An engine that has so many synthetic users at hand."""
    plan = Plan(bundle=bundle.path, users=users, folder=folder)
    loaded = prepared_store(plan, list(bundle.id_map.ids), lambda *_: None)
    with closing(open_event_store(f"sqlite:///{loaded.path.absolute()}")) as store:
        engine = Engine(bundle, store)
        engine.warm_up()
        for first in range(0, users, FRAME_LIMIT):
            some = range(first, min(first + FRAME_LIMIT, users))
            engine.answer([RecommendRequest(user_id(user), None, 10) for user in some])
        # As the engine's process does it: the collector would go through all users.
        gc.collect()
        gc.freeze()
        try:
            yield engine
        finally:
            gc.unfreeze()


def measure(engine: Engine, changes: Changes, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of the changes: what the call takes, nearly all of it with the lock held."""
    kinds: list[tuple[str, Callable[[], list[ItemChange]], int]] = [
        ("1 new item", lambda: changes.put(1), options.pages),
        (f"{PAGE:,} new items", lambda: changes.put(PAGE), 3),
        ("1 more new item", lambda: changes.put(1), options.pages),
        (f"{PAGE:,} removals", lambda: changes.remove(PAGE), 3),
        ("1 removal", lambda: changes.remove(1), options.pages),
    ]
    return [{"change": name, **_spent(engine, page, times)} for name, page, times in kinds]


def _spent(engine: Engine, page: Callable[[], list[ItemChange]], times: int) -> dict[str, float]:
    wall, cpu = [], []
    for _ in range(times):
        changes = page()
        begun, at = time.perf_counter(), time.thread_time()
        engine.change_items(changes)
        cpu.append(1e3 * (time.thread_time() - at))
        wall.append(1e3 * (time.perf_counter() - begun))
    return {
        "cpu_ms": statistics.median(cpu),
        "ms": statistics.median(wall),
        "longest_ms": max(wall),
    }


def index_anew(
    engine: Engine, changes: Changes, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """Rows of frames while nothing else happens, and while an index is made, if there is one; with the time
    that takes."""
    engine.change_items(changes.put(MOST_FRESH + 1))
    draw = np.random.default_rng(options.seed)
    quiet = _frames_during(engine, draw, options, lambda: time.sleep(options.seconds))
    rows = [{"meanwhile": "nothing", **quiet}]
    if engine.index_is_due:
        busy = _frames_during(engine, draw, options, engine.make_index_anew)
        rows.append({"meanwhile": "the index is made anew", **busy})
    return rows


def _frames_during(
    engine: Engine,
    draw: np.random.Generator,
    options: argparse.Namespace,
    work: Callable[[], None],
) -> dict[str, Any]:
    """How long frames take that another thread asks for one after the other, until the work is done."""
    taken: list[float] = []
    done = threading.Event()

    def ask() -> None:
        while not taken or not done.is_set():
            users = draw.integers(options.users, size=FRAME).tolist()
            asked: list[Request] = [RecommendRequest(user_id(user), None, 10) for user in users]
            begun = time.perf_counter()
            engine.answer(asked)
            taken.append(1e3 * (time.perf_counter() - begun))

    asker = threading.Thread(target=ask)
    asker.start()
    begun = time.perf_counter()
    try:
        work()
    finally:
        seconds = time.perf_counter() - begun
        done.set()
        asker.join()
    return {
        "seconds": seconds,
        "frames": len(taken),
        "median_ms": float(np.median(taken)),
        "p99_ms": float(np.percentile(taken, 99)),
        "longest_ms": max(taken),
    }
