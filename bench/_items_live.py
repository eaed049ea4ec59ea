"""Over HTTP: how soon items that are put are live, and what lists notice of it."""

import argparse
import statistics
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from moerec.artifacts.bundle import Bundle
from moerec.loadtest.loads import Loads
from moerec.loadtest.plan import Plan
from moerec.loadtest.requests import Ask
from moerec.loadtest.service import Client, Service, serving
from moerec.loadtest.traffic import popular_users
from moerec.loadtest.users import prepared_store, user_id, working_copy

LISTS = (1, 0)
"""Lists to events of the load."""


class Put(NamedTuple):
    """What came of a PUT: milliseconds to its answer, and whether all lists had the item then."""

    ms: float
    live: bool


class _Answer(msgspec.Struct):
    live: bool


class Putter:
    """Puts items with titles, one after the other, each of them new."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._count = 0

    def put(self) -> Put:
        """The next one."""
        self._count += 1
        body = {"title": f"New Item {self._count}", "categories": ["new"]}
        begun = time.perf_counter()
        answer = self._client.put(f"/v1/items/new-{self._count}", body)
        ms = 1e3 * (time.perf_counter() - begun)
        return Put(ms, msgspec.json.decode(answer, type=_Answer).live)

    def steadily(self, a_second: float, stop: threading.Event) -> list[Put]:
        """So many a second, until told to stop; late ones are made up for."""
        done, begun = list[Put](), time.perf_counter()
        while not stop.wait(max(begun + len(done) / a_second - time.perf_counter(), 0)):
            done.append(self.put())
        return done


def measure(bundle: Bundle, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Of PUTs and of lists, alone and together."""
    plan = Plan(
        bundle=bundle.path, users=options.users, folder=folder, connections=options.connections
    )
    catalogue = list(bundle.id_map.ids)
    loaded = prepared_store(plan, catalogue, lambda *_: None)
    with (
        tempfile.TemporaryDirectory() as scratch,
        working_copy(loaded) as url,
        serving(plan, bundle.path, url) as service,
        Client(service.target) as client,
    ):
        loads, putter = Loads(plan, catalogue, Path(scratch)), Putter(client)
        loads.once(service, [Ask(user_id(user)) for user in popular_users(plan).tolist()])
        alone = [putter.put() for _ in range(options.pages)]
        lists, meanwhile = _together(service, loads, putter, options)
    return {
        "puts": [
            {"meanwhile": "nothing", **of_puts(alone)},
            {"meanwhile": f"lists, {options.connections} connections", **of_puts(meanwhile)},
        ],
        "lists": lists,
    }


def _together(
    service: Service, loads: Loads, putter: Putter, options: argparse.Namespace
) -> tuple[list[dict[str, Any]], list[Put]]:
    """Lists without and with PUTs meanwhile, in turns."""
    rounds: dict[str, list[dict[str, float]]] = {}
    puts = list[Put]()
    for _ in range(options.rounds):
        for name in ("no PUTs", f"{options.rate:g} PUTs a second"):
            stop = threading.Event()
            with ThreadPoolExecutor(1) as thread:
                putting = (
                    None
                    if name == "no PUTs"
                    else thread.submit(putter.steadily, options.rate, stop)
                )
                try:
                    found = loads.closed(service, name, LISTS, options.seconds)
                finally:
                    stop.set()
            if putting is not None:
                puts += putting.result()
            figures = {"a_second": found.per_second, "errors": float(sum(found.errors.values()))}
            rounds.setdefault(name, []).append(figures | found.percentiles_ms)
    lists = [
        {"meanwhile": name} | {key: statistics.median(one[key] for one in each) for key in each[0]}
        for name, each in rounds.items()
    ]
    return lists, puts


def of_puts(puts: list[Put]) -> dict[str, float]:
    """Their figures."""
    return {
        "count": len(puts),
        "median_ms": statistics.median(each.ms for each in puts),
        "p99_ms": float(np.percentile([each.ms for each in puts], 99)),
        "live": statistics.mean(each.live for each in puts),
    }
