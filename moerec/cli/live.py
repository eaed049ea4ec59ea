"""The verbs of the running service: demo, import, serve."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from moerec.cli.options import add_columns, columns_of, port, positive, seed, spare_threads

if TYPE_CHECKING:
    from moerec.cli.options import Verbs


def add_demo(verbs: "Verbs") -> None:
    """`moerec demo`"""
    parser = verbs.add_parser(
        "demo",
        help="see it work: train on built-in films, serve, type a film, see the list move",
        description="Train on simulated viewers of well-known films if that was not done before, serve the "
        "model, show with three requests that it learns, then let you watch films.",
    )
    parser.add_argument(
        "--dir", type=Path, default=Path(".moerec/demo"), help="default: .moerec/demo"
    )
    parser.add_argument("--port", type=port, default=8000, help="the next free one if it is in use")
    parser.add_argument("--once", action="store_true", help="end after the three requests")
    parser.add_argument("--seed", type=seed, default=7, help="of viewers and training (default 7)")
    parser.add_argument("--viewers", type=positive, default=2000, help="to simulate (default 2000)")
    parser.add_argument(
        "--epochs", type=positive, default=4, help="of training at most (default 4)"
    )
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> None:
    spare_threads()
    from moerec.process.demo.prepare import DemoOptions
    from moerec.process.demo.run import run_demo, standard_input

    demo = DemoOptions(
        folder=options.dir,
        port=options.port,
        once=options.once,
        seed=options.seed,
        viewers=options.viewers,
        epochs=options.epochs,
    )
    run_demo(demo, Console(), standard_input())


def add_import(verbs: "Verbs") -> None:
    """`moerec import`"""
    importing = verbs.add_parser("import", help="load histories into the event store")
    kinds = importing.add_subparsers(title="what", metavar="WHAT", required=True)
    parser = kinds.add_parser(
        "events",
        help="the events of a log",
        description="Load a log's events into the event store; what is there already is not added twice.",
    )
    parser.add_argument("data", metavar="DATA", help="the log")
    add_columns(parser)
    parser.add_argument(
        "--split",
        choices=("all", "test"),
        default="all",
        help="all events (default), or with `test` those before each user's test event",
    )
    parser.add_argument(
        "--rule",
        default="leave-one-out",
        help="with --split test: the split the bundle was trained with (default leave-one-out)",
    )
    parser.add_argument("--database-url", help="default: MOEREC_DATABASE_URL, or .moerec/events.db")
    parser.set_defaults(run=_import_events)


def _import_events(options: argparse.Namespace) -> None:
    from rich.progress import Progress

    from moerec.data.id_map import build_id_map
    from moerec.data.interactions import read_interactions
    from moerec.data.sequences import build_histories
    from moerec.data.split import hold_out
    from moerec.settings import Settings
    from moerec.store.importing import import_events
    from moerec.store.sql import open_event_store

    console = Console()
    given = {"database_url": options.database_url} if options.database_url else {}
    settings = Settings.load(**given)
    interactions = read_interactions(options.data, columns_of(options))
    console.print(str(interactions.report), highlight=False)
    held = None
    if options.split == "test":
        histories = build_histories(interactions, build_id_map(interactions))
        held = hold_out(options.rule, histories, interactions.has_time)
    store = open_event_store(settings.database_url, settings.durability)
    try:
        with Progress(console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("importing")
            report = import_events(
                store,
                interactions,
                held,
                lambda done, total: bar.update(task, completed=done, total=total),
            )
    finally:
        store.close()
    console.print(
        f"{report.added:,} events added, {report.stored_before:,} were there already, "
        f"{report.held_out:,} held out",
        highlight=False,
    )


def add_serve(verbs: "Verbs") -> None:
    """`moerec serve`"""
    parser = verbs.add_parser(
        "serve",
        help="answer over HTTP: a gateway and an engine, kept alive",
        description="Serve a bundle over HTTP until Ctrl-C. Starts a gateway and an engine, or several, each "
        "a process, and starts again the one that dies. Every option has an environment variable, MOEREC_ "
        "and its name.",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="folder that `train` wrote")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, help="port to listen on (default 8000; 0: a free one)")
    parser.add_argument(
        "--database-url", metavar="URL", help="default: sqlite:///.moerec/events.db"
    )
    parser.add_argument(
        "--engines", type=int, metavar="N", help="so many, each with its users (default 1)"
    )
    parser.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> None:
    from moerec.process.serve import serve
    from moerec.settings import Settings

    names = ("bundle", "host", "port", "database_url", "engines")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    serve(Settings.load(**given))
