"""The peers of `peers.py` as processes: given the world, made ready, served, asked for offline lists."""

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from _machine import ROOT

from moerec.errors import ServiceError
from moerec.loadtest.ceiling import HOST
from moerec.loadtest.plan import Plan, Target
from moerec.loadtest.service import LAST_LINES, Watched
from moerec.loadtest.synthetic import World
from moerec.loadtest.users import USERS_AT_ONCE, histories, user_id
from moerec.process.background import BackgroundService
from moerec.process.children import ChildSpec
from moerec.process.ports import next_free
from moerec.process.supervisor import Supervisor, http_ready

Settings = dict[str, Any]
Histories = list[list[int]]


@dataclass(frozen=True, slots=True)
class Peer:
    """`module` of this folder, run by `python`. `own`: settings that only it has, and what is tried."""

    name: str
    module: str
    python: str
    own: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def candidates(self, threads: Sequence[int], batches: Sequence[int]) -> list[Settings]:
        """Every combination of settings."""
        names = ["threads", "batch", *(name for name, _ in self.own)]
        values = product(threads, batches, *(tried for _, tried in self.own))
        return [dict(zip(names, each, strict=True)) for each in values]


def in_words(settings: Settings) -> str:
    """What a table says of settings."""
    batch = settings["batch"]
    more = [f"{name}: {value}" for name, value in settings.items() if isinstance(value, str)]
    batches = f"micro-batches of at most {batch}" if batch > 1 else "one question at a time"
    threads = f"{settings['threads']} thread{'s' * (settings['threads'] > 1)}"
    return ", ".join([threads, batches, *more, "1 worker"])


def write_world(plan: Plan, catalogue: Sequence[str], folder: Path) -> Histories:
    """`world.npz`: the histories that moerec's store has, which are also returned, as places in the
    sorted catalogue."""
    items = sorted(catalogue)
    places = {item: place for place, item in enumerate(items)}
    world, found = World(items, plan.seed), []
    for first in range(0, plan.users, USERS_AT_ONCE):
        after = min(first + USERS_AT_ONCE, plan.users)
        for _, events in histories(plan, world, first, after):
            found.append([places[event.item_id] for event in events])
    np.savez(
        folder / "world.npz",
        user_ids=np.array([user_id(number) for number in range(plan.users)]),
        item_ids=np.array(items),
        offsets=np.cumsum([0, *map(len, found)]),
        items=np.concatenate([np.array(each) for each in found]),
    )
    return found


def make(peer: Peer, folder: Path, shape: Settings) -> dict[str, str]:
    """Its model, written into the folder; the versions of its libraries. ServiceError if it fails."""
    found: dict[str, str] = _ask(peer, "make", folder, shape)
    return found


def offline(
    peer: Peer, folder: Path, asked: Sequence[tuple[int, list[int]]], k: int
) -> dict[str, list[Any]]:
    """`items` and `scores` [B][K] as the peer's library finds them for users with these histories."""
    found: dict[str, list[Any]] = _ask(peer, "offline", folder, {"asked": asked, "k": k})
    return found


def _ask(peer: Peer, word: str, folder: Path, given: Settings) -> Any:  # noqa: ANN401
    command = [peer.python, "-m", peer.module, *_arguments(folder, word, given)]
    done = subprocess.run(command, env=_environment(), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServiceError(f"{peer.name} failed to {word}.", done.stderr[-2000:])
    return json.loads(done.stdout.splitlines()[-1])


@contextmanager
def peer_serving(peer: Peer, folder: Path, settings: Settings) -> Iterator[Watched]:
    """The peer's service with these settings, until the block ends. ServiceError if it does not start."""
    port = next_free(HOST, 0)
    spec = ChildSpec(
        peer.name,
        peer.module,
        _arguments(folder, "serve", settings | {"port": port}),
        _environment(settings["threads"]),
        python=peer.python,
    )
    lines: deque[str] = deque(maxlen=LAST_LINES)
    supervisor = Supervisor(
        [spec], lambda: http_ready(HOST, port), lines.append, lambda _, line: lines.append(line)
    )
    with BackgroundService(supervisor):
        yield Watched(supervisor, Target(HOST, port), lines)


def _arguments(folder: Path, word: str, given: Settings) -> tuple[str, str, str]:
    file = folder / f"{word}.json"
    file.write_text(json.dumps(given))
    return word, str(folder), str(file)


def _environment(threads: int | None = None) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "bench")])
    found = os.environ | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "ignore"}
    if threads is not None:
        # BLAS under `implicit` must not have threads beside the library's own.
        found |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": "1"}
    return found


def plain() -> Peer:
    """The one that needs no more than moerec itself does."""
    return Peer("FastAPI + PyTorch SASRec", "_peer_sasrec", sys.executable)


def rectools(python: str) -> Peer:
    """RecTools has two rankers."""
    return Peer("RecTools SASRec", "_peer_rectools", python, (("ranker", ("torch", "implicit")),))


def als(python: str) -> Peer:
    """Of `implicit`."""
    return Peer("implicit ALS", "_peer_als", python)
