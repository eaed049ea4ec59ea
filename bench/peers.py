"""How many answers a second does moerec give, beside other recommenders behind FastAPI? One run, one machine.

    python bench/peers.py [--items 100000] [--users 20000] [--plain-only] [--json FILE]

Peers: SASRec in plain PyTorch, RecTools' SASRec, and ALS of `implicit`; each a FastAPI application on uvicorn
(uvloop, httptools) in a process of its own, with all histories in memory. A list is asked for as moerec's
are; the two SASRecs read the user's newest events up to now, as many as moerec's window, and score all
items; seen items are removed. ALS knows a user's vector of its training alone. Width, layers and heads are
those of moerec's bundle. moerec runs as `moerec serve`, with its store, tokens, limiter and metrics, which
the peers have not.

Each peer is tried with every combination of threads, one question at a time or micro-batches, and settings
of its own; the fastest is measured. It has one worker: histories are in its memory, and two would not know
of each other's events. Before the loads the lists of some users are compared with what the library finds
offline for one history at a time, before and after an event on the list's first item. Whether the event did
more than take its own item off the list says if the last click is in the answer. Then closed loops in turns,
by wrk if it is installed. Exit code 1 if an answer was wrong, or an error.

RecTools and implicit live in environments of their own, which are made on first use: .moerec/peers-rectools
and peers-implicit (RecTools has a fork of implicit in that one's place).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path

# As the command line does; before torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from _environment import python_with
from _machine import ROOT, about
from _peer_checks import Checked, check_peer, checked_users, exchanges
from _peer_process import (
    Histories,
    Peer,
    Settings,
    als,
    in_words,
    make,
    peer_serving,
    plain,
    rectools,
    write_world,
)
from _peer_table import OURS, Row, show
from rich.console import Console

from moerec.artifacts.bundle import Bundle
from moerec.artifacts.files import held, write_file
from moerec.cli.options import positive
from moerec.errors import MoerecError, UsageError
from moerec.loadtest.checks import check_content
from moerec.loadtest.loads import Loads, Measured
from moerec.loadtest.machine import cores, versions
from moerec.loadtest.model import prepared_bundle
from moerec.loadtest.plan import Plan
from moerec.loadtest.requests import Ask
from moerec.loadtest.service import Service, Watched, serving
from moerec.loadtest.traffic import popular_users
from moerec.loadtest.users import prepared_store, user_id, working_copy
from moerec.store.sql import open_event_store

RECTOOLS = "rectools[torch]==0.19.0"
IMPLICIT = "implicit==0.7.2"
SERVER = ("fastapi", "uvicorn", "uvloop", "httptools", "msgspec")
WARM_UP_S = 2.0


class Bench:
    """A run: its plan, scratch folder, and what all services have in common."""

    def __init__(
        self, options: argparse.Namespace, plan: Plan, bundle: Bundle, scratch: Path
    ) -> None:
        self._options = options
        self._plan = plan
        self._bundle = bundle
        self._scratch = scratch
        self._items = sorted(bundle.id_map.ids)
        self._users = checked_users(plan, options.checked)
        self._histories: Histories = write_world(plan, self._items, scratch)

    def loads(self) -> Loads:
        """The same loads in the same order for every service."""
        return Loads(self._plan, self._items, self._scratch)

    def shape(self) -> Settings:
        """What a peer's model shares with the bundle's."""
        config = self._bundle.config
        same = {name: config[name] for name in ("dim", "layers", "heads")}
        return same | {"length": config["window"], "seed": self._plan.seed}

    def peer(self, peer: Peer, stack: ExitStack) -> tuple[Row, Watched, Loads]:
        """Made, tried, checked; its fastest stays up until the stack ends."""
        _say(f"{peer.name}: making its model")
        found = make(peer, self._scratch, self.shape())
        best, tried = self._fastest(peer)
        watched = stack.enter_context(peer_serving(peer, self._scratch, best))
        exchanged = exchanges(watched.target, self._users, self._plan.k)
        checked = check_peer(
            peer, self._scratch, exchanged, self._histories, self._items, self._plan.k
        )
        loads = self.loads()
        self._load(loads, watched, WARM_UP_S)
        return Row(peer.name, found, in_words(best), checked, tried), watched, loads

    def _fastest(self, peer: Peer) -> tuple[Settings, dict[str, float]]:
        """The settings, and requests a second of all that were tried; of one alone nothing is."""
        candidates = peer.candidates(self._options.threads, self._options.batches)
        tried: dict[str, float] = {}
        for settings in candidates if len(candidates) > 1 else ():
            with peer_serving(peer, self._scratch, settings) as watched:
                loads = self.loads()
                self._load(loads, watched, WARM_UP_S)
                speed = self._load(loads, watched, self._options.try_seconds).per_second
            tried[in_words(settings)] = speed
            _say(f"{peer.name}, {in_words(settings)}: {speed:,.0f} requests/s")
        return max(candidates, key=lambda each: tried.get(in_words(each), 0.0)), tried

    def moerec(self, url: str, stack: ExitStack) -> tuple[Row, Watched, Loads]:
        """`moerec serve` on the store at `url`, warm and checked."""
        _say(f"{OURS}: compiling its kernels, starting, warming up")
        # Ahead of the start, which has its time limit, and compiling may take longer.
        subprocess.run(
            [sys.executable, "-m", "moerec.engine.compile"], check=True, stdout=subprocess.DEVNULL
        )
        watched = stack.enter_context(serving(self._plan, self._bundle.path, url))
        users = popular_users(self._plan)[::-1].tolist()
        self.loads().once(watched, [Ask(user_id(user)) for user in users])
        row = Row(OURS, versions(), _own_settings(watched), self._checked(watched, url))
        loads = self.loads()
        self._load(loads, watched, WARM_UP_S)
        return row, watched, loads

    def _checked(self, service: Service, url: str) -> Checked:
        exchanged = exchanges(service.target, self._users, self._plan.k)
        with closing(open_event_store(url)) as store:
            content = check_content(self._plan, service, self._bundle, store, self._options.checked)
        return Checked(len(exchanged), sum(each.moved for each in exchanged), content)

    def _load(self, loads: Loads, watched: Watched, seconds: float) -> Measured:
        return loads.closed(watched, "closed loop", self._plan.mix, seconds)


def measure(
    options: argparse.Namespace, plan: Plan, peers: Sequence[Peer]
) -> tuple[list[Row], int]:
    """All services, in turns, and the number of items. Raises what keeps one from being measured."""
    bundle = prepared_bundle(plan, Console(stderr=True))
    catalogue = list(bundle.id_map.ids)
    if plan.events_a_user[1] + plan.k > len(catalogue):
        raise UsageError(f"the bundle's {len(catalogue)} items are too few", "Give another one.")
    loaded = prepared_store(plan, catalogue, lambda *_: None)
    with (
        tempfile.TemporaryDirectory(prefix="moerec-bench-") as folder,
        working_copy(loaded) as url,
        ExitStack() as stack,
    ):
        bench = Bench(options, plan, bundle, Path(folder))
        services = [bench.peer(peer, stack) for peer in peers]
        services.append(bench.moerec(url, stack))
        for repeat in range(options.repeats):
            for row, watched, loads in services:
                run = loads.closed(watched, "closed loop", plan.mix, plan.seconds)
                row.runs.append(run)
                counted = f"{run.per_second:,.0f} requests/s"
                _say(f"{repeat + 1}/{options.repeats} {row.name}: {counted}")
    return [row for row, _, _ in services], len(catalogue)


def main() -> int:
    """0 if all answers were right."""
    options = parse()
    # What is started must be this tree's, whatever is installed.
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(path)
    try:
        return run(options)
    except MoerecError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except subprocess.CalledProcessError as error:
        print(f"error: {' '.join(map(str, error.cmd))} failed", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def run(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    plan = Plan(
        items=options.items, users=options.users, seconds=options.seconds, k=options.k,
        connections=options.connections, bundle=options.bundle, folder=options.dir,
        epochs=options.epochs, generator=options.generator,
    )  # fmt: skip
    peers = [plain()]
    if options.plain_only:
        _say("RecTools SASRec, implicit ALS: left out (--plain-only)")
    else:
        theirs = (options.rectools_python, ("torch", *SERVER))
        peers.append(rectools(python_with([RECTOOLS], "peers-rectools", *theirs)))
        theirs = (options.implicit_python, SERVER)
        peers.append(als(python_with([IMPLICIT], "peers-implicit", *theirs)))
    with suppress(OSError):  # a folder that cannot be made is the lock's error, in words
        plan.folder.mkdir(parents=True, exist_ok=True)
    busy = UsageError(f"another bench is running in {plan.folder}", "Wait until it has ended.")
    with held(plan.folder / "running", busy):
        rows, items = measure(options, plan, peers)
    show(rows)
    facts: Settings = {"items": items, "users": plan.users, "mix": "9:1", "k": plan.k}
    facts |= {"connections": plan.connections, "seconds": plan.seconds, **about()}
    print(" · ".join(f"{key}: {value}" for key, value in facts.items()))
    if options.json:
        document = {"facts": facts, "plan": plan.to_dict(), "rows": [row.to_dict() for row in rows]}
        write_file(options.json, (json.dumps(document, indent=2) + "\n").encode())
    faults = [fault for row in rows for fault in row.faults]
    for fault in faults:
        print(f"wrong: {fault}", file=sys.stderr)
    return 1 if faults else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default, words in (
        ("items", 100_000, "of the catalogue that is made"),
        ("users", 20_000, "with 5 to 50 events each"),
        ("k", 10, "items of a list"),
        ("connections", 64, "of the closed loop"),
        ("repeats", 3, "loads of each service"),
        ("checked", 100, "users whose lists are compared"),
        ("epochs", 3, "of moerec's training"),
    ):
        parser.add_argument(
            f"--{name}", type=positive, default=default, metavar="N", help=f"{words} ({default:,})"
        )
    for name, seconds, words in (
        ("seconds", 15.0, "of each load"),
        ("try-seconds", 4.0, "of a load with settings that are tried"),
    ):
        parser.add_argument(
            f"--{name}", type=float, default=seconds, metavar="S", help=f"{words} ({seconds:g})"
        )
    every = list(range(1, cores() + 1))
    parser.add_argument(
        "--threads", type=positive, nargs="+", default=every, metavar="N",
        help=f"of a peer's model, each is tried ({' '.join(map(str, every))})",
    )  # fmt: skip
    parser.add_argument(
        "--batches", type=positive, nargs="+", default=[1, 64], metavar="N",
        help="questions that a peer's model answers at once at most, each is tried (1 64)",
    )  # fmt: skip
    parser.add_argument("--generator", choices=("auto", "wrk", "own"), default="auto")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="moerec's, instead of a new one")
    parser.add_argument(
        "--dir", type=Path, default=Path(".moerec/bench"), metavar="DIR",
        help="keeps bundle and users for the next run (.moerec/bench)",
    )  # fmt: skip
    for name, wanted in (("rectools", RECTOOLS), ("implicit", IMPLICIT)):
        parser.add_argument(
            f"--{name}-python", metavar="PATH",
            help=f"python of an environment with {wanted} and {', '.join(SERVER)}",
        )  # fmt: skip
    parser.add_argument("--plain-only", action="store_true", help="without RecTools and implicit")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    return parser.parse_args()


def _own_settings(service: Watched) -> str:
    return f"as `moerec serve` starts: {' and '.join(service.pids)}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
