"""What a request costs the gateway: processor time, beside that of a bare application of equal answers.

    python bench/gateway_cost.py [--seconds 5] [--rounds 5] [--mix 9:1] [--connections 64] [--json FILE]

The gateway is the one of `moerec serve`, in its own process, with a token and a counted user in each
request; the engine behind it has its answers ready (`_canned_engine.py`). A closed loop (wrk, or our
own generator) asks for lists and sends events. Each figure is the median of the rounds, in which the
gateway and the bare application take turns. `taskset` keeps all of it from wandering between cores.
"""

import argparse
import json
import os
import re
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
from _canned_engine import ITEMS, item_id
from _machine import ROOT, about

from moerec.api.tokens import signed
from moerec.artifacts.bundle import (
    Bundle,
    BundleContents,
    DataFacts,
    ItemList,
    PopularItem,
    write_bundle,
)
from moerec.artifacts.trained_on import TrainedOn
from moerec.loadtest.ceiling import HOST
from moerec.loadtest.loads import Loads
from moerec.loadtest.plan import Plan, Target
from moerec.loadtest.service import Client, Watched, ceiling
from moerec.process.background import BackgroundService
from moerec.process.children import ChildSpec
from moerec.process.ports import next_free
from moerec.process.supervisor import Supervisor, http_ready
from moerec.types import ItemId

SECRET = "not a secret, and of 32 bytes or more"  # noqa: S105
USERS = 100_000
SETTINGS = {"USER_RATE": "1000000", "USER_BURST": "1000000", "JWT_SECRET": SECRET}


def write_catalogue(folder: Path) -> Bundle:
    """A bundle without a model: all that a gateway reads."""
    items = [ItemId(item_id(number)) for number in range(ITEMS)]
    contents = BundleContents(
        config={"dim": 1, "min_experts": 2, "max_experts": 4},
        weights={"weight": np.zeros(1, np.float32)},
        items=ItemList(
            ids=items,
            titles=[f"The Title of Item {number} (1995)" for number in range(ITEMS)],
            categories=[["one"]] * ITEMS,
        ),
        popular=[PopularItem(item, 1) for item in items[:200]],
        trained_on=TrainedOn(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64)),
        data=DataFacts("canned", "f" * 8, events=1, users=1, items=ITEMS, has_time=True),
        held_out="none",
        training={},
        metrics={},
        created="2026-11-22T00:00:00Z",
    )
    return write_bundle(folder / "bundle", contents)


@contextmanager
def gateway(folder: Path, plan: Plan) -> Iterator[Watched]:
    """The gateway and its canned engine, until the block ends."""
    port = next_free(HOST, 0)
    address = f"unix:{folder}/engine.sock"
    bundle = write_catalogue(folder)
    given = SETTINGS | {
        "BUNDLE": str(bundle.path),
        "DATABASE_URL": f"sqlite:///{folder}/events.db",
        "ENGINE_ADDRESS": address,
        "HOST": HOST,
        "PORT": str(port),
    }
    path = os.pathsep.join([str(ROOT), str(Path(__file__).parent)])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
    environment |= {f"MOEREC_{name}": value for name, value in given.items()}
    supervisor = Supervisor(
        [
            ChildSpec("gateway", "moerec.api.main", (), environment),
            ChildSpec("engine", "_canned_engine", (address, bundle.version), environment),
        ],
        lambda: http_ready(HOST, port),
        print,
        lambda *_: None,
    )
    with BackgroundService(supervisor):
        yield Watched(supervisor, Target(HOST, port, plan.target.token), deque())


def cost(loads: Loads, watched: Watched, name: str, plan: Plan, seconds: float) -> dict[str, float]:
    """Of one load: requests a second, and microseconds of `name`'s processor time a request."""
    process = psutil.Process(watched.pids[name])
    before, counted = process.cpu_times(), frames(watched, name)
    done = loads.closed(watched, name, plan.mix, seconds)
    after, now = process.cpu_times(), frames(watched, name)
    if done.errors:
        sys.exit(f"{name}: {done.errors}")
    user = 1e6 * (after.user - before.user) / done.requests
    system = 1e6 * (after.system - before.system) / done.requests
    found = {"us": user + system, "user us": user, "system us": system, "per s": done.per_second}
    if counted[0] < now[0]:
        found["a frame"] = (now[1] - counted[1]) / (now[0] - counted[0])
    return found


def frames(watched: Watched, name: str) -> tuple[float, float]:
    """Frames and requests that the engine has counted so far."""
    if name != "gateway":
        return 0.0, 0.0
    with Client(watched.target) as client:
        text = client.text("/metrics")
    found = dict(re.findall(r"^moerec_engine_(frames|requests)_total{.*} (\S+)$", text, re.M))
    return float(found["frames"]), float(found["requests"])


def measure(options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """By what is measured: the medians of the rounds."""
    reads, events = map(int, options.mix.split(":"))
    token = signed(SECRET, "bench", ["recommend", "events"], 86_400, {})
    plan = Plan(
        users=USERS,
        mix=(reads, events),
        connections=options.connections,
        target=Target(token=token),
    )
    catalogue = [item_id(number) for number in range(ITEMS)]
    rounds: dict[str, list[dict[str, float]]] = {"gateway": [], "ceiling": []}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        loads = Loads(plan, catalogue, folder)
        with gateway(folder, plan) as ours:
            with Client(ours.target) as client:
                size = len(client.get("/v1/users/1/recommendations?k=10"))
            with ceiling(plan, size) as bare:
                for number in range(options.rounds + 1):
                    for name, watched in (("gateway", ours), ("ceiling", bare)):
                        found = cost(loads, watched, name, plan, options.seconds)
                        if number:  # the first ones warm up
                            rounds[name].append(found)
    return {
        name: {key: statistics.median(one[key] for one in found) for key in found[0]}
        for name, found in rounds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mix", default="9:1", help="lists to events")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options)
    print(about())
    for name, figures in found.items():
        print(f"{name:<8}", "  ".join(f"{key} {value:.1f}" for key, value in figures.items()))
    if options.json:
        options.json.write_text(json.dumps(found | about(), indent=2) + "\n")


if __name__ == "__main__":
    main()
