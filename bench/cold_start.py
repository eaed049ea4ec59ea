"""How long the service takes from the start of a process until it is ready, with warm caches.

    python bench/cold_start.py BUNDLE [--repeats 5] [--json FILE]

* gateway: alone, until `/livez` answers 200;
* engine: until an `InfoRequest` over its socket is answered.

Each is started as `moerec serve` starts it, on an empty event store, and looked at every 5 ms; one process
runs at a time. The first start of each warms the caches (compiled kernels, Python's own, the disk's), and is
not counted. What the engine took after its imports, by its own account, stands beside its time.
"""

import argparse
import asyncio
import json
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _machine import ROOT, about

from moerec.artifacts.bundle import read_bundle
from moerec.errors import EngineUnavailableError
from moerec.loadtest.ceiling import HOST
from moerec.process.children import Child, ChildSpec
from moerec.process.ports import next_free
from moerec.process.supervisor import http_ready
from moerec.transport.frames import InfoReply, InfoRequest
from moerec.transport.remote import RemoteEngineClient

LOOK_S = 0.005
LONGEST_S = 300.0
"""With kernels to compile the first start takes a minute."""


@contextmanager
def started(name: str, module: str, settings: dict[str, str]) -> Iterator[Child]:
    """A child of `moerec serve`, until the block ends."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    environment |= {f"MOEREC_{key}": value for key, value in settings.items()}
    # Compiled once, as an installation is.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    child = Child(ChildSpec(name, module, (), environment), lambda *_: None)
    child.start()
    try:
        yield child
    finally:
        child.stop()


def seconds_until(ready: Callable[[], bool], child: Child, start: float) -> float:
    """From `start` on; ends the program if the child does before, or if it takes too long."""
    while not ready():
        if child.exit_code() is not None or time.perf_counter() - start > LONGEST_S:
            sys.exit("\n".join([f"the {child.spec.name} was never ready:", *child.last_lines]))
        time.sleep(LOOK_S)
    return time.perf_counter() - start


def gateway_s(settings: dict[str, str]) -> dict[str, float]:
    """Seconds to the first answer of a gateway."""
    port = next_free(HOST, 0)
    begin = time.perf_counter()
    with started("gateway", "moerec.api.main", settings | {"PORT": str(port)}) as child:
        return {"seconds": seconds_until(lambda: http_ready(HOST, port, "/livez"), child, begin)}


def engine_s(settings: dict[str, str]) -> dict[str, float]:
    """Seconds to the first answer of an engine, and those that it counts itself, without its imports."""
    address = settings["ENGINE_ADDRESS"]
    path = Path(address.removeprefix("unix:"))
    path.unlink(missing_ok=True)
    begin = time.perf_counter()
    with started("engine", "moerec.engine.server", settings) as child:
        seconds_until(path.exists, child, begin)
        spent = seconds_until(lambda: asyncio.run(answers(address)), child, begin)
    # It says so a little later; stopped, it has said all.
    own = re.search(r"([\d.]+) s after the start", "\n".join(child.last_lines))
    return {"seconds": spent} | ({"after_imports": float(own[1])} if own else {})


async def answers(address: str) -> bool:
    """Whether an engine says what it serves."""
    client = RemoteEngineClient(address)
    try:
        return isinstance(await client.ask(InfoRequest(), 5.0), InfoReply)
    except EngineUnavailableError:
        return False
    finally:
        await client.close()


def figures(measure: Callable[[], dict[str, float]], repeats: int) -> dict[str, Any]:
    """The median, and all of them in their order."""
    found = [measure() for _ in range(repeats + 1)][1:]
    return {
        key: {
            "median": statistics.median(one[key] for one in found),
            "all": [one[key] for one in found],
        }
        for key in found[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    items = len(read_bundle(options.bundle).id_map)
    with tempfile.TemporaryDirectory() as scratch:
        settings = {
            "BUNDLE": str(options.bundle.resolve()),
            "DATABASE_URL": f"sqlite:///{scratch}/events.db",
            "ENGINE_ADDRESS": f"unix:{scratch}/engine.sock",
            "HOST": HOST,
        }
        found = {
            "gateway": figures(lambda: gateway_s(settings), options.repeats),
            "engine": figures(lambda: engine_s(settings), options.repeats),
        }
    facts = {"items": items} | about()
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    for name, kinds in found.items():
        for kind, times in kinds.items():
            each = " ".join(f"{one:.2f}" for one in times["all"])
            print(f"{name:<8} {kind:<14} median {times['median']:.2f} s   ({each})")
    if options.json:
        options.json.write_text(json.dumps(found | facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
