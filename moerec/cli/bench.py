"""The verb that measures the service: bench serving."""

import argparse
import importlib.util
import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from moerec.cli.options import port, positive, seed, spare_threads
from moerec.errors import UsageError

if TYPE_CHECKING:
    from moerec.cli.options import Verbs

LIBRARIES = {"psutil": "bench", "torch": "engine", "scipy": "train"}
"""What the bench needs, and the extra that brings it."""


TABLE_WIDTH = 150
"""Columns that the table of loads needs at most."""


def add_bench(verbs: "Verbs") -> None:
    """`moerec bench`"""
    bench = verbs.add_parser("bench", help="measure the running service on this machine")
    kinds = bench.add_subparsers(title="what", metavar="WHAT", required=True)
    parser = kinds.add_parser(
        "serving",
        help="requests a second and latency, with answers that are checked",
        description="Serve a catalogue to many users with `moerec serve`, and measure: throughput of a "
        "closed loop, latency at fixed arrival rates, processor time and memory of each process, how soon "
        "an event is in the answers, whether the answers are right, and what a bare application reaches "
        "on the same machine. Settings of the service are those of the environment.",
    )
    _add_sizes(parser)
    _add_load(parser)
    _add_output(parser)
    parser.set_defaults(run=_serving)


def _add_sizes(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is served")
    group.add_argument("--items", type=positive, default=100_000, help="(default 100000)")
    group.add_argument("--users", type=positive, default=1_000_000, help="(default 1000000)")
    group.add_argument(
        "--events-a-user", type=pair, default=(5, 50), metavar="FEWEST:MOST", help="(default 5:50)"
    )
    group.add_argument("--bundle", type=Path, metavar="DIR", help="serve this one, train none")
    group.add_argument(
        "--shape",
        choices=("small", "large"),
        default="small",
        help="of the model that is trained: small (default; width 64, 2 layers), large (128, 4)",
    )
    group.add_argument("--epochs", type=positive, default=3, help="of its training (default 3)")
    group.add_argument(
        "--dir",
        type=Path,
        default=Path(".moerec/bench"),
        help="keeps bundle and users for the next run (default .moerec/bench)",
    )
    group.add_argument("--seed", type=seed, default=0, help="of everything random (default 0)")


def _add_load(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the load")
    group.add_argument(
        "--mix", type=pair, default=(9, 1), metavar="READS:EVENTS", help="(default 9:1)"
    )
    group.add_argument("--k", type=positive, default=10, help="length of the lists (default 10)")
    group.add_argument("--connections", type=positive, default=64, help="(default 64)")
    group.add_argument("--seconds", type=float, default=15.0, help="of each load (default 15)")
    group.add_argument(
        "--generator",
        choices=("auto", "wrk", "own"),
        default="auto",
        help="of the closed loops: wrk where it is installed (auto, default), or our own",
    )
    group.add_argument("--port", type=port, default=0, help="of the service (default: a free one)")
    group.add_argument(
        "--token",
        help="goes with each request (default: one made for this run)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output, besides the table")
    group.add_argument("--json", type=Path, metavar="FILE", help="write all figures")
    group.add_argument(
        "--plot", type=Path, metavar="PNG", help="draw latency against rate (needs moerec[report])"
    )


def pair(text: str) -> tuple[int, int]:
    """Two whole numbers, "9:1"."""
    found = re.fullmatch(r"(\d{1,9}):(\d{1,9})", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not two whole numbers like 9:1")
    return int(found[1]), int(found[2])


def _serving(options: argparse.Namespace) -> int:
    spare_threads()
    _require_libraries()
    from moerec.loadtest.plan import Plan, Target
    from moerec.loadtest.plot import require_matplotlib, write_plot
    from moerec.loadtest.run import run_bench

    if options.plot:
        require_matplotlib()
    console = Console()
    plan = Plan(
        items=options.items,
        users=options.users,
        events_a_user=options.events_a_user,
        mix=options.mix,
        k=options.k,
        connections=options.connections,
        seconds=options.seconds,
        shape=options.shape,
        epochs=options.epochs,
        bundle=options.bundle,
        folder=options.dir,
        target=Target(port=options.port, token=options.token),
        generator=options.generator,
        seed=options.seed,
    )
    report = run_bench(plan, console)
    # A table that is cut tells nothing: a narrow terminal breaks its lines instead.
    Console(width=max(console.width, TABLE_WIDTH)).print(report.table())
    for note in report.notes():
        console.print(escape(note), highlight=False, soft_wrap=True)
    if options.json:
        report.write_json(options.json)
    if options.plot:
        write_plot(options.plot, report)
    for fault in report.faults:
        console.print(f"[bold red]wrong:[/] {escape(fault)}", highlight=False, soft_wrap=True)
    return 1 if report.faults else 0


def _require_libraries() -> None:
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        extras = ",".join(sorted({LIBRARIES[name] for name in missing}))
        raise UsageError(
            f"The bench needs {', '.join(missing)}, which is not installed.",
            f"Install it: pip install 'moerec[{extras}]'",
        )
