"""Do live answers equal offline ones? `import events --split test`, `serve`, and ask over HTTP.

    python bench/agreement.py BUNDLE LOG [--state float32] [--users 100] [--seed 0]

Starts the real service on a store of its own and asks for the top 10 of random users: they must be the
offline evaluation's. Then it posts one event for each, and asks again: the item must be gone and the
list must be the offline answer for the lengthened history. Differences where neighbouring scores are
closer than 1e-5 count as ties. `--state int8` serves with rounded states, as `moerec serve` does unless told
otherwise; then some lists differ in their order. Exit code 1 if more than 5 % of the users differ (with
int8 20 %).
"""

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from _machine import ROOT, about
from numpy.typing import NDArray

sys.path.insert(0, str(ROOT))

from moerec.artifacts.bundle import read_bundle
from moerec.data.interactions import read_interactions
from moerec.data.sequences import History
from moerec.evaluation.report import Report, evaluate_bundle
from moerec.recommender import Recommender
from moerec.types import Recommendation

TIE = 1e-5
ALLOWED = {"float32": 0.05, "int8": 0.2}


def call(url: str, body: object = None) -> dict[str, object]:
    """One request, JSON in and out."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        found: dict[str, object] = json.load(answer)
    return found


@contextmanager
def service(bundle: str, log: str, state: str) -> Iterator[str]:
    """`moerec import events --split test` and `moerec serve`; yields the address."""
    with tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = str(listener.getsockname()[1])
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "MOEREC_STATE_TYPE": state,
            "MOEREC_DATABASE_URL": f"sqlite:///{folder}/events.db",
            "MOEREC_DEADLINE_MS": "10000",
        }
        command = [sys.executable, "-m", "moerec"]
        subprocess.run(
            [*command, "import", "events", log, "--split", "test"], env=environment, check=True
        )
        server = subprocess.Popen(
            [*command, "serve", "--bundle", bundle, "--port", port], env=environment
        )
        try:
            address = f"http://127.0.0.1:{port}"
            wait_until_ready(address, server)
            yield address
        finally:
            server.terminate()
            server.wait()


def wait_until_ready(address: str, server: "subprocess.Popen[bytes]") -> None:
    """Until /readyz says yes; RuntimeError if the service ends instead."""
    while server.poll() is None:
        try:
            call(f"{address}/readyz")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    raise RuntimeError("the service did not start")


def agrees(live: dict[str, object], offline: list[Recommendation]) -> bool:
    """Same items at the same ranks, but for places whose scores are tied with a neighbour."""
    items = live["items"]
    if not isinstance(items, list) or live["fallback"] or len(items) != len(offline):
        return False
    scores = {item.item_id: item.score for item in offline}
    return all(
        got["item_id"] == want.item_id
        or abs(scores.get(got["item_id"], got["score"]) - want.score) < TIE
        for got, want in zip(items, offline, strict=True)
    )


def compare(address: str, report: Report, recommender: Recommender, rows: list[int]) -> list[int]:
    """Users that differ: before an event, after it, and those whose event did not leave the list."""
    before = after = kept = 0
    ids = report.bundle.id_map
    for row in rows:
        user = report.histories.users[report.questions.users[row]]
        history = report.questions.histories[row]
        url = f"{address}/v1/users/{urllib.parse.quote(user, safe='')}/recommendations?k=10"
        live = call(url)
        top = ids.ids_of(report.results[0].lists[row, :10].tolist())
        offline = recommender.recommend_for(history, 10)
        before += [item.item_id for item in offline] != top or not agrees(live, offline)
        new = offline[3].item_id
        then = int(history.timestamps[-1]) + 1
        event = {"user_id": user, "item_id": new, "timestamp": then}
        call(f"{address}/v1/events", event)
        live = call(url)
        kept += any(item["item_id"] == new for item in live["items"])  # type: ignore[attr-defined]
        after += not agrees(
            live, recommender.recommend_for(longer(history, ids.indexes([new]), then), 10)
        )
    return [before, after, kept]


def longer(history: History, item: NDArray[np.int32], timestamp_ms: int) -> History:
    """The history and one more event, without a value."""
    return History(
        np.append(history.items, item),
        np.append(history.timestamps, timestamp_ms),
        np.append(history.values, np.float32(np.nan)),
    )


def main() -> int:
    """0 if live and offline agree."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument("log")
    parser.add_argument("--state", choices=tuple(ALLOWED), default="float32")
    parser.add_argument("--users", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    bundle = read_bundle(options.bundle)
    report = evaluate_bundle(bundle, read_interactions(options.log), "test")
    total = len(report.questions)
    rows = random.Random(options.seed).sample(range(total), min(options.users, total))
    with service(options.bundle, options.log, options.state) as address:
        before, after, kept = compare(address, report, Recommender(bundle), rows)
    print(f"users asked                                   {len(rows)}")
    print(f"live top 10 differs from the evaluation's     {before}")
    print(f"differs after one more event                  {after}")
    print(f"the event's item was still in the list        {kept}")
    print(" · ".join(f"{key}: {value}" for key, value in about().items()))
    return int(max(before, after) > ALLOWED[options.state] * len(rows) or kept > 0)


if __name__ == "__main__":
    sys.exit(main())
